import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skyseg.pipeline.prepare import prepare
from skyseg.reports.audit_page import SHOWN
from tiny import make_params, photograph, save, sky

PAGE = Path("reports/prepare/audit.html")


def test_a_clean_set_says_so(pairs: Callable[..., Path]) -> None:
    data = pairs()
    save(data / "masks" / "00.png", (sky(0.3) * 255).astype(np.uint8))
    prepare(make_params())
    page = PAGE.read_text()
    assert "Nothing found" in page
    assert "data:image" not in page
    assert "20" in page


def test_pictures_of_a_kind_are_bounded_and_the_rest_is_listed(pairs: Callable[..., Path]) -> None:
    data = pairs(40)
    for number in range(20):
        (data / "images" / f"{number:02d}.png").rename(data / "images" / f"{number:02d}.jpg")
    prepare(make_params())
    page = PAGE.read_text()
    section = page[page.index('<section id="wrong_suffix">') :]
    section = section[: section.index("</section>")]
    assert section.count("data:image/jpeg") == 2 * SHOWN
    assert f"{20 - SHOWN} more" in section
    assert section.count("a PNG file") == 20


def test_it_loads_nothing_from_elsewhere(pairs: Callable[..., Path]) -> None:
    data = pairs()
    save(data / "images" / "03.png", np.zeros((40, 48, 3), np.uint8))
    prepare(make_params())
    page = PAGE.read_text()
    assert "data:image/jpeg" in page
    for loader in ("<script", "<link", "http://", "https://", "url("):
        assert loader not in page


def test_what_cannot_be_shown_has_its_place(pairs: Callable[..., Path]) -> None:
    data = pairs()
    (data / "images" / "03.png").write_bytes(b"no picture")
    prepare(make_params(audit={"unreadable": "drop"}))
    assert PAGE.read_text().count("cannot be shown") == 2


@pytest.mark.slow
def test_it_fits_a_phone(pairs: Callable[..., Path], tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    data = pairs()
    for name in ("03", "a" * 150):
        save(data / "images" / f"{name}.png", photograph(7) * 0)
        save(data / "masks" / f"{name}.png", (sky(0.5) * 255).astype(np.uint8))
    prepare(make_params())
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=_chromium())
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.goto(PAGE.resolve().as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        browser.close()


def _chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine")
    return path
