"""Imports point one way, and the core is free of I/O: the plan of the house, held to."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "addon" / "metrion"

CORE = {
    "addresses", "admission", "conversations", "dialects", "estimates", "faults", "logs", "metering", "endpoints",
    "parsing", "pricing", "providers", "relay", "settings",
}  # fmt: skip
FLOORS: list[set[str]] = [
    {"errors", "model"},
    CORE,
    {"journal", "store", "control", "running", "metrics", "budgets", "turns"},
    {"gateway", "running_proxy"},
    {"alerts", "lane", "proxy", "reports", "repricing", "reconciling", "doctor"},
    {"serving"},
    {"web", "api", "cli", "demo", "simulator", "__main__"},
]
"""A room may import from its own floor, though not in a circle, and from those before it."""
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

OUTSIDE_THE_CORE = {
    "aiohttp", "anyio", "asyncio", "duckdb", "ftplib", "h11", "httpx", "httpx2", "mitmproxy", "select", "selectors",
    "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "urllib3", "uvloop", "websockets",
}  # fmt: skip
SUBMODULES_OUTSIDE_THE_CORE = {"http.client", "http.server", "urllib.request"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; ``from metrion import x`` counts as ``metrion.x``."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import, where all others are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def imported_rooms(path: Path) -> set[str]:
    rooms = {module.split(".")[1] for module in imported_modules(path) if module.startswith("metrion.")}
    return {room for room in rooms if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} is new: give it a floor in FLOORS, or a place in a room that has one"
    upwards = {other for other in imported_rooms(path) if FLOOR[other] > FLOOR[room]}
    assert not upwards, f"{room} is below {', '.join(sorted(upwards))} and must not know of it"


def test_no_two_rooms_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room_of(path), set()).update(imported_rooms(path) - {room_of(path)})
    assert {"admission", "relay", "settings"} <= graph.keys()
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in CORE], ids=lambda path: path.stem)
def test_the_core_imports_neither_mitmproxy_nor_duckdb_nor_the_network(path: Path) -> None:
    modules = set(imported_modules(path))
    assert not {module for module in modules if module.split(".")[0] in OUTSIDE_THE_CORE}
    assert not {module for module in modules if ".".join(module.split(".")[:2]) in SUBMODULES_OUTSIDE_THE_CORE}


@pytest.mark.parametrize("path", sorted((PACKAGE / "model").glob("*.py")), ids=lambda path: path.stem)
def test_the_model_is_standard_library_only(path: Path) -> None:
    modules = {module for module in imported_modules(path) if not module.startswith("metrion.model.")}
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["http1", "body", "next_head", "outgoing", "wire"])
def test_the_readers_and_writers_of_http_do_no_io(name: str) -> None:
    modules = imported_modules(PACKAGE / "lane" / f"{name}.py")
    assert not {module.split(".")[0] for module in modules} & OUTSIDE_THE_CORE


def test_importing_the_core_loads_neither_mitmproxy_nor_duckdb() -> None:
    """Not by a detour either."""
    core = sorted({room_of(path) for path in FILES} & CORE)
    imports = "; ".join(f"import metrion.{room}" for room in core)
    program = f"import sys; {imports}; print(*sorted({{'mitmproxy', 'duckdb', 'sqlite3'}} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == []


# --- how large things may be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_has_over_400_lines_and_no_function_over_60(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60}
    assert not long
