"""The pictures of datastores and quotas say what the figures say, and never that there is room where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol_esx.web.pages.bars import Bar, of_datastore, of_quota

GB = 1 << 30


def datastore(capacity: int | None, free: int | None, provisioned: int, used: int | None) -> Bar:
    return of_datastore({"capacity_bytes": capacity, "free_bytes": free, "provisioned_bytes": provisioned, "used_bytes": used})


def drawn(bar: Bar) -> list[tuple[str, float, float]]:
    return [(each.kind, each.start, each.width) for each in bar.stretches]


@pytest.mark.parametrize(
    ("capacity", "free", "provisioned", "used", "stretches", "percent", "full", "over"),
    [
        pytest.param(
            100, 40, 150, 30, [("part", 0, 30), ("others", 30, 30), ("more", 60, 40)], 60, False, True, id="over-committed"
        ),
        pytest.param(100, 70, 50, 20, [("part", 0, 20), ("others", 20, 10), ("more", 30, 30)], 30, False, False, id="has-room"),
        pytest.param(100, 40, 150, None, [("others", 0, 60)], 60, False, False, id="nobody-knows-whose-it-is"),
        pytest.param(100, 100, 0, 0, [], 0, False, False, id="empty"),
        pytest.param(100, 15, 0, 0, [("others", 0, 85)], 85, True, False, id="as-full-as-is-warned-of"),
        pytest.param(100, 0, 0, 0, [("others", 0, 100)], 100, True, False, id="full"),
        pytest.param(100, 40, 90, 80, [("part", 0, 60), ("more", 60, 10)], 60, False, False, id="more-used-than-is-taken"),
        pytest.param(100, 120, 10, 0, [("more", 0, 10)], 0, False, False, id="more-free-than-there-is"),
        pytest.param(None, None, 10, None, [], None, False, False, id="not-shown-now"),
        pytest.param(0, 0, 10, 0, [], None, False, False, id="without-a-size"),
    ],
)
def test_a_datastore_is_drawn_by_who_takes_it(
    capacity: int | None,
    free: int | None,
    provisioned: int,
    used: int | None,
    stretches: Any,
    percent: int | None,
    full: bool,
    over: bool,
) -> None:
    sizes = [None if size is None else size * GB for size in (capacity, free, provisioned, used)]

    bar = datastore(sizes[0], sizes[1], sizes[2] or 0, sizes[3])

    assert (drawn(bar), bar.percent, bar.full, bar.over) == (stretches, percent, full, over)


@pytest.mark.parametrize(
    ("used", "total", "percent", "full", "over", "says"),
    [
        pytest.param(0, 64, 0, False, False, "0kb of 64gb, 64gb left", id="unused"),
        pytest.param(57, 64, 89, False, False, "57gb of 64gb, 7gb left", id="not-yet"),
        pytest.param(63, 64, 98, True, False, "63gb of 64gb, 1gb left", id="nearly-used"),
        pytest.param(64, 64, 100, True, False, "64gb of 64gb, 0kb left", id="used"),
        pytest.param(80, 64, 125, True, True, "80gb of 64gb, 16gb too much", id="lowered-below-what-is-there"),
        pytest.param(0, 0, 100, True, False, "0kb of 0kb, 0kb left", id="a-quota-of-nothing"),
        pytest.param(1, 0, 100, True, True, "1gb of 0kb, 1gb too much", id="something-of-nothing"),
    ],
)
def test_a_quota_says_what_is_left_or_by_how_much_it_is_too_small(
    used: int, total: int, percent: int, full: bool, over: bool, says: str
) -> None:
    bar = of_quota(used * GB, total * GB)

    assert (bar.percent, bar.full, bar.over, bar.says) == (percent, full, over, says)


@pytest.mark.parametrize(
    ("bar", "figure"),
    [
        (of_quota(3 * GB, 16 << 40), "< 1 %"),
        (of_quota(0, 16 << 40), "0 %"),
        (of_quota(80 * GB, 64 * GB), "125 %"),
        (datastore(100 * GB, 100 * GB, 50 * GB, 0), "0 %"),
        (datastore(1000 * GB, 999 * GB, 0, 0), "< 1 %"),
        (datastore(None, None, 0, 0), ""),
    ],
)
def test_something_is_not_shown_as_nothing(bar: Bar, figure: str) -> None:
    assert bar.figure == figure


def test_what_is_not_quite_full_is_not_a_hundred_hundredths() -> None:
    assert of_quota(1000 * GB - 512, 1000 * GB).percent == 99
    assert datastore(1000 * GB, 512, 0, 0).percent == 99


_sizes = st.integers(min_value=0, max_value=1 << 62)


@given(_sizes, _sizes, _sizes, st.one_of(st.none(), _sizes))
def test_no_stretch_leaves_the_bar(capacity: int, free: int, provisioned: int, used: int | None) -> None:
    for bar in (datastore(capacity, free, provisioned, used), of_quota(provisioned, capacity)):
        ends = [(each.start, each.start + each.width) for each in bar.stretches]
        assert all(0 <= start <= end <= 100.01 for start, end in ends)
        assert bar.percent is None or bar.percent >= 0
