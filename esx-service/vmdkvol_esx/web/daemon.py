"""`vmdkvol-esxd web`, put together: the doors, who comes in, the line to the core. Composition."""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from vmdkvol import __version__, logs
from vmdkvol.addresses import UnixAddress
from vmdkvol.clock import SystemClock
from vmdkvol.line import Line
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.web import tls_files
from vmdkvol_esx.web.beside import beside
from vmdkvol_esx.web.front import Door, create_app
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.login import Login
from vmdkvol_esx.web.pages.entering import Gate
from vmdkvol_esx.web.pages.sessions import Sessions, Tries
from vmdkvol_esx.web.pages.site import create_pages, warm
from vmdkvol_esx.web.places import Places
from vmdkvol_esx.web.plain import READING
from vmdkvol_esx.web.refusals import TLS, Refusals
from vmdkvol_esx.web.routes import served
from vmdkvol_esx.web.serving import Served, serve_doors
from vmdkvol_esx.web.token_file import Tokens
from vmdkvol_esx.web.watching import Asking
from vmdkvol_esx.web_setting import WebSetting

# A core that is restarted is back by then; a person waits.
_PATIENCE_S = 5.0
_FLUSH_S = 1.0


def serve(settings: ServiceSettings) -> NoReturn:
    """Serve the API until SIGTERM; what is under way is answered first. Ends the process."""
    output = logs.configure(settings.log_level)
    serve_doors(settings.web or WebSetting(), partial(_made, settings), partial(_leave, output))


def _leave(output: logs.Output, code: int) -> NoReturn:
    output.flush(_FLUSH_S)
    os._exit(code)


def _made(settings: ServiceSettings) -> Served:
    """Return what a worker serves."""
    clock, log = SystemClock(), logs.get("web")
    line = Line(
        UnixAddress(Path(settings.admin_socket)),
        clock,
        agent=f"vmdkvol-web {__version__}",
        boot_id=secrets.token_hex(16),
        patience_s=_PATIENCE_S,
        reading=READING,
    ).start()
    refusals = Refusals(line.ask, clock, log, uuid4)
    login = Login(Tokens(Path(settings.token_file), clock, log), log, refusals)
    asking = Asking(line.ask, clock, uuid4)
    checks = {
        "core": lambda: "" if line.up else line.trouble.text,
        "work": lambda: asking.trouble() if line.up else "not asked",
    }
    if settings.web is not None and settings.web.listen is not None:
        checks["tls"] = partial(tls_files.trouble, settings.web, clock)
    health = Health(checks, asking.metrics)
    places = Places(line.ask, clock, (settings.web or WebSetting()).threads)
    door = Door(places.ask, login.actor, health, clock, log, uuid4, logs.bound, login.known)
    gate = Gate(login, Sessions(clock, _secret), Tries(clock), secrets.token_bytes(32))
    pages = create_pages(door, gate, _secret)
    warm(pages)
    app = beside(create_app(door, served()), pages)
    log.info("serving", version=__version__)
    return Served(app, partial(_end, refusals, line), partial(refusals.refused, TLS), gate.knows)


def _end(refusals: Refusals, line: Line) -> None:
    refusals.close()
    line.close()


def _secret() -> str:
    return secrets.token_urlsafe(32)
