"""What an administrator may set for the service. Every value is checked when the settings are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vmdkvol.addresses import UnixAddress, parse_address
from vmdkvol.errors import BadRequest, InvalidName
from vmdkvol.names import DatastoreName, datastore_name
from vmdkvol.volume import VmId
from vmdkvol_esx.setting_rules import check_path, check_socket, check_unique, is_path
from vmdkvol_esx.vsphere.endpoint import Endpoint
from vmdkvol_esx.web_setting import WebSetting

_LEVELS = ("debug", "info", "warning", "error")
MAX_HOST_NAME = 80
# What systemd takes for a credential's name and a plain file name has.
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")


@dataclass(frozen=True, slots=True)
class DatastoreSetting:
    """A directory that serves as a datastore."""

    name: DatastoreName = field(metadata={"help": "The datastore's name, as in NAME@DATASTORE."})
    path: str = field(metadata={"help": "Its directory, which must exist."})

    def __post_init__(self) -> None:
        try:
            datastore_name(self.name)
        except InvalidName as error:
            raise BadRequest(error.text, remedy=error.remedy, setting="name") from error
        check_path("path", self.path)


@dataclass(frozen=True, slots=True)
class HostSetting:
    """A Docker host. Its socket is its identity: who may open it is this host (corrections 14). Without: its certificate."""

    name: str = field(metadata={"help": "The host's name, shown where a volume is in use."})
    id: VmId = field(
        metadata={"help": "The virtual machine's instance UUID; without vSphere any UUID. Never given to another host."}
    )
    socket: str | None = field(
        default=None,
        metadata={"help": "Where this host's agent, and no other, reaches the service. Not set: at `listen`, once enrolled."},
    )

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_HOST_NAME or not self.name.isprintable():
            raise BadRequest(
                f"a host's name has 1 to {MAX_HOST_NAME} printable characters",
                remedy="use the name of the machine, as `hostname` says it",
                setting="name",
            )
        if not self.id.int:
            raise BadRequest(
                f"host {self.name}: the id is all zeros",
                remedy="write the machine's own: on vSphere its instance UUID, elsewhere any UUID (`uuidgen`)",
                setting="id",
            )
        if self.socket is not None:
            check_socket("socket", self.socket)


@dataclass(frozen=True, slots=True)
class VsphereSetting:
    """The vCenter or ESXi host whose disks the service makes. What the files hold is read when it is used (``reaching``)."""

    host: str = field(metadata={"help": "Name or address of the vCenter, or of the one ESXi host."})
    user: str = field(metadata={"help": "The account, such as vmdkvol@vsphere.local; its role is in docs/how-to/role.md."})
    datastores: tuple[DatastoreName, ...] = field(metadata={"help": "The names of the datastores that hold volumes."})
    port: int = field(default=443, metadata={"help": "The port of the vSphere API."})
    password_file: str | None = field(
        default=None, metadata={"help": "A file, chmod 600, that holds the password alone.", "private": True}
    )
    credential: str | None = field(
        default=None, metadata={"help": "Instead of it: the name in the unit's LoadCredential=.", "private": True}
    )
    ca_file: str | None = field(
        default=None, metadata={"help": "PEM: the only authorities whose certificates count. Not set: the machine's."}
    )
    pin_file: str | None = field(
        default=None, metadata={"help": "PEM: the certificate that the server must present, and no other."}
    )
    guestinfo: bool = field(
        default=False,
        metadata={
            "help": "Let `vmdkvol vm enroll --guestinfo` write the token into the virtual machine; needs one more right."
        },
    )

    def __post_init__(self) -> None:
        # Raises with the setting's name.
        Endpoint(self.host, self.user, self.port)
        if not self.datastores:
            raise BadRequest("there is no datastore", remedy="name at least one", setting="datastores")
        for name in self.datastores:
            try:
                datastore_name(name)
            except InvalidName as error:
                raise BadRequest(error.text, remedy=error.remedy, setting="datastores") from error
        check_unique("datastores", "name", self.datastores)
        self._check_password()
        for setting in ("ca_file", "pin_file"):
            if (path := getattr(self, setting)) is not None:
                check_path(setting, path)

    def _check_password(self) -> None:
        """Refuse none, two and a wrong one, without its text: who is in doubt writes the password itself there."""
        remedy = "name a file that holds the password alone: password_file, or credential for the unit's LoadCredential="
        if (self.password_file is None) == (self.credential is None):
            how = "none" if self.credential is None else "both"
            where = "user" if self.credential is None else "credential"
            raise BadRequest(f"password_file or credential must be set, and {how} is", remedy=remedy, setting=where)
        if self.password_file is not None and not is_path(self.password_file):
            raise BadRequest("password_file is not an absolute path without '..'", remedy=remedy, setting="password_file")
        if self.credential is not None and not _CREDENTIAL.fullmatch(self.credential):
            raise BadRequest("credential is no name of a credential", remedy=remedy, setting="credential")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The service of one site. BadRequest, with ``setting``, for a value that cannot work."""

    state_dir: str = field(
        metadata={
            "help": "The database and the site's authority; on another file system than the datastores if one can be had."
        }
    )
    datastores: tuple[DatastoreSetting, ...] = field(
        default=(), metadata={"help": "Directories that serve as datastores; needed without `vsphere`, wrong with it."}
    )
    hosts: tuple[HostSetting, ...] = field(
        kw_only=True,
        default=(),
        metadata={"help": "The Docker hosts that have a socket of their own on this machine; with `listen` none is needed."},
    )
    listen: tuple[str, ...] = field(
        kw_only=True,
        default=(),
        metadata={"help": "Where enrolled Docker hosts reach the service: tcp://HOST:PORT, vsock://any:PORT; port 1019."},
    )
    admin_socket: str = field(
        kw_only=True,
        default="/run/vmdkvol/admin.sock",
        metadata={"help": "Where the REST API (`vmdkvol-esxd web`), and root alone, reaches the service."},
    )
    vsphere: VsphereSetting | None = field(default=None, metadata={"help": "The vCenter or ESXi host that has the datastores."})
    web: WebSetting | None = field(
        kw_only=True, default=None, metadata={"help": "The REST API, a process of its own: `vmdkvol-esxd web`."}
    )
    default_datastore: DatastoreName | None = field(
        default=None, metadata={"help": "Where a volume lies if nothing else is said; needed with several datastores."}
    )
    trash_retention_s: float = field(
        default=259200.0, metadata={"help": "How long a removed volume can be taken back, three days; 0 deletes it at once."}
    )
    housekeeping_s: float = field(default=60.0, metadata={"help": "Records and datastores are compared this often."})
    drain_s: float = field(default=30.0, metadata={"help": "How long a stop waits for work that is under way."})
    copy_mib_s: float = field(
        default=0.0,
        metadata={
            "help": "MiB/s that each clone, or eagerzeroedthick disk in the making, may write; 0: no limit. Not on vSphere."
        },
    )
    audit_retention_s: float = field(
        default=365 * 86400.0, metadata={"help": "How long a record of the audit is kept, but for the newest thousand."}
    )
    audit_records: int = field(default=200_000, metadata={"help": "How many records the audit keeps; the oldest go first."})
    metrics_volumes: bool = field(
        default=False, metadata={"help": "Whether the figures for Prometheus have each volume's size: two series a volume."}
    )
    audit_attachments: bool = field(
        default=True, metadata={"help": "Whether the audit has each attach and detach too; the service's log has them always."}
    )
    log_level: str = field(default="info", metadata={"help": "What is logged: debug, info, warning or error, and above."})

    def __post_init__(self) -> None:
        check_path("state_dir", self.state_dir)
        if not self.datastores and self.vsphere is None:
            raise BadRequest("there is no datastore", remedy="add a table [vsphere] or [[datastores]]", setting="datastores")
        if self.datastores and self.vsphere is not None:
            raise BadRequest(
                "directories as datastores and [vsphere] exclude each other",
                remedy="take the tables [[datastores]] or [vsphere] out; vSphere's datastores are vsphere.datastores",
                setting="datastores",
            )
        if self.copy_mib_s and self.vsphere is not None:
            raise BadRequest(
                "copy_mib_s has no effect on vSphere, whose hosts do the copying", remedy="take it out", setting="copy_mib_s"
            )
        check_unique("datastores", "name", [store.name for store in self.datastores])
        check_unique("datastores", "path", [store.path.rstrip("/") for store in self.datastores])
        check_unique("hosts", "name", [host.name for host in self.hosts])
        check_unique("hosts", "id", [str(host.id) for host in self.hosts])
        check_unique("hosts", "socket", [*self.sockets, self.admin_socket, (self.web or WebSetting()).socket])
        self._check_listen()
        self._check_default()
        for name, low, high in (
            ("trash_retention_s", 0.0, 10 * 365 * 86400.0),
            ("housekeeping_s", 0.1, 86400.0),
            ("drain_s", 0.0, 600.0),
            ("copy_mib_s", 0.0, 1e6),
            ("audit_retention_s", 86400.0, 10 * 365 * 86400.0),
            ("audit_records", 1000, 5_000_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise BadRequest(
                    f"{name} must be from {low:g} to {high:g}", remedy="write a number between these", setting=name
                )
        if self.log_level not in _LEVELS:
            raise BadRequest(
                f"log_level must be one of: {', '.join(_LEVELS)}", remedy="write one of these words", setting="log_level"
            )

    def _check_listen(self) -> None:
        check_socket("admin_socket", self.admin_socket)
        check_unique("listen", "address", self.listen)
        for text in self.listen:
            try:
                address = parse_address(text)
            except BadRequest as error:
                raise BadRequest(error.text, remedy=error.remedy, setting="listen") from error
            if isinstance(address, UnixAddress):
                raise BadRequest(
                    f"listen {text[:100]!r}: a Unix socket proves which host calls only if it is one host's",
                    remedy="add a table [[hosts]] with its socket",
                    setting="listen",
                )

    def _check_default(self) -> None:
        known = self.datastore_names
        if self.default_datastore is None and len(known) > 1:
            raise BadRequest(
                "default_datastore is needed with several datastores",
                remedy=f"write default_datastore = with one of: {', '.join(known)}",
                setting="vsphere" if self.vsphere else "datastores",
            )
        if self.default_datastore is not None and self.default_datastore not in known:
            raise BadRequest(
                f"default_datastore {self.default_datastore!r} is none of: {', '.join(known)}",
                remedy="write one of these",
                setting="default_datastore",
            )

    @property
    def datastore_names(self) -> tuple[DatastoreName, ...]:
        """The names of all datastores, in the order of the settings."""
        return tuple(store.name for store in self.datastores) if self.vsphere is None else self.vsphere.datastores

    @property
    def sockets(self) -> tuple[str, ...]:
        """The hosts' own sockets."""
        return tuple(host.socket for host in self.hosts if host.socket is not None)

    @property
    def token_file(self) -> str:
        """The file of the API's tokens."""
        named = None if self.web is None else self.web.token_file
        return named or f"{self.state_dir.rstrip('/')}/tokens.json"

    @property
    def authority(self) -> str:
        """The directory of the certificate authority."""
        return f"{self.state_dir.rstrip('/')}/ca"

    @property
    def default(self) -> DatastoreName:
        """The default datastore, or the only one."""
        return self.datastore_names[0] if self.default_datastore is None else self.default_datastore

    @property
    def database(self) -> str:
        """The path of the database's file."""
        return f"{self.state_dir.rstrip('/')}/vmdkvol.db"
