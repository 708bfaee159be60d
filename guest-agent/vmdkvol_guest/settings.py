"""What an administrator may set for the guest agent. Every value is checked when the settings are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from vmdkvol.addresses import ANY_CONTEXT, MAX_PATH, TcpAddress, UnixAddress, VsockAddress, parse_address
from vmdkvol.errors import BadRequest

# Docker names a plugin by its socket's file name.
_DRIVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LEVELS = ("debug", "info", "warning", "error")
# Docker gives up Create and Mount after 120 s and the other calls after 60 s, whatever anybody sets (docker-facts 2.4).
_DOCKER_SLOW_S = 120.0
_DOCKER_SHORT_S = 60.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The agent of one Docker host. BadRequest, with ``setting``, for a value that cannot work."""

    driver: str = field(default="vsphere", metadata={"help": "The volume driver's name: `docker volume create -d NAME`."})
    socket: str = field(
        default="/run/docker/plugins/vsphere.sock",
        metadata={"help": "Where Docker finds the agent; the file's name must be the driver's."},
    )
    service: str = field(
        default="unix:///run/vmdkvol/service.sock",
        metadata={"help": "Where the service listens: tcp://HOST:1019, vsock://2:1019, or unix:///PATH on one machine."},
    )
    run_dir: str = field(
        default="/run/vmdkvol/vsphere", metadata={"help": "Mounts and the holders of this boot; empty after a reboot."}
    )
    state_dir: str = field(
        default="/var/lib/vmdkvol/vsphere",
        metadata={"help": "The catalogue of names, and this host's key and certificate; it survives a reboot."},
    )
    linger_s: float = field(
        default=10.0, metadata={"help": "How long an unmounted disk stays attached, in case it is mounted again."}
    )
    slow_limit_s: float = field(default=110.0, metadata={"help": "Create and Mount are answered within this; below 120."})
    short_limit_s: float = field(default=50.0, metadata={"help": "Remove and Unmount are answered within this; below 60."})
    get_limit_s: float = field(default=2.0, metadata={"help": "Get and List are answered within this."})
    reconcile_s: float = field(default=30.0, metadata={"help": "Records, kernel and service are compared this often."})
    threads: int = field(default=256, metadata={"help": "Threads that serve Docker's calls."})
    slow_threads: int = field(
        default=224, metadata={"help": "How many of the threads may wait for slow work; the rest answers Get and List."}
    )
    metrics: str | None = field(
        default=None,
        metadata={"help": "Where figures and health are told: unix:///PATH or tcp://127.0.0.1:PORT. Not set: nowhere."},
    )
    log_level: str = field(default="info", metadata={"help": "What is logged: debug, info, warning or error, and above."})

    def __post_init__(self) -> None:
        if not _DRIVER.fullmatch(self.driver):
            raise BadRequest(
                f"driver {self.driver[:60]!r} is not a plugin's name",
                remedy="use letters, digits, and . _ - between them, such as vsphere",
                setting="driver",
            )
        _check_path("run_dir", self.run_dir)
        _check_path("state_dir", self.state_dir)
        if self.run_dir == self.state_dir:
            raise BadRequest(
                "run_dir and state_dir are the same directory",
                remedy="give each a directory of its own: one of them ends with the boot",
                setting="state_dir",
            )
        _check_socket("socket", self.socket)
        _check_service(self.service)
        self._check_metrics()
        self._check_numbers()
        if self.log_level not in _LEVELS:
            raise BadRequest(
                f"log_level must be one of: {', '.join(_LEVELS)}", remedy="write one of these words", setting="log_level"
            )

    @property
    def remote(self) -> bool:
        """Tell whether the service is on another machine: certificates prove who is who."""
        return not isinstance(parse_address(self.service), UnixAddress)

    @property
    def identity_file(self) -> Path:
        """Where this machine's key and certificate lie, in one file."""
        return Path(self.state_dir) / "identity" / "agent.pem"

    @property
    def authority_file(self) -> Path:
        """Where the certificate of the site's authority lies."""
        return Path(self.state_dir) / "identity" / "ca.pem"

    def _check_metrics(self) -> None:
        try:
            address = None if self.metrics is None else parse_address(self.metrics)
        except BadRequest as error:
            raise BadRequest(f"metrics: {error.text}", remedy=error.remedy, setting="metrics") from error
        if isinstance(address, VsockAddress):
            raise BadRequest(
                "metrics are told at unix:// or tcp://",
                remedy='write metrics = "unix:///run/vmdkvol/metrics.sock", or tcp://ADDRESS:PORT',
                setting="metrics",
            )
        if isinstance(address, UnixAddress) and str(address.path) == self.socket:
            raise BadRequest("metrics and socket are the same path", remedy="give each a path of its own", setting="metrics")

    def _check_numbers(self) -> None:
        limits = {
            "linger_s": (0.0, 3600.0),
            "slow_limit_s": (1.0, _DOCKER_SLOW_S - 1),
            "short_limit_s": (1.0, _DOCKER_SHORT_S - 1),
            "get_limit_s": (0.1, _DOCKER_SHORT_S - 1),
            "reconcile_s": (0.1, 3600.0),
            "threads": (2, 4096),
            "slow_threads": (1, self.threads - 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise BadRequest(f"{name} must be from {low} to {high}", remedy="write a number between these", setting=name)


def _check_service(text: str) -> None:
    try:
        address = parse_address(text)
    except BadRequest as error:
        raise BadRequest(f"service: {error.text}", remedy=error.remedy, setting="service") from error
    match address:
        case UnixAddress(path):
            _check_path("service", str(path))
        case VsockAddress(cid) if cid == ANY_CONTEXT:
            remedy = "write vsock://2:1019: the host that this virtual machine runs on"
            raise BadRequest(f"service {text!r} is where a service listens, not whom to call", remedy=remedy, setting="service")
        case TcpAddress(port=0) | VsockAddress(port=0):
            raise BadRequest(f"service {text[:100]!r} has no port to call", remedy="write :1019", setting="service")


def _check_path(setting: str, path: str) -> None:
    parts = path.split("/")
    if not path.startswith("/") or path == "/" or ".." in parts or "\0" in path:
        raise BadRequest(
            f"{setting} {path[:100]!r} is not an absolute path without '..'",
            remedy="write it from / on, such as /run/vmdkvol",
            setting=setting,
        )


def _check_socket(setting: str, path: str) -> None:
    _check_path(setting, path)
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH:
        raise BadRequest(
            f"{setting}: the socket's path is longer than {MAX_PATH} bytes", remedy="use a shorter path", setting=setting
        )
