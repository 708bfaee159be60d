"""What an administrator may set for the REST API."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vmdkvol.errors import BadRequest
from vmdkvol_esx.setting_rules import check_path, check_socket

MOST_WEB_THREADS = 256
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebSetting:
    """Where `vmdkvol-esxd web` serves the API. Without `listen` only root on this machine reaches it."""

    socket: str = field(default="/run/vmdkvol/web.sock", metadata={"help": "Its Unix socket, mode 0600: for root, as admin."})
    listen: str | None = field(
        default=None,
        metadata={"help": "HOST:PORT, such as 0.0.0.0:1020: TLS for tokens and certificates. Not set: nowhere."},
    )
    certificate_file: str | None = field(default=None, metadata={"help": "With `listen`: PEM, the API's own certificate."})
    key_file: str | None = field(
        default=None, metadata={"help": "Its key, PEM, chmod 600; not set: it is in the same file.", "private": True}
    )
    admin_ca_file: str | None = field(
        default=None, metadata={"help": "PEM: whose client certificates count (CN: the name, OU: the role). Not set: none."}
    )
    token_file: str | None = field(
        default=None, metadata={"help": "What `vmdkvol-esxd web-token` writes; not set: `tokens.json` in `state_dir`."}
    )
    threads: int = field(default=32, metadata={"help": "How many requests each door works on at a time."})

    def __post_init__(self) -> None:
        check_socket("socket", self.socket)
        if self.listen is not None and not _PLACE.fullmatch(self.listen):
            raise BadRequest(f"listen {self.listen[:60]!r} is not HOST:PORT", remedy="write 0.0.0.0:1020", setting="listen")
        if self.listen is not None and self.certificate_file is None:
            raise BadRequest(
                "listen needs certificate_file: there is no API without TLS",
                remedy="add certificate_file and key_file, or take listen out: root's socket needs neither",
                setting="listen",
            )
        for name in ("certificate_file", "key_file", "admin_ca_file", "token_file"):
            if (path := getattr(self, name)) is not None:
                check_path(name, path)
        if not 1 <= self.threads <= MOST_WEB_THREADS:
            raise BadRequest(
                f"threads must be from 1 to {MOST_WEB_THREADS}", remedy="write a number between these", setting="threads"
            )
