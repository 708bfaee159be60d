"""The part of the taxonomy that only requests of administrators raise; what is said of ``errors`` is true here."""

from __future__ import annotations

from vmdkvol.errors import BadRequest, Conflict, Denied, NotFound


class DefaultVmgroup(BadRequest):
    """The vmgroup of everybody else, _DEFAULT, is not changed like this."""

    remedy = "make a vmgroup of your own for what is to differ"
    explanation = (
        "`_DEFAULT` is the vmgroup of every machine that is in no other one: it has no members of its own, keeps its name and "
        "its id, and no other vmgroup takes its name. It can be removed, and made again."
    )


class InvalidLimit(BadRequest):
    """The limits of a right do not fit each other."""

    remedy = "give a maximum for one volume that is not above the total"
    explanation = "The maximum size of one volume is above the total of the vmgroup on that datastore, or a limit is no size."


class VmgroupNotFound(NotFound):
    """No vmgroup has this name or id."""

    remedy = "see `vmdkvol vmgroup ls` for the names"
    explanation = "No vmgroup has exactly this name or id. The message lists some of those there are."


class VmNotFound(NotFound):
    """No virtual machine has this name or id."""

    remedy = "see `vmdkvol vm ls` for names and ids"
    explanation = "The hypervisor shows no virtual machine of exactly this name or instance UUID to the service's account."


class RightNotFound(NotFound):
    """The vmgroup has no row for this datastore."""

    remedy = "see `vmdkvol vmgroup access ls NAME` for its rights"
    explanation = "A right was to be taken away from a vmgroup that has none on this datastore, or a name is misspelt."


class VmgroupNotEmpty(Conflict):
    """The vmgroup still has virtual machines or volumes."""

    remedy = "take its machines out, and move its volumes to another vmgroup or remove them first"
    explanation = "A vmgroup is removed when no machine is in it and it has no volume, in the trash too. Nothing was removed."


class NotAdoptable(Conflict):
    """Something stands against making this disk a volume."""

    remedy = "see `vmdkvol volume scan` for the disks that can be adopted"
    explanation = (
        "A disk that is part of a virtual machine, of a snapshot or of another program's volumes is left alone, and so is one "
        "whose identity another volume has. The message says what was found; nothing was changed."
    )


class MemberElsewhere(Conflict):
    """The virtual machine is in another vmgroup."""

    remedy = "take it out of that one first"
    explanation = "A virtual machine is in one vmgroup at a time. The message names the one that it is in."


class PolicyInUse(Conflict):
    """A volume or a vmgroup still uses the storage policy."""

    remedy = "give its volumes another policy, and take it out of the vmgroups' lists"
    explanation = (
        "A storage policy is removed when no volume is under it, in the trash too, and no vmgroup names it in a list or as its "
        "default. `vmdkvol policy inspect NAME` says which do. Nothing was removed."
    )


class KeyReused(Conflict):
    """The key of an order was used for another order, or its answer is not told twice."""

    remedy = "give each order a key of its own"
    explanation = (
        "Each order has a key (Idempotency-Key), so that its repeat is carried out once. This key was used for another order, "
        "or for one whose answer was a secret, which is not kept. Nothing was done now."
    )


class TaskNotFound(NotFound):
    """No work with this id is under way or has ended lately."""

    remedy = "see `vmdkvol task ls --all` for the ids"
    explanation = "There is no piece of work with this id. Work that has ended is remembered for a day."


class NotCancellable(Conflict):
    """This work cannot be stopped in the middle, or not any more."""

    remedy = "wait until it has ended, then undo it by an order of its own"
    explanation = (
        "Only the making of a volume is stopped, where the hypervisor can do so: VMDK files in directories, not vCenter. "
        "All else, and what has ended, is as it is; nothing was lost."
    )


class ProofNeeded(Conflict):
    """What is asked for cannot be taken back, and it was not said that this is known."""

    remedy = "repeat it with the name that the message gives, if that is what you want"
    explanation = (
        "Nothing is taken from a machine that may be running, and nothing is deleted for good, without proof or the word of a "
        "person: the name of the machine, of the volume or of the place that the message names. It is recorded who gave it."
    )


class NotAuthenticated(Denied):
    """Who asks the API did not prove who it is."""

    remedy = "give a token that counts, or a certificate with a role, or ask as root on the service's own machine"
    explanation = (
        "The API knows who asks by a token, by a client certificate, or as root on its Unix socket. The token is unknown, "
        "over or revoked, the certificate names no role, or nothing was shown. `vmdkvol-esxd web-token ls` lists the tokens."
    )


class TooManyLogins(Denied):
    """Too many logins from one place failed in a short time."""

    remedy = "wait a minute, then log in with a token that counts"
    explanation = (
        "Ten logins at the page from one address failed within a minute, so that none from there is looked at for a while. "
        "Who is logged in already is not concerned, nor is the API."
    )


class StaleForm(Denied):
    """The form was drawn for somebody else, or too long ago."""

    remedy = "load the page again and send its form; nothing was done"
    explanation = (
        "Each form of the page belongs to the session that it was drawn for, so that no other page can send it. This one does "
        "not: the session is another one by now, or `vmdkvol-esxd web` was started anew."
    )


class ForeignPage(Denied):
    """A page of another site made the browser ask."""

    remedy = "open the service's own page; nothing was done"
    explanation = (
        "A browser says which page makes it send a request. Changes are taken from the service's own page and from programs, "
        "not from pages of others. Root's socket is reached by a browser through a tunnel as `localhost`: under any other name "
        "the page is taken for a foreign one."
    )


class WrongMedia(BadRequest):
    """The body is of another kind than JSON."""

    remedy = "send it with Content-Type: application/json"
    explanation = "The API takes JSON only: the request says that its body is something else."


class BodyTooLong(BadRequest):
    """The body is longer than any message is."""

    remedy = "send less"
    explanation = "The body of the request is longer than the API takes; nothing was done."
