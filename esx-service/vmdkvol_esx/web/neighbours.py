"""Who of a neighbourhood has a turn, and who waits for one: a crowd from one place waits for itself. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Neighbours(Generic[T]):
    """Of each place ``most`` have a turn at a time, the others wait in their order. For one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[str, tuple[set[T], deque[T]]] = {}

    def begin(self, place: str, each: T) -> bool:
        """Tell whether it has a turn now; if not, it waits for one."""
        having, waiting = self._places.setdefault(place, (set(), deque()))
        if len(having) >= self._most:
            waiting.append(each)
            return False
        having.add(each)
        return True

    def end(self, place: str, each: T) -> T | None:
        """Its turn is over, if it had one; return whose turn it is instead, None: nobody's."""
        having, waiting = self._places.get(place, (set(), deque()))
        if each not in having:
            return None
        having.remove(each)
        following = waiting.popleft() if waiting else None
        if following is not None:
            having.add(following)
        elif not having:
            del self._places[place]
        return following

    def having(self) -> Iterator[T]:
        """Yield who has a turn."""
        for having, _ in self._places.values():
            yield from having

    def waiting(self) -> Iterator[T]:
        """Yield who waits for one."""
        for _, waiting in self._places.values():
            yield from waiting

    def leaves(self, place: str) -> T:
        """Take out whoever of the place waits longest; KeyError or IndexError if nobody does."""
        return self._places[place][1].popleft()
