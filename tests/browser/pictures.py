"""The pictures of the page in the documents, taken of the demo's data: ``python -m tests.browser.pictures``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import FloatRect

from tests.browser.chromium import chromium, watched
from tests.browser.demo_site import DemoSite
from tests.groups import ROOT

FOLDER = ROOT / "docs" / "pictures"
# A document is read more often than the picture in it.
MOST_BYTES = 150_000
# How high each is: as far down as it says something.
PICTURES: tuple[tuple[str, str, Literal["light", "dark"], int], ...] = (
    ("overview", "/ui/", "light", 975),
    ("volumes-dark", "/ui/volumes?sort=name", "dark", 760),
    ("vmgroup", "/ui/vmgroups/demo-shop", "light", 760),
)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vmdkvol-br-") as folder:
        site = DemoSite(Path(folder), wicked=False)
        try:
            site.slow_copy("warehouse-2025")
            _take(site)
        finally:
            site.close()
    for name, *_ in PICTURES:
        size = (FOLDER / f"{name}.png").stat().st_size
        print(f"{name}: {size} bytes{'' if size <= MOST_BYTES else ', which is too much'}")
    return 0


def _take(site: DemoSite) -> None:
    with chromium() as browser:
        for number, (name, path, scheme, height) in enumerate(PICTURES, 1):
            with watched(browser, site.base, scheme=scheme, width=1280) as seen:
                seen.log_in(site.token(f"ann.{number}"))
                seen.go(path)
                clip: FloatRect = {"x": 0, "y": 0, "width": 1280, "height": height}
                seen.page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=clip)


if __name__ == "__main__":
    sys.exit(main())
