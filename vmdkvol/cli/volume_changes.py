"""`vmdkvol volume create|rm|restore|set|rename|move|resize|detach`: what an administrator may change of a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.given import one_name
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.outcome import left
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.errors import InvalidOption, quoted
from vmdkvol.sizes import parse_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_volumes = completing.names("volumes")
_name = click.argument("name", shell_complete=_volumes)
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_volumes)
_vmgroup = click.option(
    "--vmgroup", metavar="NAME", shell_complete=completing.names("vmgroups"), help="Whose, where several have one of that name."
)


@click.command("create")
@click.argument("name")
@click.option(
    "--vmgroup",
    metavar="NAME",
    default="_DEFAULT",
    show_default=True,
    shell_complete=completing.names("vmgroups"),
    help="Whose virtual machines see it.",
)
@click.option("-o", "options", metavar="KEY=VALUE", multiple=True, help="An option, as of `docker volume create`.")
@click.option("--over-quota", is_flag=True, help="Also beyond the vmgroup's limits.")
@change_options(working=True, short=False)
@api_options
def create(name: str, vmgroup: str, options: tuple[str, ...], over_quota: bool, client: Client, how: How) -> int:
    """Create the volume NAME for a vmgroup, as a machine of it would.

    \b
    vmdkvol volume create db --vmgroup prod -o size=20gb -o fstype=xfs
    """
    body = {"vmgroup": vmgroup, "name": name, "options": pairs(options), "over_quota": over_quota}
    return carry_out(client, {name: Change("POST", path_of("volumes"), body)}, how, _said("is ready"))


@click.command("rm", short_help="Put volumes into the trash, or delete them for good.")
@_names
@_vmgroup
@click.option("--permanently", is_flag=True, help="Delete one that is in the trash, lost or damaged, with its data, for good.")
@click.option("--i-know", metavar="NAME", help="With --permanently and an id: the name of the volume that has it.")
@change_options(losing=True, working=True, revised=True)
@api_options
def rm(names: tuple[str, ...], vmgroup: str | None, permanently: bool, i_know: str | None, client: Client, how: How) -> int:
    """Put volumes into the trash, from where `restore` brings them back until the trash is emptied.

    For three days, unless the service's trash_retention_s is another; with 0 the data is gone at once: then it asks.
    """
    if i_know is not None and not permanently:
        raise click.UsageError("--i-know is for --permanently", click.get_current_context(silent=True))
    changes = {name: _removal(name, vmgroup, i_know or name, permanently=permanently) for name in dict.fromkeys(names)}
    many = f"{len(changes)} volumes"
    question = f"Remove {names[0] if len(changes) == 1 else many}?"
    what = _said("is deleted for good" if permanently else "is removed")
    word = many if len(changes) > 1 else None
    return carry_out(client, changes, how, lambda name: what(i_know or name), question=question, word=word, telling=left)


def _removal(name: str, vmgroup: str | None, i_know: str, *, permanently: bool) -> Change:
    if not permanently:
        return Change("DELETE", path_of("volumes", name), query={"vmgroup": vmgroup})
    # The service wants to hear the volume's name: an id that was copied from the wrong line is no proof.
    return Change("POST", path_of("volumes", name, "destroy"), _of(vmgroup) | {"i_know": i_know})


@click.command("restore", short_help="Bring a volume back from the trash.")
@_name
@_vmgroup
@click.option("--new-name", metavar="NAME", help="Under this name, if its own is taken.")
@change_options(revised=True)
@api_options
def restore(name: str, vmgroup: str | None, new_name: str | None, client: Client, how: How) -> int:
    """Bring the volume NAME back from the trash, with all that is on it."""
    body = _of(vmgroup) | ({} if new_name is None else {"new_name": new_name})
    return carry_out(
        client, {name: Change("POST", path_of("volumes", name, "restore"), body)}, how, _said("is out of the trash")
    )


@click.command("set", short_help="Change options, from the next attach on.")
@click.argument("words", nargs=-1, metavar="[NAME] [KEY=VALUE]...", shell_complete=_volumes)
@click.option(
    "--volume", "flag", metavar="NAME", shell_complete=_volumes, help="The volume, as vDVS had it; or the first argument."
)
@_vmgroup
@click.option("--options", "listed", metavar='"KEY=VALUE, ..."', help="As vDVS had it; or further arguments.")
@click.option("--unset", metavar="KEY", multiple=True, help="Back to the default.")
@change_options(revised=True)
@api_options
def set_options(
    words: tuple[str, ...],
    flag: str | None,
    vmgroup: str | None,
    listed: str | None,
    unset: tuple[str, ...],
    client: Client,
    how: How,
) -> int:
    """Change options of the volume NAME, from its next attach on: access, attach-as, label, mount-options, iops-limit, shares.

    \b
    vmdkvol volume set db access=read-only label=team=shop
    """
    name, given = (flag, words) if flag is not None else (words[0] if words else None, words[1:])
    wanted = one_name(name, None, "volume")
    texts = [*given, *([] if listed is None else [text.strip() for text in listed.split(",")])]
    if not texts and not unset:
        raise click.UsageError("say what to change", click.get_current_context(silent=True))
    body = _of(vmgroup) | {"options": pairs(texts), "unset": list(unset)}
    return carry_out(client, {wanted: Change("PATCH", path_of("volumes", wanted), body)}, how, _said("is changed"))


@click.command("rename")
@_name
@click.argument("new_name")
@_vmgroup
@change_options(losing=True, revised=True)
@api_options
def rename(name: str, new_name: str, vmgroup: str | None, client: Client, how: How) -> int:
    """Give the volume NAME the name NEW_NAME, while no machine has it. For Docker there is no volume of the old name then."""
    change = Change("POST", path_of("volumes", name, "rename"), _of(vmgroup) | {"new_name": new_name})
    return carry_out(client, {name: change}, how, _said(f"is now {new_name}"), question=f"Rename {name}?")


@click.command("move")
@_name
@click.option(
    "--to-vmgroup",
    metavar="NAME",
    required=True,
    shell_complete=completing.names("vmgroups"),
    help="Whose it is afterwards.",
)
@_vmgroup
@click.option("--over-quota", is_flag=True, help="Also beyond that vmgroup's limits.")
@change_options(losing=True, revised=True)
@api_options
def move(name: str, to_vmgroup: str, vmgroup: str | None, over_quota: bool, client: Client, how: How) -> int:
    """Give the volume NAME to another vmgroup, while no machine has it. For its old one there is no such volume then.

    \b
    vmdkvol volume move db --to-vmgroup prod
    """
    body = _of(vmgroup) | {"to_vmgroup": to_vmgroup, "over_quota": over_quota}
    change = Change("POST", path_of("volumes", name, "move"), body)
    done = _said(f"is in vmgroup {to_vmgroup} now")
    return carry_out(client, {name: change}, how, done, question=f"Move {name} to vmgroup {to_vmgroup}?")


@click.command("resize")
@_name
@click.argument("size")
@_vmgroup
@change_options(working=True, revised=True)
@api_options
def resize(name: str, size: str, vmgroup: str | None, client: Client, how: How) -> int:
    """Make the volume NAME SIZE large, such as 40gb; never smaller. Its file system follows, at once where it is mounted."""
    size_bytes = parse_size(size)
    row = client.get(path_of("volumes", name), {"vmgroup": vmgroup})["row"]
    change = Change("POST", path_of("volumes", row["id"], "resize"), {"size_bytes": size_bytes})
    return carry_out(client, {name: change}, how, _said(f"has {size} = {size_bytes} bytes{_follows(row)}"))


def _follows(row: Mapping[str, Any]) -> str:
    """Return when the file system has the size of its disk: that is its host's work, and the order does not wait for it."""
    if row["content"] != "formatted" or row["access"] == "read-only":
        return ""
    if row["vm"] is None or not row["running"]:
        return "; its file system follows at the next mount"
    return f"; its file system follows on {row['vm']}, and `vmdkvol volume inspect` tells if it does not"


@click.command("detach", short_help="Take a volume off its machine.")
@_name
@_vmgroup
@click.option("--force", is_flag=True, help="Take it from a machine that is off or gone.")
@click.option("--i-know", metavar="MACHINE", help="The machine that may be using it: what it has not written is lost.")
@change_options(losing=True, working=True, revised=True)
@api_options
def detach(name: str, vmgroup: str | None, force: bool, i_know: str | None, client: Client, how: How) -> int:
    """Take the volume NAME off its machine: a running one is asked to give it back, and keeps it while it uses it.

    With --force it is taken. Then the next mount checks the whole file system.
    """
    if i_know is not None and not force:
        raise click.UsageError("--i-know is for --force", click.get_current_context(silent=True))
    body = _of(vmgroup) | {"force": force} | ({} if i_know is None else {"i_know": i_know})
    change = Change("POST", path_of("volumes", name, "detach"), body)
    return carry_out(client, {name: change}, how, _said("is on no machine"), question=f"Detach {name}?")


COMMANDS: Sequence[click.Command] = (create, rm, restore, set_options, rename, move, resize, detach)


def pairs(texts: Sequence[str]) -> list[list[str]]:
    """Return ``KEY=VALUE`` as the API takes them; InvalidOption for a text that is none."""
    found = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise InvalidOption(f"option {quoted(text)} cannot be read", remedy="write KEY=VALUE, as after -o of docker")
        found.append([key.strip(), value.strip()])
    return found


def _of(vmgroup: str | None) -> dict[str, Any]:
    return {} if vmgroup is None else {"vmgroup": vmgroup}


def _said(what: str) -> Callable[[str], str]:
    return lambda name: f"volume {name} {what}"
