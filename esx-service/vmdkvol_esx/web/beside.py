"""What the API and the pages have in common: the path says whose a request is, and each request has an id. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

Application = Callable[[Any, Any], Iterable[bytes]]


def beside(api: Application, pages: Application) -> Application:
    """Return what serves the pages at ``/`` and under ``/ui``, and the API everywhere else."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO") or ""
        seen = path in ("/", "/ui") or path.startswith("/ui/")
        return (pages if seen else api)(environ, start_response)

    return application


def numbered(inner: Application, new_id: Callable[[], UUID], bound: Callable[..., AbstractContextManager[None]]) -> Application:
    """Return the application with an id for each request, in its environment and, ``bound``, in each line that it logs."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        with bound(request=str(environ.setdefault("vmdkvol.id", new_id()))):
            return inner(environ, start_response)

    return application
