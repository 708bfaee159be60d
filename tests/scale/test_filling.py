"""What the filling writes is what the service and its housekeeping find right; other tests here stand on that."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import Site
from tests.scale.filling import SIZE_BYTES, fill, name_of

pytestmark = pytest.mark.integration


@pytest.fixture
def site() -> Iterator[Site]:
    # Short: sockets lie below it.
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-scale-"))
    made = Site(root)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(root)


def test_filled_volumes_are_listed_mounted_and_nothing_about_them_is_reported(site: Site) -> None:
    fill(site.root / "state" / "service" / "vmdkvol.db", site.datastore, 30)
    site.start()

    assert site.host.names() == [name_of(number) for number in range(1, 31)]
    assert site.host.told("Get", Name=name_of(7))["Volume"]["Status"]["size-bytes"] == SIZE_BYTES
    site.host.told("Mount", Name=name_of(7), ID="one")
    site.host.told("Unmount", Name=name_of(7), ID="one")

    log = site.service.log.read_text()
    assert not [line for line in log.splitlines() if '"level": "warning"' in line or '"level": "error"' in line], log
