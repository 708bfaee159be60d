"""Sizes: exact bytes or a refusal (F52, C03, C04, C05)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import InvalidSize
from vmdkvol.sizes import MAX_SIZE, SECTOR, format_size, parse_size, vdvs_capacity, short_size, compared

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        pytest.param("20gb", 20 * GIB, id="gb"),
        pytest.param("20GB", 20 * GIB, id="capitals"),
        pytest.param("20Gb", 20 * GIB, id="mixed"),
        pytest.param("20g", 20 * GIB, id="short"),
        pytest.param("20GiB", 20 * GIB, id="gib"),
        pytest.param("20 gb", 20 * GIB, id="a-space"),
        pytest.param("1.5gb", 1610612736, id="fraction"),
        pytest.param("0.5G", 536870912, id="C03-half"),
        pytest.param("0.3gb", 322122752, id="C03-rounded-up-to-a-sector"),
        pytest.param("4000kb", 4096000, id="C04-4000kb"),
        pytest.param("1100kb", 1126400, id="C04-1100kb"),
        pytest.param("1mb", 1 << 20, id="F52-one-mebibyte"),
        pytest.param("0.001kb", 512, id="the-smallest-sector"),
        pytest.param("000100mb", 100 << 20, id="leading-zeros"),
        pytest.param("2tb", 2 << 40, id="F52-2tb"),
        pytest.param("62tb", 62 << 40, id="F52-the-largest"),
        pytest.param("66571993088kb", 62 << 40, id="the-largest-in-kb"),
        pytest.param("0.06pb", -(-6755399441055744 * 10 // 1000 // 512) * 512, id="petabytes"),
    ],
)
def test_a_size_is_exactly_its_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("10", "no unit", id="C05-bare-number"),
        pytest.param("0", "no unit", id="bare-zero"),
        pytest.param("1.5", "no unit", id="bare-fraction"),
        pytest.param("99999999999999999999999999", "no unit", id="C05-bare-and-huge"),
        pytest.param("-1", "cannot be read", id="C05-negative"),
        pytest.param("-1gb", "cannot be read", id="negative-with-unit"),
        pytest.param("+1gb", "cannot be read", id="plus"),
        pytest.param("0gb", "no size", id="zero"),
        pytest.param("0.0gb", "no size", id="zero-fraction"),
        pytest.param("abc", "cannot be read", id="letters"),
        pytest.param("gb", "cannot be read", id="only-a-unit"),
        pytest.param("", "cannot be read", id="C06-empty"),
        pytest.param(" ", "cannot be read", id="blank"),
        pytest.param("1e3GB", "cannot be read", id="F52-exponent"),
        pytest.param("0x10gb", "cannot be read", id="hexadecimal"),
        pytest.param("1_000gb", "cannot be read", id="underscore"),
        pytest.param("1,5gb", "cannot be read", id="comma"),
        pytest.param(".5gb", "cannot be read", id="no-digit-before-the-point"),
        pytest.param("5.gb", "cannot be read", id="no-digit-after-the-point"),
        pytest.param("1.2.3gb", "cannot be read", id="two-points"),
        pytest.param("20  gb", "cannot be read", id="two-spaces"),
        pytest.param("20gb ", "cannot be read", id="space-at-the-end"),
        pytest.param("20gb\n", "cannot be read", id="newline"),
        pytest.param("20gbps", "cannot be read", id="unit-junk"),
        pytest.param("20bytes", "cannot be read", id="bytes"),
        pytest.param("20eb", "cannot be read", id="exabytes"),
        pytest.param("inf", "cannot be read", id="infinity"),
        pytest.param("nan", "cannot be read", id="not-a-number"),
        pytest.param("٣gb", "cannot be read", id="arabic-digits"),
        pytest.param("２０gb", "cannot be read", id="full-width-digits"),
        pytest.param("²gb", "cannot be read", id="superscript"),
        pytest.param("20\u212ab", "cannot be read", id="kelvin-sign"),
        pytest.param("63tb", "largest", id="F52-over-62tb"),
        pytest.param("62.0000000001tb", "largest", id="a-sector-over-62tb"),
        pytest.param("100 PB", "largest", id="100-PB"),
        pytest.param("9147483647gb", "largest", id="C05-overflow"),
        pytest.param("9" * 40 + "gb", "largest", id="forty-digits"),
        pytest.param("9" * 100_000 + "gb", "cannot be read", id="100000-digits"),
    ],
)
def test_what_is_no_size_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidSize) as refused:
        parse_size(text)

    assert says in refused.value.text


def test_a_bare_number_says_which_units_to_write() -> None:
    with pytest.raises(InvalidSize, match="no unit.*kb, mb, gb, tb"):
        parse_size("10")


@given(st.integers(1, MAX_SIZE // SECTOR))
def test_every_size_of_whole_sectors_is_read_back_as_written(sectors: int) -> None:
    assert parse_size(format_size(sectors * SECTOR)) == sectors * SECTOR


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from("kmgtp"))
def test_a_fraction_is_never_rounded_down_nor_by_more_than_a_sector(whole: int, millionths: int, unit: str) -> None:
    exact_millionths = (whole * 10**6 + millionths % 10**6) * (1 << 10 * ("kmgtp".index(unit) + 1))
    try:
        size = parse_size(f"{whole}.{millionths % 10**6:06d}{unit}b")
    except InvalidSize:
        assert exact_millionths == 0 or exact_millionths > (MAX_SIZE - SECTOR) * 10**6
    else:
        assert 0 <= size * 10**6 - exact_millionths < SECTOR * 10**6
        assert size % SECTOR == 0


@given(st.text(max_size=60))
def test_any_text_is_a_size_or_invalid_size_and_nothing_else(text: str) -> None:
    try:
        size = parse_size(text)
    except InvalidSize:
        return
    assert 0 < size <= MAX_SIZE


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        pytest.param(20 * GIB, "20gb", id="whole"),
        pytest.param(4096000, "4000kb", id="in-the-largest-unit-that-is-exact"),
        pytest.param(512, "0.5kb", id="half-a-kb"),
        pytest.param(1536, "1.5kb", id="an-odd-sector"),
        pytest.param(0, "0kb", id="nothing"),
        pytest.param(1000, "1000 bytes", id="no-whole-sectors"),
    ],
)
def test_a_size_is_shown_exactly(size_bytes: int, shown: str) -> None:
    assert format_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        pytest.param(100 << 20, "100MB", id="mb"),
        pytest.param(1610612736, "1GB", id="truncated"),
        pytest.param(2 << 40, "2048GB", id="no-tb"),
        pytest.param(4096, "4KB", id="kb"),
        pytest.param(512, "512", id="bytes"),
        pytest.param(0, "0", id="nothing"),
    ],
)
def test_status_shows_sizes_as_vdvs_did(size_bytes: int, shown: str) -> None:
    assert vdvs_capacity(size_bytes) == shown


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0kb"),
        (700, "0.7kb"),
        (1 << 30, "1gb"),
        (1536 << 20, "1536mb"),
        ((10 << 30) + 1, "10.0gb"),
        (1234567890123, "1.1tb"),
        (2000 << 40, "2000tb"),
        ((1 << 60) + 1, "1048576.0tb"),
    ],
)
def test_a_short_size_is_exact_where_that_is_short(size: int, said: str) -> None:
    assert short_size(size) == said


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        pytest.param(8 << 40, 5 * GIB + 1, ("8tb", "5.0gb"), id="short"),
        pytest.param(GIB, GIB - SECTOR, ("1gb", "1024.0mb"), id="near-each-other-in-two-units"),
        pytest.param(5 * GIB + SECTOR, 5 * GIB + 2 * SECTOR, ("5242880.5kb", "5242881kb"), id="exact-where-they-would-read-alike"),
        pytest.param(0, 0, ("0kb", "0kb"), id="the-same"),
    ],
)
def test_two_sizes_that_differ_read_differently(first: int, second: int, said: tuple[str, str]) -> None:
    assert compared(first, second) == said
