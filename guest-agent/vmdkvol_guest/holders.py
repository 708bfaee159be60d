"""Docker's mount IDs: which are still true, and how a refusal names who has a volume. Pure.

IDs are hints, never a count (docker-facts 2.7): they say that somebody was given the path, the kernel says who uses it.
"""

from __future__ import annotations

from collections.abc import Collection

from vmdkvol_guest.ports import MountTarget

# A starting container has its Mount answered and no namespace yet for as long as its other volumes take, up to 120 s
# each. Ten minutes without one, after the engine itself has come back, is no slow start (corrections 5).
UNUSED_S = 600.0
_SHOWN = 3


def stale(
    ids: frozenset[str], *, renewed: Collection[str], activated_at: float | None, unused_since: float | None, now: float
) -> frozenset[str]:
    """Return the IDs that no container stands behind any more.

    ``renewed`` are those that were mounted since the engine's last Activate, ``activated_at`` when that was,
    ``unused_since`` since when no other mount namespace has the device. Without an Activate nothing is stale.
    """
    if activated_at is None or unused_since is None:
        return frozenset()
    if now - max(activated_at, unused_since) < UNUSED_S:
        return frozenset()
    return ids.difference(renewed)


def abandoned(ids: frozenset[str], arriving: Collection[str]) -> frozenset[str]:
    """Return the IDs that no running call is about: their Mount was never answered if nothing is mounted."""
    return ids.difference(arriving)


def culprits(ids: Collection[str], targets: Collection[MountTarget]) -> str:
    """Return who has the volume on this host, in words for an error: processes first, since they can be ended."""
    if targets:
        # One path for each process: the shortest, of those that a container's copy of all mounts has.
        paths = {
            target.pid: target.path
            for target in sorted(targets, key=lambda target: (target.pid, len(target.path)), reverse=True)
        }
        return "mounted by process " + _some([f"{pid} (at {paths[pid][:60]})" for pid in sorted(paths)])
    if ids:
        return "held by Docker's mount " + _some([mount_id[:12] for mount_id in sorted(ids)])
    return "in use by a process or mount namespace that cannot be seen"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
