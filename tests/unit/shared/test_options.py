"""The options of ``docker volume create -o``: read once, strictly, with the way out in each refusal."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import InvalidName, InvalidOption, InvalidSize, VolumeError
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import MAX_LABELS, MINIMUM_SIZE, OPTIONS, PACKAGES, CreateOptions, help_text

MIB = 1 << 20


def refusal(opts: Any) -> VolumeError:
    with pytest.raises(VolumeError) as refused:
        CreateOptions.parse(opts)
    assert len(str(refused.value)) <= 300
    return refused.value


def test_without_options_the_defaults_are_those_of_vdvs() -> None:
    options = CreateOptions.parse({})

    assert (options.size_bytes, options.diskformat, options.fstype) == (100 * MIB, "thin", "ext4")
    assert (options.attach_as, options.access) == ("independent_persistent", "read-write")
    assert options.given == frozenset()


def test_null_instead_of_options_means_none() -> None:
    assert CreateOptions.parse(None) == CreateOptions()


@pytest.mark.parametrize(
    ("key", "text", "field", "value"),
    [
        pytest.param("size", "20gb", "size_bytes", 20 << 30, id="size"),
        pytest.param("diskformat", "eagerzeroedthick", "diskformat", "eagerzeroedthick", id="diskformat"),
        pytest.param("fstype", "ext4", "fstype", "ext4", id="fstype"),
        pytest.param("datastore", "ds (1)", "datastore", DatastoreName("ds (1)"), id="datastore"),
        pytest.param("clone-from", "a@ds", "clone_from", VolumeRef("a@ds", DatastoreName("ds")), id="clone-from"),
        pytest.param("access", "read-only", "access", "read-only", id="access"),
        pytest.param("attach-as", "persistent", "attach_as", "persistent", id="attach-as"),
        pytest.param("uid", "999", "uid", 999, id="uid"),
        pytest.param("uid", "4294967294", "uid", 4294967294, id="largest-uid"),
        pytest.param("gid", "0", "gid", 0, id="gid"),
        pytest.param("mode", "0750", "mode", 0o750, id="mode"),
        pytest.param("mode", "1777", "mode", 0o1777, id="sticky-mode"),
        pytest.param("layout", "root", "layout", "root", id="layout"),
        pytest.param("mkfs-options", "-i 8192 -m 1", "mkfs_options", ("-i", "8192", "-m", "1"), id="mkfs-options"),
        pytest.param("mount-options", "noatime,commit=30", "mount_options", ("noatime", "commit=30"), id="mount-options"),
        pytest.param("policy", "Gold (50%) ü", "policy", "Gold (50%) ü", id="policy"),
        pytest.param("vsan-policy-name", "gold", "policy", "gold", id="policy-as-vdvs-spelled-it"),
        pytest.param("iops-limit", "500", "iops_limit", 500, id="iops-limit"),
        pytest.param("iops-limit", "16", "iops_limit", 16, id="least-iops-limit"),
        pytest.param("shares", "high", "shares", "high", id="shares"),
        pytest.param("shares", "200", "shares", "200", id="fewest-shares"),
        pytest.param("shares", "4000", "shares", "4000", id="most-shares"),
        pytest.param("label", "team=a", "labels", (("team", "a"),), id="label"),
        pytest.param("label", "b=2,a=1", "labels", (("a", "1"), ("b", "2")), id="labels-in-order"),
        pytest.param("label", "empty=", "labels", (("empty", ""),), id="label-without-text"),
        pytest.param("label", "url=http://x/?a=b", "labels", (("url", "http://x/?a=b"),), id="label-with-equals"),
        pytest.param("label", "com.example/tier=gold", "labels", (("com.example/tier", "gold"),), id="label-of-a-domain"),
    ],
)
def test_an_option_fills_its_field_and_counts_as_given(key: str, text: str, field: str, value: object) -> None:
    options = CreateOptions.parse({key: text})

    assert getattr(options, field) == value
    assert options.given == {field}


@pytest.mark.parametrize("text", ["20gb", "0.5kb", "314573.5kb"])
def test_a_size_is_shown_as_it_can_be_written(text: str) -> None:
    option = OPTIONS["size"]

    assert option.read("size", option.show(option.read("size", text))) == option.read("size", text)


@pytest.mark.parametrize(
    ("opts", "code", "says"),
    [
        pytest.param({"sizee": "1gb"}, "invalid-option", "did you mean size?", id="nearest"),
        pytest.param({"disk-format": "thin"}, "invalid-option", "did you mean diskformat?", id="nearest-with-hyphen"),
        pytest.param({"SIZE": "1gb"}, "invalid-option", "did you mean size?", id="capitals"),
        pytest.param({"": "5"}, "invalid-option", "unknown option ''", id="C06-empty-key"),
        pytest.param({"x" * 100_000: ""}, "invalid-option", "known: size", id="a-giant-key"),
        pytest.param({"si\nze": "1gb"}, "invalid-option", r"si\nze", id="newline-in-the-key"),
        pytest.param({"size": ""}, "invalid-size", "cannot be read", id="C06-empty-size"),
        pytest.param({"size": "1gb,fstype=xfs"}, "invalid-size", "one -o for each option", id="C06-two-options-in-one"),
        pytest.param({"size": "10"}, "invalid-size", "kb, mb, gb, tb", id="C05-no-unit"),
        pytest.param({"size": "-1"}, "invalid-size", "cannot be read", id="C05-negative"),
        pytest.param({"size": "9147483647gb"}, "invalid-size", "62tb", id="C05-overflow"),
        pytest.param({"size": "1kb"}, "invalid-size", "the smallest is size=2mb", id="C02-ext4"),
        pytest.param({"size": "1kb", "fstype": "xfs"}, "invalid-size", "the smallest is size=300mb", id="C02-xfs"),
        pytest.param({"fstype": "xfs"}, "invalid-size", "the smallest is size=300mb", id="C01-xfs-of-the-default-size"),
        pytest.param({"fstype": "xfs", "size": "299mb"}, "invalid-size", "size=300mb", id="C01-xfs-299mb"),
        pytest.param({"size": "4mb", "mkfs-options": "-b 4096"}, "invalid-size", "size=8mb", id="no-room-for-the-journal"),
        pytest.param({"size": "4mb", "mkfs-options": "-T news"}, "invalid-size", "size=8mb", id="nor-with-a-usage-type"),
        pytest.param({"fstype": "zfs"}, "invalid-option", "ext4, xfs", id="unknown-fstype"),
        pytest.param({"fstype": "../x"}, "invalid-option", "ext4, xfs", id="T12-path-as-fstype"),
        pytest.param({"fstype": "-F"}, "invalid-option", "ext4, xfs", id="T12-option-as-fstype"),
        pytest.param({"fstype": "EXT4"}, "invalid-option", "ext4, xfs", id="fstype-in-capitals"),
        pytest.param({"diskformat": "thick"}, "invalid-option", "zeroedthick", id="diskformat"),
        pytest.param({"access": "ro"}, "invalid-option", "read-only", id="access"),
        pytest.param({"attach-as": "independent"}, "invalid-option", "independent_persistent", id="attach-as"),
        pytest.param({"layout": "/etc"}, "invalid-option", "data, root", id="layout"),
        pytest.param({"uid": "1001-1001"}, "invalid-option", "uid=999", id="C07-range"),
        pytest.param({"uid": "www"}, "invalid-option", "numeric", id="C07-name"),
        pytest.param({"gid": "-1"}, "invalid-option", "numeric", id="C07-negative"),
        pytest.param({"uid": "4294967295"}, "invalid-option", "4294967294", id="minus-one-in-disguise"),
        pytest.param({"uid": "4294967296"}, "invalid-option", "4294967294", id="C07-too-large"),
        pytest.param({"uid": "٣"}, "invalid-option", "numeric", id="arabic-uid"),
        pytest.param({"uid": "007"}, "invalid-option", "numeric", id="octal-or-decimal"),
        pytest.param({"uid": "9" * 100_000}, "invalid-option", "numeric", id="giant-uid"),
        pytest.param({"mode": "rwxr-x"}, "invalid-option", "octal", id="C07-letters"),
        pytest.param({"mode": "99"}, "invalid-option", "octal", id="C07-not-octal"),
        pytest.param({"mode": "0o750"}, "invalid-option", "octal", id="python-octal"),
        pytest.param({"mode": "77777"}, "invalid-option", "octal", id="five-digits"),
        pytest.param({"datastore": "../ds"}, "invalid-name", "datastore", id="T3-datastore"),
        pytest.param({"datastore": ""}, "invalid-name", "empty", id="empty-datastore"),
        pytest.param({"clone-from": ""}, "invalid-name", "empty", id="empty-source"),
        pytest.param({"iops-limit": "15"}, "invalid-option", "from 16 on", id="iops-limit-that-stops-a-mount"),
        pytest.param({"iops-limit": "0"}, "invalid-option", "leave it out", id="iops-limit-0"),
        pytest.param({"iops-limit": "-1"}, "invalid-option", "not a limit", id="iops-limit-negative"),
        pytest.param({"iops-limit": "0500"}, "invalid-option", "not a limit", id="iops-limit-with-a-zero"),
        pytest.param({"iops-limit": "2147483648"}, "invalid-option", "not a limit", id="iops-limit-too-large"),
        pytest.param({"iops-limit": "1e3"}, "invalid-option", "not a limit", id="iops-limit-that-is-no-number"),
        pytest.param({"shares": "199"}, "invalid-option", "from 200 to 4000", id="too-few-shares"),
        pytest.param({"shares": "4001"}, "invalid-option", "from 200 to 4000", id="too-many-shares"),
        pytest.param({"shares": "High"}, "invalid-option", "low, normal, high", id="shares-in-another-case"),
        pytest.param({"shares": ""}, "invalid-option", "low, normal, high", id="no-shares"),
        pytest.param({"policy": ""}, "invalid-option", "policy's name", id="empty-policy"),
        pytest.param({"vsan-policy-name": "x" * 81}, "invalid-option", "vsan-policy-name", id="long-policy"),
        pytest.param({"policy": "a\nb"}, "invalid-option", r"a\nb", id="newline-in-a-policy"),
        pytest.param(
            {"policy": "a", "vsan-policy-name": "b"}, "invalid-option", "policy and vsan-policy-name", id="two-policies"
        ),
        pytest.param(
            {"vsan-policy-name": "a", "policy": "a"}, "invalid-option", "given twice", id="one-policy-in-two-spellings"
        ),
        pytest.param({"vsan-policy": "a"}, "invalid-option", "did you mean vsan-policy-name?", id="nearest-other-spelling"),
        pytest.param({"clone-from": "a", "policy": "b"}, "invalid-option", "leave out policy", id="clone-with-policy"),
        pytest.param({"clone-from": "a", "size": "1gb"}, "invalid-option", "leave out size", id="clone-with-size"),
        pytest.param({"clone-from": "a", "fstype": "ext4"}, "invalid-option", "leave out fstype", id="clone-with-fstype"),
        pytest.param({"clone-from": "a", "mkfs-options": "-m 1"}, "invalid-option", "mkfs-options", id="clone-with-mkfs"),
        pytest.param({"clone-from": "a", "mount-options": "suid"}, "invalid-option", "clone", id="clone-with-bad-mount"),
        pytest.param({"mkfs-options": "-F"}, "invalid-option", "-b 1024|2048|4096", id="T12-force"),
        pytest.param({"mkfs-options": "-O ^has_journal"}, "invalid-option", "allowed", id="features"),
        pytest.param({"mkfs-options": "-b"}, "invalid-option", "-b 1024", id="flag-without-value"),
        pytest.param({"mkfs-options": "-b 4096 /dev/sda"}, "invalid-option", "/dev/sda", id="a-device-as-option"),
        pytest.param({"mkfs-options": "-b 4096 -b 1024"}, "invalid-option", "twice", id="the-same-flag-twice"),
        pytest.param({"mkfs-options": "-i 4095"}, "invalid-option", "4096..67108864", id="below-the-range"),
        pytest.param({"mkfs-options": "-i 67108865"}, "invalid-option", "4096..67108864", id="above-the-range"),
        pytest.param({"mkfs-options": "-m ٣"}, "invalid-option", "0..50", id="arabic-percent"),
        pytest.param({"mkfs-options": "-b '4096"}, "invalid-option", "cannot be read", id="open-quote"),
        pytest.param({"mkfs-options": " "}, "invalid-option", "is empty", id="blank-mkfs-options"),
        pytest.param({"mkfs-options": "-s size=512"}, "invalid-option", "for ext4", id="of-the-other-file-system"),
        pytest.param({"mount-options": ""}, "invalid-option", "noatime", id="empty-mount-options"),
        pytest.param({"mount-options": "noatime,"}, "invalid-option", "''", id="comma-at-the-end"),
        pytest.param({"mount-options": "suid"}, "invalid-option", "allowed: noatime", id="suid"),
        pytest.param({"mount-options": "dev"}, "invalid-option", "allowed: noatime", id="dev"),
        pytest.param({"mount-options": "data=writeback"}, "invalid-option", "data=ordered|journal", id="data-writeback"),
        pytest.param({"mount-options": "barrier=0"}, "invalid-option", "allowed", id="no-barriers"),
        pytest.param({"mount-options": "noatime|suid"}, "invalid-option", "allowed", id="no-regular-expression-gets-in"),
        pytest.param({"mount-options": "commit=0"}, "invalid-option", "commit=1..300", id="commit-0"),
        pytest.param({"label": "a"}, "invalid-option", "key=value", id="label-without-equals"),
        pytest.param({"label": ""}, "invalid-option", "key=value", id="empty-label"),
        pytest.param({"label": "=x"}, "invalid-option", "key=value", id="label-without-key"),
        pytest.param({"label": "a=1,"}, "invalid-option", "key=value", id="label-and-comma"),
        pytest.param({"label": "a=hello, world"}, "invalid-option", "no comma", id="comma-in-a-label"),
        pytest.param({"label": "a=1,a=2"}, "invalid-option", "twice", id="one-label-twice"),
        pytest.param({"label": "a=x\ny"}, "invalid-option", r"x\ny", id="newline-in-a-label"),
        pytest.param({"label": "a=" + "x" * 256}, "invalid-option", "is not a label", id="long-label"),
        pytest.param({"label": ",".join(f"k{n}=" for n in range(MAX_LABELS + 1))}, "invalid-option", "33 labels", id="33"),
        pytest.param({"help": ""}, "invalid-option", "options: size, diskformat", id="help"),
        pytest.param({"size": 5}, "invalid-option", "not a text: 5", id="C08-number"),
        pytest.param({"size": None}, "invalid-option", "not a text", id="C08-null"),
        pytest.param({"size": True}, "invalid-option", "not a text", id="C08-true"),
        pytest.param({"size": ["1gb"] * 100_000}, "invalid-option", "not a text", id="giant-list"),
        pytest.param([], "invalid-option", "not a JSON object", id="C08-empty-list"),
        pytest.param("size=1gb", "invalid-option", "not a JSON object", id="C08-text"),
        pytest.param(0, "invalid-option", "not a JSON object", id="zero-is-not-null"),
    ],
)
def test_a_bad_option_is_one_line_with_a_code_and_the_way_out(opts: Any, code: str, says: str) -> None:
    error = refusal(opts)

    assert error.code == code
    assert says in str(error)


@pytest.mark.parametrize("fstype", list(PACKAGES))
def test_exactly_the_smallest_size_is_taken(fstype: str) -> None:
    options = CreateOptions.parse({"fstype": fstype, "size": f"{MINIMUM_SIZE[fstype] // MIB}mb"})

    assert options.size_bytes == MINIMUM_SIZE[fstype]


@pytest.mark.parametrize("fstype", list(PACKAGES))
@pytest.mark.parametrize("key", ["mkfs-options", "mount-options"])
def test_an_allow_list_is_shown_whole_and_readable(fstype: str, key: str) -> None:
    line = str(refusal({"fstype": fstype, "size": "1gb", key: "-x bad"}))

    assert "…" not in line
    assert not set("()[]{}^$\\").intersection(line.split("allowed: ")[1].split(" [")[0].replace("(a power of two)", ""))


def test_a_clone_has_no_size_of_its_own() -> None:
    assert CreateOptions.parse({"clone-from": "a"}).size_bytes is None


def test_a_clone_may_have_a_mount_option_of_any_file_system_since_only_the_service_knows_its_source() -> None:
    assert CreateOptions.parse({"clone-from": "a", "mount-options": "largeio"}).mount_options == ("largeio",)


def test_help_names_every_option() -> None:
    assert all(key in help_text() for key in OPTIONS)
    assert "…" not in str(refusal({"help": ""}))


@pytest.mark.parametrize("key", ["size", "diskformat", "attach-as", "access", "fstype", "clone-from"])
def test_every_option_of_vdvs_is_spelt_as_there(key: str) -> None:
    assert key in OPTIONS


def test_every_field_but_the_list_of_given_ones_has_one_option() -> None:
    assert sorted(option.field for option in OPTIONS.values()) == sorted(
        field.name for field in fields(CreateOptions) if field.name != "given"
    )


WRITTEN = {
    "size": st.sampled_from(["20gb", "300mb", "1.5tb", "314573.5kb"]),
    "diskformat": st.sampled_from(["thin", "zeroedthick", "eagerzeroedthick"]),
    "datastore": st.sampled_from(["ds", "ds (1)"]),
    "access": st.sampled_from(["read-write", "read-only"]),
    "attach-as": st.sampled_from(["independent_persistent", "persistent"]),
    "uid": st.integers(0, 2**32 - 2).map(str),
    "gid": st.integers(0, 2**32 - 2).map(str),
    "mode": st.integers(0o000, 0o7777).map("{:04o}".format),
    "layout": st.sampled_from(["data", "root"]),
    "mkfs-options": st.sampled_from(["-i 8192", "-b 1024 -m 5"]),
    "mount-options": st.sampled_from(["noatime", "noatime,data=journal"]),
    "label": st.sampled_from(["a=1", "a=1,b=2", "a="]),
}


@given(st.fixed_dictionaries({}, optional=WRITTEN))
def test_options_shown_and_read_again_are_the_same(opts: dict[str, str]) -> None:
    options = CreateOptions.parse(opts)

    again = {key: OPTIONS[key].show(getattr(options, OPTIONS[key].field)) for key in opts}

    assert CreateOptions.parse(again) == options
    assert options.checked() == options


@given(st.dictionaries(st.sampled_from([*OPTIONS, "sizee", ""]), st.text(max_size=40), max_size=4))
def test_any_texts_are_options_or_a_bad_request_and_nothing_else(opts: dict[str, str]) -> None:
    try:
        options = CreateOptions.parse(opts)
    except (InvalidOption, InvalidSize, InvalidName):
        return
    assert options.checked() == options


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"size_bytes": 0}, id="size-0"),
        pytest.param({"size_bytes": -512}, id="negative-size"),
        pytest.param({"size_bytes": 513}, id="half-a-sector"),
        pytest.param({"size_bytes": 63 << 40}, id="too-large"),
        pytest.param({"size_bytes": None}, id="no-size-and-no-source"),
        pytest.param({"fstype": "../x"}, id="T12-fstype"),
        pytest.param({"diskformat": "fat"}, id="diskformat"),
        pytest.param({"access": "rw"}, id="access"),
        pytest.param({"layout": "/etc"}, id="layout"),
        pytest.param({"uid": -1}, id="uid"),
        pytest.param({"gid": 2**32 - 1}, id="gid"),
        pytest.param({"mode": 0o10000}, id="mode"),
        pytest.param({"mode": -1}, id="negative-mode"),
        pytest.param({"datastore": "../ds"}, id="datastore"),
        pytest.param({"datastore": ""}, id="empty-datastore"),
        pytest.param({"mkfs_options": ("-F",)}, id="T12-mkfs"),
        pytest.param({"mkfs_options": ("-b 4096",)}, id="two-words-in-one"),
        pytest.param({"mkfs_options": ("",)}, id="an-empty-word"),
        pytest.param({"mount_options": ("suid",)}, id="mount"),
        pytest.param({"mount_options": ("noatime,suid",)}, id="two-mount-options-in-one"),
        pytest.param({"mount_options": ("",)}, id="an-empty-mount-option"),
        pytest.param({"labels": (("a", "x,b=1"),)}, id="a-label-that-would-be-two"),
        pytest.param({"labels": (("b", "1"), ("a", "1"))}, id="labels-out-of-order"),
        pytest.param({"labels": (("a\n", "1"),)}, id="a-label-with-newline"),
        pytest.param({"given": frozenset({"size_byte"})}, id="an-unknown-given-field"),
    ],
)
def test_a_peer_is_not_trusted_to_have_parsed_anything(forged: dict[str, Any]) -> None:
    with pytest.raises((InvalidOption, InvalidSize, InvalidName)):
        replace(CreateOptions(), **forged).checked()


@pytest.mark.parametrize(
    ("written", "existing", "differs"),
    [
        pytest.param({}, CreateOptions(fstype="xfs"), (), id="nothing-written-nothing-differs"),
        pytest.param({"size": "100mb"}, CreateOptions(), (), id="the-same-size"),
        pytest.param({"size": "1gb"}, CreateOptions(), ("size is 100mb, not 1gb",), id="another-size"),
        pytest.param({"label": "a=1"}, CreateOptions(), ("label is not set, not a=1",), id="a-new-label"),
        pytest.param(
            {"access": "read-only", "uid": "9"},
            CreateOptions(),
            ("access is read-write, not read-only", "uid is 0, not 9"),
            id="two-differences-in-a-fixed-order",
        ),
    ],
)
def test_a_repeated_create_names_what_differs(
    written: dict[str, str], existing: CreateOptions, differs: tuple[str, ...]
) -> None:
    assert CreateOptions.parse(written).differences(existing, 100 * MIB) == differs


@pytest.mark.parametrize(
    ("written", "differs"),
    [
        pytest.param("1gb", (), id="what-it-was-made-with"),
        pytest.param("2gb", (), id="what-it-had-meanwhile"),
        pytest.param("3gb", (), id="what-it-has-now"),
        pytest.param("1023mb", ("size is 3gb, not 1023mb",), id="less-than-it-ever-had"),
        pytest.param("4gb", ("size is 3gb, not 4gb",), id="more-than-it-has"),
    ],
)
def test_c15_a_repeated_create_of_a_grown_volume_may_say_any_size_that_it_had(written: str, differs: tuple[str, ...]) -> None:
    made = CreateOptions.parse({"size": "1gb"})
    assert CreateOptions.parse({"size": written}).differences(made, 3 << 30) == differs


def test_a_repeated_create_of_a_grown_clone_compares_with_its_present_size() -> None:
    clone = CreateOptions.parse({"clone-from": "db"})
    assert CreateOptions.parse({"size": "2gb"}).differences(clone, 2 << 30) == ()
    assert CreateOptions.parse({"size": "1gb"}).differences(clone, 2 << 30) != ()
