"""A port with a count beside each of its methods: what many volumes cost is judged by counts, never by times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any


class Counted:
    """Hands every call on to ``port``. ``calls`` counts them by name, ``items`` what lists among the answers had in them."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.calls: Counter[str] = Counter()
        self.items: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)

        def call(*args: Any, **keywords: Any) -> Any:
            answer = method(*args, **keywords)
            self.calls[name] += 1
            if isinstance(answer, tuple | list):
                self.items[name] += len(answer)
            return answer

        return call
