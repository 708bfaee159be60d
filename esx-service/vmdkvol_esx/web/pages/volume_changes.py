"""What a person may change of a volume, by a form each. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from vmdkvol.adoption_messages import ReleaseVolume
from vmdkvol.errors import BadRequest
from vmdkvol.orders import OrderFor
from vmdkvol.policy_messages import SetVolumePolicy
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.sizes import short_size
from vmdkvol.volume_orders import (
    CreateVolumeFor,
    DestroyVolume,
    DetachVolume,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
)
from vmdkvol_esx.web.pages import volumes
from vmdkvol_esx.web.pages.again import DIGEST
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Visit


def _create(form: Form) -> CreateVolumeFor:
    options = [("size", form.maybe("size")), ("datastore", form.maybe("datastore"))]
    given = (*((key, value) for key, value in options if value is not None), *form.pairs("options"))
    return CreateVolumeFor(
        vmgroup=form.text("vmgroup"),
        name=form.text("name"),
        options=given,
        over_quota=form.flag("over_quota"),
        digest=form.maybe(DIGEST),
    )


def _set(form: Form) -> SetVolume:
    options, unset = form.pairs("options"), form.several("unset")
    if not options and not unset:
        remedy = "write KEY=VALUE, or tick what goes back to its default"
        raise BadRequest("nothing is to be changed", remedy=remedy, form_field="options")
    return SetVolume(volume=form.text("volume"), options=options, unset=unset)


def _detach(form: Form) -> DetachVolume:
    return DetachVolume(volume=form.text("volume"), force=form.flag("force"), i_know=form.maybe("i_know") or "")


def _set_policy(form: Form) -> SetVolumePolicy:
    return SetVolumePolicy(volume=form.text("volume"), policy=form.maybe("policy"), over_allowed=form.flag("over_allowed"))


def _policy(form: Form) -> str:
    return f"the policy {form.maybe('policy')}" if form.maybe("policy") else "its datastore's own policy"


def _at(form: Form) -> str:
    return f"/ui/volumes/{quote(form.text('volume'), safe='')}"


def _one(visit: Visit) -> Drawn:
    return volumes.inspect(visit, visit.form.text("volume"))


def _row(
    verb: str,
    message: type[OrderFor[Any]],
    read: Callable[[Form], OrderFor[Any]],
    title: str,
    said: str,
    *,
    stays: bool = True,
    page: Callable[[Visit], Drawn] = _one,
) -> Change:
    """Return a row whose words have ``{name}``, the volume's name by the form, in them."""

    def worded(text: str) -> Callable[[Form], str]:
        return lambda form: text.replace("{name}", form.maybe("name") or form.maybe("volume") or "")

    def back(form: Form) -> str:
        return _at(form) if stays and form.maybe("volume") else "/ui/volumes"

    return Change(verb, message, read, worded(title), worded(said), back, page)


CHANGES = (
    _row("create-volume", CreateVolumeFor, _create, "Create the volume {name}", "volume {name} is ready", page=volumes.show),
    _row("set-volume", SetVolume, _set, "Change options of {name}", "volume {name} is changed"),
    Change(
        "rename-volume",
        RenameVolume,
        lambda form: RenameVolume(volume=form.text("volume"), new_name=form.text("new_name")),
        lambda form: f"Rename {form.maybe('name') or ''} to {form.text('new_name')}",
        lambda form: f"the volume's name is {form.text('new_name')} now",
        _at,
        _one,
    ),
    Change(
        "move-volume",
        MoveVolume,
        lambda form: MoveVolume(
            volume=form.text("volume"),
            to_vmgroup=form.text("to_vmgroup"),
            over_quota=form.flag("over_quota"),
            digest=form.maybe(DIGEST),
        ),
        lambda form: f"Move {form.maybe('name') or ''} to vmgroup {form.text('to_vmgroup')}",
        lambda form: f"volume {form.maybe('name') or ''} is in vmgroup {form.text('to_vmgroup')} now",
        _at,
        _one,
    ),
    Change(
        "resize-volume",
        ResizeVolume,
        lambda form: ResizeVolume(volume=form.text("volume"), size_bytes=form.size("size")),
        lambda form: f"Enlarge {form.maybe('name') or ''} to {form.text('size')}",
        lambda form: f"volume {form.maybe('name') or ''} has {short_size(form.size('size'))}",
        _at,
        _one,
    ),
    _row(
        "trash-volume",
        TrashVolume,
        lambda form: TrashVolume(volume=form.text("volume")),
        "Remove {name}",
        "volume {name} is removed",
        stays=False,
    ),
    _row(
        "restore-volume",
        RestoreVolume,
        lambda form: RestoreVolume(volume=form.text("volume"), new_name=form.maybe("new_name")),
        "Bring {name} back from the trash",
        "volume {name} is out of the trash",
    ),
    _row(
        "destroy-volume",
        DestroyVolume,
        lambda form: DestroyVolume(volume=form.text("volume"), i_know=form.maybe("i_know") or ""),
        "Delete {name} and its data for good",
        "volume {name} is deleted for good",
        stays=False,
    ),
    Change(
        "set-volume-policy",
        SetVolumePolicy,
        _set_policy,
        lambda form: f"Put {form.maybe('name') or ''} under {_policy(form)}",
        lambda form: f"volume {form.maybe('name') or ''} is under {_policy(form)}",
        _at,
        _one,
    ),
    _row(
        "release-volume",
        ReleaseVolume,
        lambda form: ReleaseVolume(volume=form.text("volume")),
        "Release {name}",
        "volume {name} is released: its disk is nobody's, and lies where it lay",
        stays=False,
    ),
    _row("detach-volume", DetachVolume, _detach, "Take {name} off its machine", "volume {name} is on no machine"),
)
