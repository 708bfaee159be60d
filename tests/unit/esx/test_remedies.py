"""What an administrator reads as the way out of a refusal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from vmdkvol.errors import (
    AtRisk,
    CheckFailed,
    Conflict,
    DatastoreNotFound,
    InvalidOption,
    NoSpace,
    NotPermitted,
    QuotaExceeded,
    StillMounted,
    VolumeError,
    VolumeNotFound,
)
from vmdkvol.names import ALL_DATASTORES, DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Actor, Order, Role
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import VmgroupId
from vmdkvol.volume_orders import CreateVolumeFor, DestroyVolume, DetachVolume, TrashVolume
from vmdkvol_esx import rights
from vmdkvol_esx.cordons import takes_none
from vmdkvol_esx.defaulting import completed
from vmdkvol_esx.records import Group, Right, Vmgroup
from vmdkvol_esx.remedies import for_administrators
from vmdkvol_esx.rights import Verb

GB = 1 << 30
GIVE = "use another datastore, or give the right: `vmdkvol vmgroup access"
DS1 = DatastoreName("ds1")
GROUP = Vmgroup(VmgroupId(UUID(int=7)), "the shop", DS1)
RESIZE, CREATE = ResizeVolume(volume="db", size_bytes=9 * GB), CreateVolumeFor(vmgroup="the shop", name="db")
FORCED = DetachVolume(volume="db", force=True)


def refused(right: Right, size: int = 9 * GB, used: int = 0, trashed: int = 0) -> VolumeError:
    with pytest.raises(QuotaExceeded) as caught:
        rights.check_limits(GROUP, right, DS1, size, size, used, trashed)
    return caught.value


def without_right(*has: Right) -> VolumeError:
    with pytest.raises(NotPermitted) as caught:
        rights.check(Group(GROUP, has), Verb.CREATE, DS1, None)
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
        pytest.param(
            CREATE,
            without_right(),
            f"{GIVE} add --name 'the shop' --datastore ds1 --allow-create`",
            id="a-right",
        ),
        pytest.param(
            CREATE,
            without_right(Right(DS1, False)),
            f"{GIVE} set --name 'the shop' --datastore ds1 --allow-create=true`",
            id="a-right-to-create",
        ),
        pytest.param(
            CREATE, VolumeNotFound("there is no volume nope"), "see `vmdkvol volume ls` for names and ids", id="a-clones-source"
        ),
        pytest.param(
            FORCED,
            StillMounted("the disk is in use on /dev/loop7"),
            "stop what has it open on that machine, then give the order again: it is not tried again by itself",
            id="a-forced-detach",
        ),
    ],
)
def test_an_administrator_is_told_what_an_administrator_does(order: Order, error: VolumeError, remedy: str) -> None:
    told = for_administrators(order, error)
    assert (type(told), told.text, told.remedy, told.fields) == (type(error), error.text, remedy, error.fields)
    assert "ask an administrator" not in str(told)


def test_who_ordered_a_volume_that_was_cancelled_hears_of_the_volume() -> None:
    error = Conflict("the making of [ds1] x.vmdk was cancelled", remedy="create it again", cancelled=True)
    told = for_administrators(CREATE, error)
    assert str(told) == "volume 'db' is not made: it was cancelled; create it again [conflict]"


@pytest.mark.parametrize("error", [VolumeNotFound("gone", remedy="the one on ds1 is db@ds1"), StillMounted("x", remedy="wait")])
def test_a_remedy_of_its_own_stays(error: VolumeError) -> None:
    assert for_administrators(FORCED, error) is error


@pytest.mark.parametrize("error", [NoSpace("full"), NotPermitted("no"), QuotaExceeded("an older service's")])
def test_any_other_error_stays_as_it_is(error: VolumeError) -> None:
    assert for_administrators(RESIZE, error) is error


def unusable_defaults() -> VolumeError:
    with pytest.raises(InvalidOption) as caught:
        completed(CreateOptions.parse({}), replace(GROUP, defaults=(("size", "no"),)))
    return caught.value


def test_defaults_that_cannot_be_used_are_changed_by_the_administrator_who_meets_them() -> None:
    told = for_administrators(CREATE, unusable_defaults())
    assert told.remedy == "change them: `vmdkvol vmgroup update 'the shop' --default KEY=VALUE`"


@pytest.mark.parametrize(
    "error",
    [refused(Right(DS1, True, max_bytes=GB)), without_right(), takes_none(DS1), unusable_defaults(), CheckFailed("it is")],
)
def test_an_operator_is_told_to_ask_for_what_an_operator_may_not_do(error: VolumeError) -> None:
    by = Actor("ann", Role.OPERATOR, "192.0.2.7")
    assert for_administrators(replace(RESIZE, by=by), error) is error
    assert "administrator" in error.remedy


def remedies() -> Iterator[str]:
    """Find every text of the product by which a guest is sent to an administrator who has to look or to take."""
    for path in (Path(__file__).parents[3] / "esx-service" / "vmdkvol_esx").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            # No docstring: a remedy goes on where the cause ends.
            if text[:1].islower() and ("an administrator must " in text or "an administrator can " in text):
                yield text


@pytest.mark.parametrize("remedy", sorted({AtRisk.remedy, *remedies()}))
def test_no_administrator_is_sent_to_an_administrator(remedy: str) -> None:
    assert "administrator" not in str(for_administrators(RESIZE, Conflict("it is so", remedy=remedy)))


@pytest.mark.parametrize("order", [TrashVolume(volume="db"), DestroyVolume(volume="db", i_know="db")])
def test_a_volume_whose_datastore_is_gone_is_brought_back_or_forgotten(order: Order) -> None:
    told = for_administrators(order, DatastoreNotFound("there is no datastore 'ds9'", remedy="known: ds1"))
    assert told.remedy == ("name it in the settings again, or forget the volume: `vmdkvol orphans mend db forget --dry-run`")
