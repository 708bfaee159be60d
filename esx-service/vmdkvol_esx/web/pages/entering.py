"""Who asks for a page: by a session, which began with a token, or by what the connection itself proves.

A session counts for pages alone, never for the API: a browser sends its cookie whatever page makes it ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmdkvol.admin_errors import NotAuthenticated, StaleForm
from vmdkvol.errors import VolumeError
from vmdkvol.orders import Actor
from vmdkvol_esx.web.login import PAGE, Login
from vmdkvol_esx.web.pages.browsers import session_in
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.sessions import Sessions, Tries, form_token
from vmdkvol_esx.web.token_file import same


@dataclass(frozen=True, slots=True)
class Entered:
    """Who asks. ``csrf`` is in the forms that are drawn for it; ``session``: it may log out."""

    by: Actor
    csrf: str
    session: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """For any thread. ``key`` is of this worker alone."""

    login: Login
    sessions: Sessions
    tries: Tries
    key: bytes

    def enter(self, environ: Mapping[str, Any], session: str | None, *, idle: bool) -> Entered:
        """Return who asks; NotAuthenticated if nothing proves it, also for a session that is over, whatever else proves it."""
        source = self.login.source(environ)
        if session is not None:
            return self._by_session(session, source, idle=idle)
        by = self.login.connected(environ)
        if by is None:
            raise NotAuthenticated("you are not logged in", remedy="log in with a token")
        return Entered(by, form_token(self.key, f"connection\n{by.name}\n{by.role.value}\n{by.source}"), session=False)

    def knows(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether it is proved who asks, by anything that counts for a page or at the API. Nobody hears of it."""
        try:
            session = session_in(str(environ.get("HTTP_COOKIE", "")))
            begun = None if session is None else self.sessions.find(session, idle=True)
            if begun is not None and self.login.tokens.still(begun) is not None:
                return True
            self.login.proved(environ)
        except VolumeError:
            return False
        return True

    def begin(self, environ: Mapping[str, Any], token: str, before: str | None) -> str:
        """Return the id of a new session for a token, and end the one ``before``. NotAuthenticated, TooManyLogins."""
        source = self.login.source(environ)
        self.tries.begin(source)
        known = self.login.tokens.find(token)
        if known is None:
            error = NotAuthenticated("the token is unknown, over or revoked", remedy="see `vmdkvol-esxd web-token ls`")
            self.login.refused(environ, source, error, PAGE)
            raise error
        self.tries.succeeded(source)
        if before is not None:
            self.sessions.end(before)
        self.login.entered(environ, Actor(known.name, known.role, source), PAGE)
        return self.sessions.begin(known)

    def _by_session(self, session: str, source: str, *, idle: bool) -> Entered:
        begun = self.sessions.find(session, idle=idle)
        known = None if begun is None else self.login.tokens.still(begun)
        if known is None:
            self.sessions.end(session)
            raise NotAuthenticated("your session is over", remedy="log in again; what you sent with this was not done")
        return Entered(Actor(known.name, known.role, source), form_token(self.key, f"session\n{session}"), session=True)


def check_form(form: Form, entered: Entered) -> None:
    """Raise StaleForm unless the form was drawn for whoever sends it."""
    if not same(form.maybe("csrf") or "", entered.csrf):
        raise StaleForm("the form was not drawn for you, or before the page was started anew")
