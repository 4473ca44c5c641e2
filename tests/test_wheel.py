"""The package that is installed: a wheel, in an environment of its own, far from any checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.processes import eventually, prepare_home

PACKAGE = ROOT / "addon" / "metrion"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("hatchling cannot be installed here (no package index)")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, that sees the dependencies of this one, and not its checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    done = subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def run(installed: Path, folder: Path, arguments: Sequence[str]) -> str:
    environment = prepare_home(folder / "home")
    done = subprocess.run(
        [installed / "metrion", *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package_and_the_prices(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert {f"metrion/{path.relative_to(PACKAGE)}" for path in files} <= names
    assert "metrion/pricing.yaml" in names
    assert not [name for name in names if name.startswith(("tests", "scripts"))]


def test_it_says_which_it_is_and_knows_its_prices(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [installed / "python", "-c", "import metrion; print(metrion.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert str(ROOT) not in where.stdout
    assert re.fullmatch(r"metrion \d+\.\d+\.\d+\n", run(installed, tmp_path, ["--version"]))
    assert "openai/gpt-4o-mini" in run(installed, tmp_path, ["prices", "show", "gpt-4o-mini"])


def test_it_meters_calls(installed: Path, tmp_path: Path) -> None:
    assert "gpt-4o" in run(installed, tmp_path, ["demo"])


def test_it_has_the_dashboard_s_pages(installed: Path, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([installed / "metrion", "dashboard", "--port", "0"], env=environment, stdout=output)
    try:
        found = eventually(lambda: re.search(r"http://\S+", log.read_text()))
        assert found
        url = found[0]
        for path, words in (("/login", b"metrion admin create"), ("/static/metrion.css", b"{")):
            with urllib.request.urlopen(f"{url}{path}", timeout=20) as page:  # noqa: S310 -- our own, on loopback
                assert words in page.read()
    finally:
        process.terminate()
        process.wait(20)
