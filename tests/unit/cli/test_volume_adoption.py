"""`vmdkvol volume scan`: what it shows and what it asks of the API."""

from __future__ import annotations

import json

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.adoption_messages import FoundDisk, FoundDisks
from vmdkvol.wire import dump

FREE = FoundDisk("[ds1] a/x.vmdk", True, "", "6000c29a", 1 << 30, 4096, "thin")
HELD = FoundDisk("[ds1] web/web.vmdk", False, "it lies in the folder of a virtual machine (web.vmx)")


def test_disks_are_listed_with_what_stands_against_each(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(FoundDisks((FREE, HELD))))).run("volume", "scan", "ds1", "--folder", "/a/")

    lines = said.out.splitlines()
    assert lines[1].split("  ")[0] == "[ds1] a/x.vmdk"
    assert "virtual machine (web.vmx)" in lines[2]
    assert terminal.asked[0].target == "/v1/disks/ds1?limit=1000&folder=a"


def test_how_many_disks_cannot_be_compared_is_said(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(FoundDisks((FREE,), uncompared=3)))).run("volume", "scan", "ds1")
    assert "3 disks of virtual machines do not say who they are" in said.err
    assert "[ds1] a/x.vmdk" in said.out


def test_an_api_of_before_does_not_say_it(terminal: Terminal) -> None:
    page = dump(FoundDisks((FREE,)))
    del page["uncompared"]
    said = terminal.answers(Says(page)).run("volume", "scan", "ds1")
    assert (said.code, said.err) == (0, "")


def test_programs_get_every_key(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(FoundDisks((FREE,))))).run("volume", "scan", "ds1", "-o", "json")
    (row,) = json.loads(said.out)
    assert (row["place"], row["size_bytes"], row["adoptable"], row["used_by"]) == ("[ds1] a/x.vmdk", 1 << 30, True, None)


def test_a_refusal_is_one_line(terminal: Terminal) -> None:
    said = terminal.answers(problem("datastore-not-found", "there is no datastore 'ds9'", 404)).run("volume", "scan", "ds9")
    assert (said.out, "ds9" in said.err, said.code) == ("", True, 4)
