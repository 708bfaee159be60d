"""One request is known by one mark on its whole way: Docker's call, the agent's calls, disk changes, vCenter's tasks.

Each of these has an id of its own, because each is carried out once by its id. The first half of all of them is that of the
request which they are for, its mark; the second half is new each time. So the eighteen characters that an id begins with
find a request in the agent's log, the service's log, the audit, and among vCenter's tasks as ``operationID``.
"""

from __future__ import annotations

from uuid import UUID

# Of an id's text: two hyphens among 16 hex digits.
MARK = 18


def derived(request: UUID, fresh: UUID) -> UUID:
    """Return an id for a part of ``request``: as new as ``fresh``, with the request's mark.

    The half that is ``fresh``'s is enough that no two are the same by chance, and nobody chooses it who sends requests.
    """
    return UUID(bytes=request.bytes[:8] + fresh.bytes[8:])


def mark(id: UUID) -> str:
    """Return by which characters the ids of all that was done for a request begin."""
    return str(id)[:MARK]
