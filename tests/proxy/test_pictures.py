"""The pictures of mitmweb in the docs can be made anew, and show what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from tests.pages import ROOT, text_of
from tests.proxy import pictures

DOCS = ROOT / "docs"
NAMES = {"mitmweb-flows.png", "mitmweb-request.png", "mitmweb-response.png"}


@pytest.mark.skipif(not pictures.CHROMIUM.exists(), reason=f"Chromium is not at {pictures.CHROMIUM}")
def test_the_pictures_are_made(tmp_path: Path) -> None:
    pictures.make(tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == NAMES


def test_the_pictures_of_the_page_are_there_and_small() -> None:
    page = text_of(DOCS / "mitmweb.md")
    for name in NAMES:
        assert f"(pictures/{name})" in page
        assert (DOCS / "pictures" / name).stat().st_size < 150_000


def test_the_page_has_the_columns_of_the_pictures() -> None:
    page = text_of(DOCS / "mitmweb.md")
    assert " ".join(f"--set web_columns={column}" for column in pictures.COLUMNS) in page.replace(" \\\n  ", " ")
