"""A vmgroup's default options, for what a user left out. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vmdkvol.errors import InvalidOption, VolumeError, quoted
from vmdkvol.options import ALIASES, OPTIONS, CreateOptions, check_consistent
from vmdkvol_esx.records import Vmgroup

# A datastore is the group's own default, and a volume is made from another one only if somebody says so.
_NEVER = frozenset({"datastore", "clone_from"})
# A clone has its source's.
_OF_SOURCE = frozenset({"size_bytes", "fstype", "mkfs_options", "policy", "layout"})
# What was thought for one file system is no default of another one.
_OF_FSTYPE = frozenset({"mkfs_options", "mount_options"})


def completed(options: CreateOptions, vmgroup: Vmgroup) -> CreateOptions:
    """Return the options with the group's defaults where the user gave none; ``given`` is still what the user gave.

    Raises InvalidOption or InvalidSize if the two do not go together, InvalidOption if the defaults cannot be read.
    """
    if not vmgroup.defaults:
        return options
    defaults = _read(vmgroup)
    left_out = defaults.keys() - options.given - _NEVER
    if options.clone_from is not None:
        left_out -= _OF_SOURCE | _OF_FSTYPE
    elif "fstype" in options.given and options.fstype != defaults.get("fstype", CreateOptions().fstype):
        left_out -= _OF_FSTYPE
    try:
        return check_consistent(replace(options, **{field: defaults[field] for field in left_out}))
    except VolumeError as error:
        shown = ", ".join(f"{key}={value}" for key, value in vmgroup.defaults)
        raise type(error)(error.text, remedy=f"{error.remedy}; vmgroup {vmgroup.name} has the defaults {shown}") from error


def _read(vmgroup: Vmgroup) -> dict[str, Any]:
    """Return the defaults by the fields of the options. Each by itself: what does not go together, the user's options mend."""
    values: dict[str, Any] = {}
    try:
        for key, text in vmgroup.defaults:
            option = OPTIONS.get(ALIASES.get(key, key))
            if option is None:
                raise InvalidOption(f"unknown option {quoted(key)}")
            values[option.field] = option.read(key, text)
    except VolumeError as error:
        raise InvalidOption(
            f"the default options of vmgroup {vmgroup.name} cannot be used: {error.text}",
            remedy="ask an administrator to change them",
            defaults_of=vmgroup.name,
        ) from error
    return values
