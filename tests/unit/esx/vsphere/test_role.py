"""The table of privileges speaks of every call of ours for which vSphere asks for more than to see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import pbm, vim

from vmdkvol_esx.vsphere.role import NEEDS

SOURCES = Path(__file__).parents[4] / "esx-service" / "vmdkvol_esx" / "vsphere"
# Made with an administrator's account.
OF_AN_ADMINISTRATOR = {"granting.py"}
KINDS = (
    vim.VirtualDiskManager,
    vim.FileManager,
    vim.DatastoreNamespaceManager,
    vim.host.DatastoreBrowser,
    vim.VirtualMachine,
)
POLICIES = (pbm.profile.ProfileManager, pbm.placement.PlacementSolver, pbm.compliance.ComplianceManager)
# Reads that need no more than to see, as the bindings' own table of privileges says.
SEEING = {"QueryVirtualDiskUuid"}


def wire_names(kinds: Iterable[Any], text: str) -> set[str]:
    """Return the names on the wire of those methods of ``kinds`` that ``text`` calls, by that name or by the bindings'."""
    infos = [(name, info.wsdlName) for kind in kinds for name, info in methods(kind)]
    return {wire for name, wire in infos if re.search(rf"\.({re.escape(name)}|{re.escape(wire)})\b", text)}


def methods(kind: Any) -> list[tuple[str, Any]]:
    found = list(kind._methodInfo.items())
    # A machine has methods whose names anything may have.
    return [(name, info) for name, info in found if kind is not vim.VirtualMachine or name == "Reconfigure"]


def called() -> set[str]:
    """Return the methods that work on disks, files, machines and policies, and that the adapter calls."""
    sources = {path.name: path.read_text() for path in SOURCES.glob("*.py") if path.name not in OF_AN_ADMINISTRATOR}
    policies = wire_names(POLICIES, sources["policies.py"] + sources["compliance.py"])
    return wire_names(KINDS, "\n".join(sources.values())) | policies


def test_the_search_finds_what_is_called() -> None:
    assert {"MakeDirectory", "PbmQueryProfile", "PbmFetchComplianceResult"} <= called()


@pytest.mark.parametrize("method", sorted(called() - SEEING))
def test_a_call_that_needs_a_privilege_has_its_line(method: str) -> None:
    assert [need.privilege for need in NEEDS if re.search(rf"\b{method}\b", need.call)]
