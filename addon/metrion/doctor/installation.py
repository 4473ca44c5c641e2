"""What is installed: Metrion's dependencies, and the tokenizer that is optional."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator

from metrion.doctor.findings import Finding, Subject, fail, ok, warn
from metrion.estimates import tokenizers

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;(.*))?")


def versions(_: Subject) -> Iterator[Finding]:
    """Report what is installed, and what is missing or does not fit."""
    found = [f"Python {'.'.join(map(str, sys.version_info[:3]))}"]
    try:
        requirements = importlib.metadata.requires("metrion") or []
    except importlib.metadata.PackageNotFoundError:
        yield warn("versions: Metrion runs without being installed", "scripts/start installs it with what it needs")
        return
    for requirement in requirements:
        name, bounds, condition = _REQUIREMENT.fullmatch(requirement).groups()  # type: ignore[union-attr]  # as our own pyproject.toml writes them
        if condition:
            continue  # an extra
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield fail(f"versions: {name} is not installed", "run scripts/start again, or install Metrion again")
            continue
        found.append(f"{name} {version}")
        if not _fits(version, bounds):
            yield fail(f"versions: {name} {version} does not fit: Metrion needs {bounds}", "install Metrion again")
    yield ok(f"versions: {', '.join(found)}")


def _fits(version: str, bounds: str) -> bool:
    def key(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    return all(
        key(version) >= key(bound) if relation == ">=" else key(version)[: len(key(bound))] < key(bound)
        for relation, bound in re.findall(r"(>=|<)\s*([\d.]+)", bounds)
    )


def estimates(_: Subject) -> Iterator[Finding]:
    """Report whether the tokens of answers without a usage are estimated."""
    if tokenizers.is_available():
        yield ok("estimates: of what no provider reports, the tokens are estimated where they can be")
    else:
        way_out = "`pip install 'bpe-openai<0.2'` where Metrion is installed, should you want them (docs/estimates.md)"
        yield ok("estimates: none, for there is no tokenizer", way_out)
