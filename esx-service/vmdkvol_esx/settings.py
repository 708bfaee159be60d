"""What an administrator may set for the service. Every value is checked when the settings are made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from vmdkvol.errors import BadRequest, InvalidName
from vmdkvol.names import DatastoreName, datastore_name
from vmdkvol.volume import VmId

_LEVELS = ("debug", "info", "warning", "error")
# sun_path has 108 bytes with its NUL.
MAX_SOCKET = 107
MAX_HOST_NAME = 80


@dataclass(frozen=True, slots=True)
class DatastoreSetting:
    """A directory that serves as a datastore."""

    name: DatastoreName = field(metadata={"help": "The datastore's name, as in NAME@DATASTORE."})
    path: str = field(metadata={"help": "Its directory, which must exist."})

    def __post_init__(self) -> None:
        try:
            datastore_name(self.name)
        except InvalidName as error:
            raise BadRequest(error.text, setting="name") from error
        _check_path("path", self.path)


@dataclass(frozen=True, slots=True)
class HostSetting:
    """A simulated Docker host. Its socket is its identity: who may open it is this host (corrections 14)."""

    name: str = field(metadata={"help": "The host's name, shown where a volume is in use."})
    id: VmId = field(metadata={"help": "The UUID that stands for the virtual machine; never given to another host."})
    socket: str = field(metadata={"help": "Where this host's agent reaches the service; no other agent may use it."})

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_HOST_NAME or not self.name.isprintable():
            raise BadRequest(f"a host's name has 1 to {MAX_HOST_NAME} printable characters", setting="name")
        if not self.id.int:
            raise BadRequest(f"host {self.name}: the id is all zeros", setting="id")
        _check_path("socket", self.socket)
        if len(self.socket.encode("utf-8", "surrogateescape")) > MAX_SOCKET:
            raise BadRequest(f"host {self.name}: the socket's path is longer than {MAX_SOCKET} bytes", setting="socket")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The service of one site. BadRequest, with ``setting``, for a value that cannot work."""

    state_dir: str = field(
        metadata={"help": "The database's directory, on another file system than the datastores if one can be had."}
    )
    datastores: tuple[DatastoreSetting, ...] = field(metadata={"help": "At least one datastore."})
    hosts: tuple[HostSetting, ...] = field(metadata={"help": "The Docker hosts that may ask."})
    default_datastore: DatastoreName | None = field(
        default=None, metadata={"help": "Where a volume lies if nothing else is said; needed with several datastores."}
    )
    trash_retention_s: float = field(
        default=0.0, metadata={"help": "How long a removed volume can be taken back; 0 deletes it at once."}
    )
    housekeeping_s: float = field(default=60.0, metadata={"help": "Records and datastores are compared this often."})
    drain_s: float = field(default=30.0, metadata={"help": "How long a stop waits for work that is under way."})
    copy_mib_s: float = field(
        default=0.0,
        metadata={"help": "MiB that each clone, or eagerzeroedthick disk in the making, may write in a second; 0 is no limit."},
    )
    log_level: str = field(default="info", metadata={"help": "What is logged: debug, info, warning or error, and above."})

    def __post_init__(self) -> None:
        _check_path("state_dir", self.state_dir)
        if not self.datastores:
            raise BadRequest("there is no datastore", setting="datastores")
        _check_unique("datastores", "name", [store.name for store in self.datastores])
        _check_unique("datastores", "path", [store.path.rstrip("/") for store in self.datastores])
        _check_unique("hosts", "name", [host.name for host in self.hosts])
        _check_unique("hosts", "id", [str(host.id) for host in self.hosts])
        _check_unique("hosts", "socket", [host.socket for host in self.hosts])
        self._check_default()
        for name, low, high in (
            ("trash_retention_s", 0.0, 10 * 365 * 86400.0),
            ("housekeeping_s", 0.1, 86400.0),
            ("drain_s", 0.0, 600.0),
            ("copy_mib_s", 0.0, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise BadRequest(f"{name} must be from {low:g} to {high:g}", setting=name)
        if self.log_level not in _LEVELS:
            raise BadRequest(f"log_level must be one of: {', '.join(_LEVELS)}", setting="log_level")

    def _check_default(self) -> None:
        known = [store.name for store in self.datastores]
        if self.default_datastore is None and len(known) > 1:
            raise BadRequest("default_datastore is needed with several datastores", setting="datastores")
        if self.default_datastore is not None and self.default_datastore not in known:
            raise BadRequest(
                f"default_datastore {self.default_datastore!r} is none of: {', '.join(known)}", setting="default_datastore"
            )

    @property
    def default(self) -> DatastoreName:
        """The default datastore, or the only one."""
        return self.datastores[0].name if self.default_datastore is None else self.default_datastore

    @property
    def database(self) -> str:
        """The path of the database's file."""
        return f"{self.state_dir.rstrip('/')}/vmdkvol.db"


def _check_path(setting: str, path: str) -> None:
    if not path.startswith("/") or path == "/" or ".." in path.split("/") or "\0" in path:
        raise BadRequest(f"{setting} {path[:100]!r} is not an absolute path without '..'", setting=setting)


def _check_unique(setting: str, what: str, values: Collection[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise BadRequest(f"{setting}: two of them have the {what} {value!r}", setting=setting)
        seen.add(value)
