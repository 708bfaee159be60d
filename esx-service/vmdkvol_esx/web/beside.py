"""The API and the pages as one application: the path says whose a request is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[Any, Any], Iterable[bytes]]


def beside(api: Application, pages: Application) -> Application:
    """Return what serves the pages at ``/`` and under ``/ui``, and the API everywhere else."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO") or ""
        seen = path in ("/", "/ui") or path.startswith("/ui/")
        return (pages if seen else api)(environ, start_response)

    return application
