"""The commands of the page about the REST API, as a reader types them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.reference import DOCS

pytestmark = pytest.mark.integration
BLOCKS = re.findall(r"```sh\n(.*?)```", (DOCS / "how-to" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
# What each block's output has in it, in the order of the page.
TOLD = (
    '"standing"',
    '"next"',
    '"done":false',
    '"token":"',
    '"code": "bad-request"',
    "grafana\tviewer",
    '"vms":[',
    "",
    '"status": "ok"',
)


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with api_site() as made:
        yield made


def typed(site: ApiSite, block: str) -> str:
    """Run a block with the places of the site in the place of the product's."""
    places = {
        "/run/vmdkvol/web.sock": str(site.socket),
        "/etc/vmdkvol/service.toml": str(site.config),
        "/etc/vmdkvol/web.pem": str(site.site.path),
        "/root/token": str(site.root / "token"),
        "localhost:1020": f"localhost:{site.port}",
        "vmdkvol-esxd ": f"{Path(sys.executable).parent / 'vmdkvol-esxd'} ",
    }
    for written, real in places.items():
        block = block.replace(written, real)
    done = subprocess.run(["bash", "-euc", block], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    assert shutil.which("curl"), "make bootstrap"
    assert len(BLOCKS) == len(TOLD)
    for block, told in zip(BLOCKS, TOLD, strict=True):
        assert told in typed(site, block), block


def test_the_settings_of_the_page_are_some(site: ApiSite) -> None:
    text = (DOCS / "how-to" / "api.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    # Both are in one file here; that they are where the page says is the reader's part.
    shown = str(site.site.service("localhost"))
    for name in ("web.pem", "web.key"):
        assert f"/etc/vmdkvol/{name}" in block
        block = block.replace(f"/etc/vmdkvol/{name}", shown)
    config = site.root / "page.toml"
    config.write_text(f'state_dir = "/s"\n[[datastores]]\nname = "d"\npath = "/d"\n{block}')
    config.chmod(0o600)
    command = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(config), "check-config"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
