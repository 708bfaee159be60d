"""The token that the service wrote into this virtual machine, read with VMware's own program (package open-vm-tools)."""

from __future__ import annotations

from vmdkvol.errors import MissingTool, TruthUnknown
from vmdkvol.tokens import GUESTINFO_KEY
from vmdkvol_guest.linux.commands import Commands

_PROGRAM = "vmware-rpctool"
_SECONDS = 10.0


def read_token(commands: Commands) -> str | None:
    """Return it; None if there is none, or nothing that could tell. It may be one that counts no more."""
    try:
        found = commands.run([_PROGRAM, f"info-get guestinfo.{GUESTINFO_KEY}"], seconds=_SECONDS)
    except (MissingTool, TruthUnknown):
        # No virtual machine of VMware's, say.
        return None
    # Without the key it says "No value found", and fails.
    return found.output.strip() or None if found.code == 0 else None


def forget_token(commands: Commands) -> None:
    """Take it away as far as that is allowed here: used up it harms nobody."""
    try:
        commands.run([_PROGRAM, f"info-set guestinfo.{GUESTINFO_KEY} "], seconds=_SECONDS)
    except (MissingTool, TruthUnknown):
        return
