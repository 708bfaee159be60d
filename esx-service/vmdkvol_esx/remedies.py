"""What an administrator does about a refusal whose remedy, for a guest, is to ask an administrator. Pure."""

from __future__ import annotations

from typing import Any

from vmdkvol.errors import NotPermitted, QuotaExceeded, VolumeError
from vmdkvol.orders import OrderFor
from vmdkvol_esx.told_commands import command


def for_administrators(order: OrderFor[Any], error: VolumeError) -> VolumeError:
    """Return the error with the administrator's own remedy; itself where it has that already."""
    remedy = ""
    if isinstance(error, QuotaExceeded) and "limits" in error.fields:
        remedy = _of_quota(order, error)
    elif isinstance(error, NotPermitted) and error.fields.get("cordoned"):
        line = command("datastore", "uncordon", of=str(error.fields["datastore"]))
        remedy = f"use another datastore, or let it take volumes again: `{line}`"
    return type(error)(error.text, remedy=remedy, **error.fields) if remedy else error


def _of_quota(order: OrderFor[Any], error: VolumeError) -> str:
    group, row, limit = (str(error.fields[key]) for key in ("vmgroup", "right", "limits"))
    line = command("vmgroup", "access", "set", "--name", group, "--datastore", row, f"--{limit}", "SIZE")
    trash = "empty the trash, or " if limit == "volume-totalsize" and error.fields.get("trashed") else ""
    beyond = ", or give the order --over-quota" if hasattr(order, "over_quota") else ""
    return f"{trash}raise the limit: `{line}`{beyond}"
