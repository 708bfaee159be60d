"""What every request of an administrator has in common: who gives the order, what would be done, what was done. Values only.

The plan of a dry run is the plan that the real run carries out: both are made by the same code, and one of them stops there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic
from uuid import UUID

from vmdkvol.frames import MAX_LISTING
from vmdkvol.messages import A, Request


class Role(StrEnum):
    """What somebody may do, each also what the one before it may; docs/reference/roles.md has it message by message.

    ``viewer``: see how the site is. ``operator``: see who did what and what lies on datastores, and work with volumes that
    are there, without deleting any for good. ``admin``: everything.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Tell whether this role may do what ``needed`` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who gives an order: a name, a role, and from where (``unix``, or an address), as the API's door proved them.

    The same person is the same from anywhere: an order that comes again from another address, as a laptop's does or one behind
    several proxies, is the one that is under way.
    """

    name: str
    role: Role
    source: str = field(compare=False)


# Root at the service's own machine, by the admin socket.
ROOT = Actor("root", Role.ADMIN, "unix")


@dataclass(frozen=True, slots=True)
class Step:
    """One change: the verb (``create-vmgroup``, ``GrowDisk``), its object, its value before and after as people read it."""

    verb: str
    target: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an order changes, in its order; no step: it holds already. ``loses`` says what cannot be taken back.

    ``digest`` is of what the order takes along or names beside its object, the volumes that are lost with it, the machines of a
    list, the vmgroup that gets a volume: given with the order, it is for these or for nothing.
    """

    steps: tuple[Step, ...] = ()
    loses: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The plan, and whether it was carried out (False: a dry run, or a ``task`` still works on it).

    ``subject`` is the id of what was changed, ``revision`` its number afterwards: what an order's ``expect`` is compared with.
    """

    plan: Plan
    done: bool
    subject: str = ""
    revision: int | None = None
    task: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Request[A], Generic[A]):
    """A request of an administrator that changes nothing."""

    most: ClassVar[int | None] = MAX_LISTING
    needs: ClassVar[Role] = Role.VIEWER
    by: Actor = ROOT

    @property
    def slow(self) -> bool:
        """Whether it looks at disk after disk, or at whole datastores: few of these are answered at the same time."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFor(Request[A], Generic[A]):
    """A request of an administrator that changes something; the same again is a success.

    ``dry_run`` changes nothing and answers the plan. ``expect``: StaleRequest, and nothing is changed, unless the object has
    this revision; None: whatever it has. ``expect_id``: StaleRequest too unless it is the one of this id, since the next
    object of a name counts its revisions from the start. The answer is an Outcome, or one with more to tell: ``secret`` says
    that nobody but who asked may see it, so that it is never kept. ``long``: its work on a disk may take long,
    and whoever waits less than that gets the task, or StillWorking while it waits for its turn: the same again goes on waiting.

    ``revised`` and ``identified`` say whether ``expect`` and ``expect_id`` are compared with anything: BadRequest where not,
    since who gives them relies on it.
    """

    changes: ClassVar[bool] = True
    secret: ClassVar[bool] = False
    long: ClassVar[bool] = False
    revised: ClassVar[bool] = True
    identified: ClassVar[bool] = True
    needs: ClassVar[Role] = Role.ADMIN
    by: Actor = ROOT
    dry_run: bool = False
    expect: int | None = None
    expect_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(OrderFor[Outcome]):
    """An order whose answer is its Outcome and no more."""

    answer: ClassVar[type] = Outcome
