"""What an administrator reads as the way out of a refusal."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.errors import NoSpace, NotPermitted, QuotaExceeded, VolumeError
from vmdkvol.names import ALL_DATASTORES, DatastoreName
from vmdkvol.orders import Order
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import VmgroupId
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx import rights
from vmdkvol_esx.cordons import takes_none
from vmdkvol_esx.records import Right, Vmgroup
from vmdkvol_esx.remedies import for_administrators

GB = 1 << 30
DS1 = DatastoreName("ds1")
GROUP = Vmgroup(VmgroupId(UUID(int=7)), "the shop", DS1)
RESIZE, CREATE = ResizeVolume(volume="db", size_bytes=9 * GB), CreateVolumeFor(vmgroup="the shop", name="db")


def refused(right: Right, size: int = 9 * GB, used: int = 0, trashed: int = 0) -> VolumeError:
    with pytest.raises(QuotaExceeded) as caught:
        rights.check_limits(GROUP, right, DS1, size, size, used, trashed)
    return caught.value


@pytest.mark.parametrize(
    ("order", "error", "remedy"),
    [
        pytest.param(
            RESIZE,
            refused(Right(DS1, True, max_bytes=GB)),
            "raise the limit: `vmdkvol vmgroup access set --name 'the shop' --datastore ds1 --volume-maxsize SIZE`",
            id="the-largest",
        ),
        pytest.param(
            RESIZE,
            refused(Right(ALL_DATASTORES, True, total_bytes=GB)),
            "raise the limit: `vmdkvol vmgroup access set --name 'the shop' --datastore _ALL_DS --volume-totalsize SIZE`",
            id="the-total-in-the-row-of-all-datastores",
        ),
        pytest.param(
            CREATE,
            refused(Right(DS1, True, total_bytes=GB), used=GB, trashed=GB),
            "empty the trash, or raise the limit: `vmdkvol vmgroup access set --name 'the shop' --datastore ds1 "
            "--volume-totalsize SIZE`, or give the order --over-quota",
            id="where-the-order-may-go-beyond-it",
        ),
        pytest.param(
            CREATE,
            takes_none(DS1),
            "use another datastore, or let it take volumes again: `vmdkvol datastore uncordon ds1`",
            id="a-cordon",
        ),
    ],
)
def test_an_administrator_is_told_what_an_administrator_does(order: Order, error: VolumeError, remedy: str) -> None:
    told = for_administrators(order, error)
    assert (type(told), told.text, told.remedy, told.fields) == (type(error), error.text, remedy, error.fields)
    assert "ask an administrator" not in str(told)


@pytest.mark.parametrize("error", [NoSpace("full"), NotPermitted("no"), QuotaExceeded("an older service's")])
def test_any_other_error_stays_as_it_is(error: VolumeError) -> None:
    assert for_administrators(RESIZE, error) is error
