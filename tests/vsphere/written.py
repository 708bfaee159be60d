"""The settings of a service on a simulator, as files: what an administrator writes for a vCenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.vsphere.outside import View
from vmdkvol.settings import dump_toml


def write_settings(
    view: View, folder: Path, state: Path, datastores: Sequence[str], hosts: Sequence[Mapping[str, str]]
) -> Path:
    """Write service.toml with password and CA file into ``folder``; the first datastore is the default. Return its path."""
    vsphere = {
        "host": "localhost",
        "port": view.port,
        "user": view.account,
        "password_file": private(folder / "password", view.password),
        "ca_file": private(folder / "ca.pem", view.ca),
        "datastores": list(datastores),
    }
    settings = {
        "state_dir": str(state),
        "admin_socket": str(folder / "admin.sock"),
        "default_datastore": datastores[0],
        "trash_retention_s": 0.0,
        "vsphere": vsphere,
        "hosts": list(hosts),
    }
    return Path(private(folder / "service.toml", dump_toml(settings)))


def private(file: Path, text: str) -> str:
    """Write a file that nobody else may read or change; return its path."""
    file.touch(mode=0o600)
    file.write_text(text)
    return str(file)
