"""The settings files that the sandbox writes for its processes; what is not said here is the product's default."""

from __future__ import annotations

from vmdkvol.cli.layout import PAGE_HOST, SERVICE, Identity, Layout, SandboxHost
from vmdkvol.settings import dump_toml

# What is demonstrated is also how a volume comes back.
_TRASH_S = 7 * 86400.0
# What is copied, or written in full, in a demo is real, and takes some minutes, so that one can look on.
COPY_MIB_S = 2.0
# Work of minutes is not waited for: what is cut off is undone, or goes on, at the next start.
_DRAIN_S = 1.0
_HEAD = "# Written by `vmdkvol sandbox up`, and written again by the next one.\n"


def service_config(layout: Layout, identity: Identity) -> str:
    """Return the service's settings: a directory per datastore, a socket per host (corrections 14), a trash if there is one.

    And what the user of the sandbox wants of the service.
    """
    given = layout.service_settings()
    web = {**given.get("web", {}), **_page(layout, identity), "socket": str(layout.web_address.path)}
    return _HEAD + dump_toml(
        {
            **({"copy_mib_s": COPY_MIB_S, "drain_s": _DRAIN_S} if identity.demo else {}),
            **given,
            "state_dir": str(layout.state(SERVICE)),
            "admin_socket": str(layout.admin_address.path),
            "web": web,
            "default_datastore": identity.datastores[0],
            "trash_retention_s": _TRASH_S if identity.trash else 0.0,
            "datastores": [{"name": name, "path": str(layout.datastore(name))} for name in identity.datastores],
            "hosts": [
                {"name": host.name, "id": host.vm, "socket": str(layout.service_address(host.name).path)}
                for host in identity.hosts
            ],
        }
    )


def _page(layout: Layout, identity: Identity) -> dict[str, str]:
    if identity.page_port is None:
        return {}
    return {"listen": f"{PAGE_HOST}:{identity.page_port}", "certificate_file": str(layout.certificate)}


def agent_config(layout: Layout, host: SandboxHost) -> str:
    """Return the settings of the agent of ``host``: who it is, and what the user of the sandbox wants of every agent."""
    return _HEAD + dump_toml(
        {
            **layout.agent_settings(),
            "driver": host.name,
            "socket": str(host.plugin_socket),
            "service": str(layout.service_address(host.name)),
            "run_dir": str(host.run_directory),
            "state_dir": str(layout.state(host.name)),
        }
    )
