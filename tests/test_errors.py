"""The tree of errors: drawn as it is, and all of it in one file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from metrion import errors
from metrion.errors import MetrionError

PACKAGE = Path(errors.__file__).parent


def tree(error: type[Exception], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, error.__name__
    for derived in error.__subclasses__():
        yield from tree(derived, depth + 1)


def defined() -> set[str]:
    return {name for name, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, MetrionError)}


def test_the_drawing_shows_the_tree() -> None:
    drawing = (errors.__doc__ or "").split("\n\n")[1].splitlines()
    drawn = [((len(line) - len(line.lstrip())) // 2, line.split()[0]) for line in drawing]
    assert drawn == list(tree(MetrionError))
    assert {name for _, name in drawn} == defined()


def test_no_room_has_an_error_of_the_tree_to_itself() -> None:
    elsewhere = {
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and {ast.unparse(base).split(".")[-1] for base in node.bases} & defined()
    }
    assert not elsewhere
