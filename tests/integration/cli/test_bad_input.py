"""What an administrator may type wrong, at a real service through its real API: what is said, and that nothing is changed."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from tests.integration.api_site import ApiSite
from tests.integration.identity_site import ask
from tests.integration.typed_page import create, machine
from tests.unit.cli.asked import Said
from vmdkvol import durable
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.messages import Attach, Detach
from vmdkvol.orders import Role
from vmdkvol.vmgroup_messages import CreateVmgroup, SetRight
from vmdkvol.volume import VmId, new_disk_uuid
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.web import token_file

pytestmark = pytest.mark.integration

MB = 1 << 20
HOSTS = {name: VmId(UUID(int=0xA + at)) for at, name in enumerate(("web1", "web2", "free"))}
Type = Callable[..., Said]


def put(folder: Path, name: str) -> Path:
    """Put a disk that somebody else made, and return its bytes' file."""
    folder.mkdir(exist_ok=True)
    flat = folder / f"{name}-flat.vmdk"
    flat.write_bytes(b"\1" * MB)
    (folder / f"{name}.vmdk").write_bytes(vmdk.write(vmdk.Descriptor(MB, flat.name, new_disk_uuid(uuid4()))))
    return flat


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    """Shop has db (160 MB), logs (60 MB) and held (10 MB, which web1 has) of 300 MB; ops has free."""
    with tempfile.TemporaryDirectory(prefix="vmdkvol-bad-") as folder:
        made = ApiSite(Path(folder), hosts=HOSTS, datastores=("ds1", "ds2"), trash_retention_s=1000.0)
        admin, web1 = machine(made, "admin"), machine(made, "web1")
        try:
            ask(admin, CreateVmgroup(name="shop", default_datastore="ds1", vms=("web1",)))
            ask(admin, CreateVmgroup(name="ops", default_datastore="ds1", vms=("web2",)))
            ask(admin, SetRight(name="shop", datastore="ds1", max_bytes=200 * MB, total_bytes=300 * MB))
            for name, size in (("db", "160mb"), ("logs", "60mb")):
                create(web1, name, size=size)
            with closing(machine(made, "web2")) as web2:
                create(web2, "free", size="10mb")
            held = create(web1, "held", size="10mb").id
            attached = ask(web1, Attach(held))
            yield made
            ask(web1, Detach(held, attached.generation))
        finally:
            for line in (admin, web1):
                line.close()
            made.close()


@pytest.fixture
def typed(site: ApiSite, capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*command: str) -> Said:
        code = run(cli, "vmdkvol", [*command, "--api", f"unix://{site.socket}"])
        return Said(code, *capsys.readouterr())

    return typed


def state(site: ApiSite) -> list[Any]:
    """All that a change could have changed."""
    paths = ["/v1/vmgroups", "/v1/volumes?trash=true", "/v1/policies"]
    paths += [f"/v1/vmgroups/{name}/members" for name in ("shop", "ops")]
    answers = [site.unix("GET", path) for path in paths]
    assert {each.status for each in answers} == {200}
    return [each.json for each in answers]


GROUP = "vmgroup create new --default-datastore ds1"
SET = "vmgroup access set shop --datastore ds1"
CASES = [
    # Names.
    ("vmgroup create a/b --default-datastore ds1", 2, "invalid-name"),
    ("vmgroup create =1+1 --default-datastore ds1", 2, "invalid-name"),
    (f"vmgroup create {'x' * 65} --default-datastore ds1", 2, "invalid-name"),
    ("vmgroup create shop --default-datastore ds1 --description other", 5, "name-conflict"),
    ("vmgroup update ops --new-name shop", 5, "name-conflict"),
    ("volume create db --vmgroup shop -o size=60mb", 5, "name-conflict"),
    ("volume rename db logs --yes", 5, "name-conflict"),
    ("volume rename db a/b --yes", 2, "invalid-name"),
    ("volume rename db db@ds2 --yes", 5, "name-conflict"),
    ("volume rename held other --yes", 5, "volume-in-use"),
    # What there is not.
    (f"{GROUP} --vm-list nobody", 4, "vm-not-found"),
    (f"{GROUP} --vm-list free,nobody", 4, "vm-not-found"),
    ("vmgroup create new --default-datastore ds9", 4, "datastore-not-found"),
    ("vmgroup vm add ops nobody", 4, "vm-not-found"),
    ("vmgroup vm add ops free nobody", 4, "vm-not-found"),
    ("vmgroup vm rm shop nobody", 4, "vm-not-found"),
    ("vmgroup update nothing --description x", 4, "vmgroup-not-found"),
    ("vmgroup rm nothing --yes", 4, "vmgroup-not-found"),
    ("vmgroup access set shop --datastore ds9 --volume-maxsize 1mb", 4, "datastore-not-found"),
    ("vmgroup access rm shop --datastore ds2", 4, "right-not-found"),
    # Everybody has the row for all datastores: one with a limit alone would let them make nothing on ds1 any more.
    ("vmgroup access set _DEFAULT --datastore ds1 --volume-totalsize 1tb", 4, "right-not-found"),
    ("volume rm nothing --yes", 4, "volume-not-found"),
    ("volume create new --vmgroup nothing", 4, "vmgroup-not-found"),
    # Empty lists, and what is there twice.
    (f"{GROUP} --vm-list ,", 2, "bad-request"),
    (f"{GROUP} --vm-list free,free", 2, "bad-request"),
    (f"{GROUP} --vm-list free,{HOSTS['free']}", 2, "bad-request"),
    (f"{GROUP} --policy gold --policy gold", 2, "bad-request"),
    ("vmgroup vm add ops", 2, "usage"),
    ("vmgroup vm add ops free free", 2, "bad-request"),
    (f"{GROUP} --vm-list web1", 5, "member-elsewhere"),
    ("vmgroup vm add ops web1", 5, "member-elsewhere"),
    ("vmgroup access add shop --datastore ds1", 5, "name-conflict"),
    # The default vmgroup.
    ("vmgroup create _DEFAULT --default-datastore ds1 --vm-list free", 2, "default-vmgroup"),
    ("vmgroup update _DEFAULT --new-name all", 2, "default-vmgroup"),
    ("vmgroup update ops --new-name _DEFAULT", 2, "default-vmgroup"),
    ("vmgroup vm add _DEFAULT free", 2, "default-vmgroup"),
    ("vmgroup vm rm _DEFAULT free", 2, "default-vmgroup"),
    # Limits.
    (f"{SET} --volume-maxsize 2gb --volume-totalsize 1gb", 2, "invalid-limit"),
    (f"{SET} --volume-maxsize 400mb", 2, "invalid-limit"),
    (f"{SET} --volume-totalsize 100mb", 2, "invalid-limit"),
    (f"{SET} --volume-totalsize 0", 2, "invalid-size"),
    ("volume create new --vmgroup shop -o size=250mb", 7, "quota-exceeded"),
    ("volume create new --vmgroup shop -o size=100mb", 7, "quota-exceeded"),
    # Sizes of what is there.
    ("volume resize db 100mb", 2, "invalid-size"),
    ("volume resize db 201mb", 7, "quota-exceeded"),
    ("volume resize logs 140mb", 7, "quota-exceeded"),
    # Without a limit the datastore is one.
    ("volume resize free 60tb", 1, "no-space"),
    # Who is in the way.
    ("vmgroup rm shop --yes", 5, "vmgroup-not-empty"),
    ("vmgroup vm rm shop web1", 5, "volume-in-use"),
]


@pytest.mark.parametrize(("command", "code", "says"), CASES, ids=[case[0].removeprefix("vmgroup ") for case in CASES])
def test_what_is_wrong_is_refused_and_nothing_is_changed(
    site: ApiSite, typed: Type, command: str, code: int, says: str
) -> None:
    before = state(site)
    said = typed(*command.split())
    assert (said.code, said.out) == (code, ""), said.err
    assert said.err.endswith(f"[{says}]\n"), said.err
    assert len(said.err.splitlines()) == 1
    # Who reads this is one.
    assert "ask an administrator" not in said.err
    assert state(site) == before


# --- limits ------------------------------------------------------------------------------------------------------


def test_a_quota_below_present_use_is_taken_and_nothing_new_fits(site: ApiSite, typed: Type) -> None:
    said = typed(*f"{SET} --volume-maxsize 100mb --volume-totalsize 200mb --dry-run".split())
    assert (said.code, "in use: 230mb on ds1; nothing new fits there" in said.out) == (0, True)
    try:
        assert typed(*f"{SET} --volume-maxsize 100mb --volume-totalsize 200mb".split()).code == 0
        assert typed(*["volume", "create", "new", "--vmgroup", "shop", "-o", "size=10mb"]).code == 7
        assert typed(*["volume", "resize", "db", "161mb"]).code == 7
        assert [each["name"] for each in site.unix("GET", "/v1/volumes").json["rows"] if each["vmgroup"] == "shop"] != []
    finally:
        typed(*f"{SET} --volume-maxsize 200mb --volume-totalsize 300mb".split())


def test_limits_reset_to_none_are_no_limits_and_one_that_is_not_named_stays(site: ApiSite, typed: Type) -> None:
    def limits() -> tuple[int | None, int | None]:
        (right,) = site.unix("GET", "/v1/vmgroups/shop").json["rights"]
        return right["max_bytes"], right["total_bytes"]

    try:
        assert typed(*SET.split(), "--volume-maxsize", "none").code == 0
        assert limits() == (None, 300 * MB)
        assert typed(*SET.split(), "--volume-totalsize", "none").code == 0
        assert limits() == (None, None)
        again = typed(*SET.split(), "--volume-totalsize", "none")
        assert (again.code, "was so already" in again.err) == (0, True)
        assert typed(*["volume", "resize", "db", "301mb", "--dry-run"]).code == 0
    finally:
        typed(*f"{SET} --volume-maxsize 200mb --volume-totalsize 300mb".split())


# --- who may, and who was first ----------------------------------------------------------------------------------


def test_the_second_of_two_administrators_of_one_vmgroup_gets_a_conflict(site: ApiSite) -> None:
    seen = site.unix("GET", "/v1/vmgroups/ops").headers["ETag"]
    first = site.unix("PATCH", "/v1/vmgroups/ops", {"description": "the first one's"}, If_Match=seen)
    before = state(site)
    second = site.unix("PATCH", "/v1/vmgroups/ops", {"description": "the second one's"}, If_Match=seen)
    assert (first.status, second.status, second.code) == (200, 412, "stale-request")
    right = site.unix("PATCH", "/v1/vmgroups/ops/rights/ds1", {"max_bytes": MB}, If_Match=seen)
    assert (right.status, right.code) == (412, "stale-request")
    assert state(site) == before


def test_the_second_of_two_who_type_from_what_they_saw_gets_a_conflict_with_both_revisions(site: ApiSite, typed: Type) -> None:
    seen = json.loads(typed("vmgroup", "inspect", "ops", "-o", "json").out)[0]["revision"]
    first = typed("vmgroup", "update", "ops", "--description", "hers", "--if-revision", str(seen))
    before = state(site)
    second = typed("vmgroup", "update", "ops", "--description", "his", "--if-revision", str(seen))
    row = typed(
        *["vmgroup", "access", "set", "ops", "--datastore", "ds1", "--volume-maxsize", "1gb", "--if-revision"], str(seen)
    )
    dry = typed("vmgroup", "update", "ops", "--description", "his", "--if-revision", str(seen), "--dry-run")
    assert (first.code, second.code, row.code, dry.code) == (0, 5, 5, 5)
    for said in (second, row, dry):
        assert f"revision {seen + 1}" in said.err
        assert str(seen) in said.err.replace(f"revision {seen + 1}", "")
        assert said.err.endswith("[stale-request]\n")
    assert state(site) == before


def from_afar(site: ApiSite, token: str, *command: str) -> Said:
    """Type a command on another machine, as a process of its own."""
    file = site.root / "my-token"
    file.write_text(token)
    file.chmod(0o600)
    environment = {
        "PATH": os.environ["PATH"],
        "VMDKVOL_API": f"https://localhost:{site.port}",
        "VMDKVOL_TOKEN_FILE": str(file),
        "VMDKVOL_CA": str(site.site.path),
    }
    program = str(Path(sys.executable).parent / "vmdkvol")
    done = subprocess.run([program, *command], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


CHANGES = [
    "vmgroup create new --default-datastore ds1",
    "vmgroup rm ops --force --yes",
    "vmgroup access set ops --datastore ds1 --volume-totalsize none",
    "policy create gold",
    "volume resize free 20mb",
    "volume rm free --yes",
]


def test_a_viewer_who_changes_something_is_refused_over_the_command_line(site: ApiSite) -> None:
    token, before = site.token("looker", Role.VIEWER), state(site)
    looked = from_afar(site, token, "vmgroup", "ls", "-o", "name")
    assert (looked.code, looked.out.split()) == (0, ["_DEFAULT", "ops", "shop"])
    for command in CHANGES:
        said = from_afar(site, token, *command.split())
        assert (said.code, said.out) == (7, "")
        assert said.err.endswith("[not-permitted]\n")
    assert state(site) == before
    assert len(site.unix("GET", "/v1/audit?actor=looker&result=not-permitted").json["entries"]) == len(CHANGES)


def test_an_expired_token_is_refused_over_the_command_line(site: ApiSite) -> None:
    token, path = site.token("late", Role.ADMIN), Path(site.settings.token_file)
    kept = [asdict(each) for each in token_file.read(path)]
    durable.write(path, json.dumps({"tokens": [each | {"expires_at": 1.0} for each in kept]}).encode())
    for command in ("vmgroup ls", CHANGES[0]):
        said = from_afar(site, token, *command.split())
        assert (said.code, said.out) == (7, "")
        assert said.err.endswith("[not-authenticated]\n")
        assert token not in said.err


# --- texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "status", "code"),
    [
        pytest.param("a=" + "x" * (1 << 20), 413, "body-too-long", id="a-megabyte"),
        pytest.param("a=" + "x" * 60_000, 400, "bad-request", id="what-a-body-takes"),
        pytest.param(",".join(f"key{number}=x" for number in range(4500)), 400, "invalid-option", id="many"),
        pytest.param("a=1\n=1+1", 400, "invalid-option", id="a-second-line"),
    ],
)
def test_labels_of_a_megabyte_are_refused_in_one_short_line(site: ApiSite, labels: str, status: int, code: str) -> None:
    before = state(site)
    created = site.unix("POST", "/v1/volumes", {"name": "new", "vmgroup": "ops", "options": [["label", labels]]})
    changed = site.unix("PATCH", "/v1/volumes/free", {"vmgroup": "ops", "options": [["label", labels]]})
    for answer in (created, changed):
        assert (answer.status, answer.code) == (status, code), answer.body[:500]
        assert len(answer.body) < 2000
    assert state(site) == before


def test_no_text_of_an_administrator_is_a_formula_in_the_audit_s_csv(site: ApiSite, typed: Type) -> None:
    evil = ("=HYPERLINK(1)", "+1+1", "-1+1", '=1+1,"x"')
    for name in evil:
        for old, new in (("free", name), (name, "free")):
            asked = site.unix("POST", f"/v1/volumes/{quote(old)}/rename", {"new_name": new, "vmgroup": "ops"})
            assert asked.status == 200, asked.body
    said = typed("audit", "export", "--form", "csv")
    heading, *rows = csv.reader(io.StringIO(said.out))
    assert said.code == 0
    assert {len(row) for row in rows} == {len(heading)}
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row)


# --- a disk that is in use ---------------------------------------------------------------------------------------


def test_a_disk_in_use_is_not_adopted(site: ApiSite, typed: Type) -> None:
    flat = put(site.root / "ds1" / "databases", "orders")
    device = subprocess.run(["losetup", "-f", "--show", str(flat)], capture_output=True, text=True, check=True).stdout.strip()
    before = state(site)
    try:
        said = typed("volume", "adopt", "[ds1] databases/orders.vmdk", "orders", "--vmgroup", "ops")
        assert (said.code, said.out, state(site)) == (5, "", before), said.err
        assert said.err.endswith("[volume-in-use]\n"), said.err
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
