"""Where the sandbox keeps its things, and who its simulated hosts are: the same ones each time it is brought up."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from vmdkvol import durable
from vmdkvol.addresses import UnixAddress, unix_address
from vmdkvol.errors import BadRequest, Busy, InvalidName, MetadataDamaged
from vmdkvol.names import datastore_name

DEFAULT_DIRECTORY = Path("/var/lib/vmdkvol-sandbox")
DEFAULT_DRIVER = "vsphere"
DEFAULT_DATASTORES = ("ds1", "ds2")
PLUGIN_DIRECTORY = Path("/run/docker/plugins")
RUN_DIRECTORY = Path("/run/vmdkvol")
# The page of a sandbox is for who sits at this machine, or has a tunnel to it.
PAGE_HOST = "127.0.0.1"
_DEMO_SUFFIXES = ("shop", "reports")
# A driver's name becomes the name of a socket, and Docker takes no other characters in one.
_DRIVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


@dataclass(frozen=True, slots=True)
class SandboxHost:
    """A simulated Docker host: ``name`` is its driver's, ``vm`` the identity that the service knows it by."""

    name: str
    vm: str

    @property
    def plugin_socket(self) -> Path:
        return PLUGIN_DIRECTORY / f"{self.name}.sock"

    @property
    def run_directory(self) -> Path:
        return RUN_DIRECTORY / self.name


@dataclass(frozen=True, slots=True)
class Identity:
    """What must survive ``down`` and ``up``: volumes are attached to hosts by these ids, and lie on these datastores.

    ``page_port`` is where the web page is, None: nowhere. With ``trash`` a removed volume is kept for a week. A
    ``demo`` has machines without an engine, and work so slow that one can look on.
    """

    hosts: tuple[SandboxHost, ...]
    datastores: tuple[str, ...]
    page_port: int | None = None
    trash: bool = False
    demo: bool = False

    @property
    def engines(self) -> tuple[SandboxHost, ...]:
        """The hosts that have an agent, and a driver for an engine."""
        return tuple(host for host in self.hosts if not (self.demo and host.name in self.demo_hosts))

    @property
    def demo_hosts(self) -> tuple[str, ...]:
        """What the machines of a demo are called, after the first host."""
        return tuple(f"{self.hosts[0].name[:30]}-{suffix}" for suffix in _DEMO_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Layout:
    """The sandbox's directory. Everything that it keeps lies under ``root``; sockets of drivers and mounts under /run."""

    root: Path

    @classmethod
    def at(cls, directory: Path) -> Layout:
        root = directory.resolve()
        if root == Path("/"):
            raise BadRequest("the sandbox cannot have / as its directory", remedy="give it one of its own with --dir")
        return cls(root)

    @property
    def identity_file(self) -> Path:
        return self.root / "sandbox.json"

    @property
    def datastores(self) -> Path:
        return self.root / "datastores"

    @property
    def own(self) -> tuple[Path, ...]:
        """The directories that the sandbox makes, and that a purge removes with all that is in them."""
        return (self.datastores, *(self.root / name for name in ("state", "etc", "pids", "logs", "run", "page")))

    def datastore(self, name: str) -> Path:
        return self.datastores / name

    def state(self, process: str) -> Path:
        return self.root / "state" / process

    def config(self, process: str) -> Path:
        return self.root / "etc" / f"{process}.toml"

    def pid_file(self, process: str) -> Path:
        return self.root / "pids" / f"{process}.json"

    def log(self, process: str) -> Path:
        return self.root / "logs" / f"{process}.log"

    def service_address(self, host: str) -> UnixAddress:
        """Return the socket that is the identity of ``host`` (corrections 14); BadRequest if the path is too long for one."""
        return unix_address(f"{self.root}/run/{host}.sock")

    @property
    def admin_address(self) -> UnixAddress:
        """Return the service's admin socket, in a directory where no host's lies; BadRequest as ``service_address``."""
        return unix_address(f"{self.root}/run/api/admin.sock")

    @property
    def web_address(self) -> UnixAddress:
        """Return the socket at which the sandbox's API answers; BadRequest as ``service_address``."""
        return unix_address(f"{self.root}/run/api/web.sock")

    @property
    def certificate(self) -> Path:
        """What the page proves itself with."""
        return self.root / "page" / "certificate.pem"

    @property
    def token(self) -> Path:
        """An administrator's token for the page; its owner's alone."""
        return self.root / "page" / "token"

    def agent_settings(self) -> dict[str, Any]:
        """Return what the user's ``agent.toml`` here sets for every agent, if there is one; BadRequest if it is no TOML.

        Its keys are the agent's settings; the agent itself refuses one that it does not know.
        """
        return self._of_the_user("agent.toml")

    def service_settings(self) -> dict[str, Any]:
        """Return what the user's ``service.toml`` here sets for the service; as ``agent_settings``."""
        return self._of_the_user("service.toml")

    def _of_the_user(self, name: str) -> dict[str, Any]:
        file = self.root / name
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BadRequest(f"{file} cannot be read: {error}", remedy="put it right, or remove it") from error

    def identity(self) -> Identity | None:
        """Return who the hosts are, or None if nothing was ever brought up here; MetadataDamaged if it cannot be read."""
        try:
            data = json.loads(self.identity_file.read_text(encoding="utf-8"))
            hosts = tuple(SandboxHost(str(host["name"]), str(UUID(host["vm"]))) for host in data["hosts"])
            port = None if data.get("page_port") is None else int(data["page_port"])
            return Identity(
                hosts, tuple(str(name) for name in data["datastores"]), port, bool(data.get("trash")), bool(data.get("demo"))
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetadataDamaged(
                f"{self.identity_file} cannot be read: {error}",
                remedy="put it right by hand: the hosts' names and ids stand in etc/service.toml beside it",
            ) from error

    def keep_identity(self, identity: Identity) -> None:
        """Store who the hosts are, whole or not at all."""
        self.root.mkdir(parents=True, exist_ok=True)
        durable.write(self.identity_file, json.dumps(asdict(identity), indent=2).encode())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the sandbox against a second ``up`` or ``down``; raise Busy if one is under way."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Inherited by no process that is started meanwhile: Python opens with O_CLOEXEC.
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"another `vmdkvol sandbox` is at work on {self.root}", remedy="wait for it") from None
            yield


SERVICE = "service"
# The REST API, with the same settings in a file of its own: a process is known by its file.
WEB = "web"


def extended(known: Identity | None, hosts: Sequence[str], datastores: Sequence[str]) -> Identity:
    """Return ``known`` with these hosts and datastores added; the defaults if there is none at all yet."""
    kept = known or Identity((), ())
    names = [host.name for host in kept.hosts]
    added = [_driver(name) for name in dict.fromkeys(hosts) if name not in names]
    if not names and not added:
        added = [DEFAULT_DRIVER]
    stores = list(dict.fromkeys([*kept.datastores, *(datastore_name(name) for name in datastores)]))
    all_hosts = kept.hosts + tuple(SandboxHost(name, str(uuid4())) for name in added)
    return replace(kept, hosts=all_hosts, datastores=tuple(stores or DEFAULT_DATASTORES))


def _driver(name: str) -> str:
    if not _DRIVER.fullmatch(name) or name in (SERVICE, WEB):
        raise InvalidName(
            f"{name[:60]!r} is not a driver name", remedy="use up to 41 letters, digits, '.', '_' and '-', such as vsphere-b"
        )
    return name
