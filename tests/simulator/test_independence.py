"""The simulator stands apart: it knows neither Metrion nor the demonstration, and needs nothing but h11."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import metrion.simulator

FOLDER = Path(metrion.simulator.__path__[0])


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_imports_itself_h11_and_the_standard_library(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    modules = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    others = {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names | {"h11"}}
    assert all(module.startswith("metrion.simulator.") for module in others), others


def test_importing_it_loads_neither_mitmproxy_nor_duckdb_nor_another_room() -> None:
    program = "import sys, metrion.simulator.server; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(run.stdout.split())
    assert "metrion.simulator.answers" in loaded
    assert not {"mitmproxy", "duckdb"} & loaded
    rooms = {module.split(".")[1] for module in loaded if module.startswith("metrion.")}
    assert rooms == {"simulator"}
