"""Each command on the page for administrators of vDVS, typed at a real service: it does what its row says, or says why not."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite
from tests.integration.cli.test_bad_input import put
from tests.unit.cli.asked import Said
from tests.unit.cli.test_from_vdvs import NAMED
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.volume import VmId

pytestmark = pytest.mark.integration

HOSTS = {name: VmId(UUID(int=0xA + at)) for at, name in enumerate(("a", "b"))}
# The page's capitals, as they are called here.
WORDS = {
    "G": "prod",
    "H": "prod",
    "GLOB": "pro*",
    "D": "words",
    "DS": "ds1",
    "VOLUME": "db",
    "NEW": "db",
    "40gb": "200mb",
    "[DS] PATH": "[ds1] theirs/x.vmdk",
    "P": "gold",
    "VM": "a",
    "CODE": "volume-in-use",
}
# In the order in which they make sense, each after what it needs; the code where it is not 0.
WALK: tuple[tuple[str, int], ...] = (
    *((f"vmdkvol {words}", 0) for words in ("status", "vm ls", "datastore ls", "policy ls", "explain CODE")),
    ("vmdkvol vmgroup create --name G --default-datastore DS --description D --vm-list a,b", 0),
    ("vmdkvol vmgroup vm rm --name G --vm-list a,b", 0),
    ("vmdkvol vmgroup vm add --name G --vm-list a,b", 0),
    ("vmdkvol vmgroup vm replace --name G --vm-list a,b", 0),
    *((f"vmdkvol vmgroup {words}", 0) for words in ("ls", "inspect G", "vm ls --name G", "access ls --name G")),
    ("vmdkvol vmgroup access set --name G --datastore DS --allow-create True", 0),
    ("vmdkvol vmgroup access add --name G --datastore DS --allow-create --volume-maxsize 1GB --volume-totalsize 9GB", 0),
    ("vmdkvol vmgroup access rm --name G --datastore DS", 0),
    ("vmdkvol policy create --name P --diskformat thick", 0),
    ("vmdkvol policy update --name P --diskformat thick", 0),
    ("vmdkvol volume create VOLUME --vmgroup G", 0),
    ("vmdkvol volume ls", 0),
    ("vmdkvol volume ls --columns name,size", 0),
    ("vmdkvol volume ls --vmgroup GLOB", 0),
    ("vmdkvol volume ls -c name,size,diskformat,attached_to", 0),
    ("vmdkvol volume inspect VOLUME", 0),
    ('vmdkvol volume set --volume VOLUME --vmgroup G --options "access=read-only"', 0),
    ("vmdkvol volume rename VOLUME NEW", 0),
    ("vmdkvol volume move VOLUME --to-vmgroup G", 0),
    ("vmdkvol volume resize VOLUME 40gb", 0),
    ("vmdkvol volume detach VOLUME --force", 0),
    # A thin disk is not made a thick one behind its user's back.
    ("vmdkvol policy apply P VOLUME", 2),
    ("vmdkvol policy unset VOLUME", 0),
    ("vmdkvol policy volumes P", 0),
    ("vmdkvol policy rm --name P", 0),
    ("vmdkvol volume rm VOLUME", 0),
    ("vmdkvol volume restore VOLUME", 0),
    ("vmdkvol volume rm VOLUME", 0),
    ("vmdkvol volume scan DS", 0),
    ('vmdkvol volume adopt "[DS] PATH" VOLUME', 0),
    ("vmdkvol volume release VOLUME", 0),
    ("vmdkvol datastore cordon DS", 0),
    ("vmdkvol datastore uncordon DS", 0),
    ("vmdkvol orphans ls", 0),
    ("vmdkvol orphans mend WHERE adopt", 4),
    ("vmdkvol vm enroll VM", 0),
    ("vmdkvol vm revoke VM", 0),
    ("vmdkvol task ls", 0),
    ("vmdkvol task wait ID", 0),
    ("vmdkvol task cancel ID", 5),
    ("vmdkvol audit ls", 0),
    ("vmdkvol audit export", 0),
    ("vmdkvol vmgroup update --name G --new-name H --description D --default-datastore DS", 0),
    # Its trash keeps the volume, and that the vmgroup.
    ("vmdkvol vmgroup rm --name G --remove-volumes --force", 5),
)
# The page's example of a name as an argument.
_ELSEWHERE = {"vmdkvol vmgroup rm prod"}


def test_each_command_of_the_page_is_typed_here() -> None:
    assert {words for words, _ in WALK} | _ELSEWHERE == set(NAMED)


def test_each_command_of_the_page_does_what_its_row_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="vmdkvol-vdvs-") as folder:
        site = ApiSite(Path(folder), tls=False, hosts=HOSTS, datastores=("ds1", "ds2"), trash_retention_s=1000.0)
        monkeypatch.setenv("VMDKVOL_API", f"unix://{site.socket}")
        try:
            put(site.root / "ds1" / "theirs", "x")
            done = [(words, typed(site, words, capsys).code) for words, _ in WALK]
        finally:
            site.close()
    assert [each for each in zip(WALK, done, strict=True) if each[0] != each[1]] == []


def typed(site: ApiSite, row: str, capsys: pytest.CaptureFixture[str]) -> Said:
    """Type the row with what things are called here; what asks is told yes."""
    words = [WORDS.get(word, word) for word in shlex.split(row)[1:]]
    if words[1:3] in (["access", "add"], ["access", "rm"]):
        # It has a row of its default datastore, which is limited, and not taken away.
        words[words.index("ds1")] = "ds2"
    if "ID" in words:
        (task, *_) = site.unix("GET", "/v1/tasks?ended=true").json["tasks"]
        words[words.index("ID")] = task["id"]
    asks = re.match(r"vmdkvol (volume (rm|detach|release|rename|move)|vmgroup rm|vm revoke|orphans mend)", row)
    code = run(cli, "vmdkvol", [*words, *(["--yes"] if asks else [])])
    return Said(code, *capsys.readouterr())
