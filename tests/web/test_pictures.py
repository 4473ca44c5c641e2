"""The pictures of the dashboard in the docs: each is there, small, and of a page as it is now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.pages import ROOT, text_of
from tests.web import pictures
from tests.web.serving import CHROMIUM

DOCS = ROOT / "docs"
FOLDER = DOCS / "pictures"
ANEW = "make the pictures anew: python -m tests.web.pictures docs/pictures"


def test_every_picture_is_on_a_page_and_every_one_on_a_page_is_made() -> None:
    text = "".join(text_of(DOCS / name) for name in ("dashboard.md", "alerts.md"))
    names = {picture.file for picture in pictures.PICTURES}
    assert {file.name for file in FOLDER.glob("dashboard-*.png")} == names
    assert [name for name in names if f"(pictures/{name})" not in text] == []
    assert text_of(DOCS / "alerts.md").count("(pictures/") == 1


def test_pictures_are_small() -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.glob("*.png")}
    assert sizes
    assert {name: size for name, size in sizes.items() if size >= 150_000} == {}


def test_pictures_have_the_headings_of_their_pages() -> None:
    shown = {picture.file: pictures.headings_in((FOLDER / picture.file).read_bytes()) for picture in pictures.PICTURES}
    assert all(shown.values())
    assert shown == pictures.headings(), ANEW


@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"Chromium is not at {CHROMIUM}")
def test_pictures_are_made(tmp_path: Path) -> None:
    some = pictures.PICTURES[1:2]
    pictures.make(tmp_path, some, pictures.FEW)
    for picture in some:
        made = (tmp_path / picture.file).read_bytes()
        assert made.startswith(b"\x89PNG")
        assert pictures.headings_in(made)[0] == "Overview"
