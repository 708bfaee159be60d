"""What a clone has of its source: options, content, and the UUIDs that its file system may have. Pure."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from vmdkvol.errors import InvalidOption
from vmdkvol.options import CreateOptions
from vmdkvol.tuning import check_mount_option
from vmdkvol.volume import Content, renewed_uuid
from vmdkvol_esx.records import VolumeRecord

# Of a volume that was never attached: each attach raises it.
FIRST_GENERATION = 1


def clone_options(options: CreateOptions, source: VolumeRecord) -> CreateOptions:
    """Return the options of a clone: size, file system and layout are its source's, whatever else was asked is kept.

    What was not asked for, but is of the disk or of the volume's root, is its source's too.
    """
    if "layout" in options.given and options.layout != source.options.layout:
        raise InvalidOption(
            f"layout={options.layout} cannot be given: the source {source.name} has layout={source.options.layout}",
            remedy="leave out layout: a clone has its source's",
        )
    for word in options.mount_options:
        check_mount_option(word, source.options.fstype)
    inherited = ("size_bytes", "fstype", "mkfs_options", "layout", *({"uid", "gid", "mode", "diskformat"} - options.given))
    values = {field: getattr(source.options, field) for field in inherited}
    return replace(options, **{**values, "size_bytes": source.size_bytes})


def clone_content(source: VolumeRecord) -> tuple[Content, UUID | None, tuple[UUID, ...]]:
    """Return what lies on a clone's disk: its content, the UUID on record, and those that it was copied with.

    No UUID on record with ``formatted``: it gets its own before its first mount, and until then has its source's. That is
    one of several if the source is such a clone, too.
    """
    if source.content is not Content.FORMATTED:
        return source.content, source.filesystem_uuid, ()
    if source.filesystem_uuid is not None:
        return source.content, None, (source.filesystem_uuid,)
    # Never attached, it has no UUID of its own: a long row of clones has no long row of UUIDs.
    renewed = source.copied_uuids and source.generation > FIRST_GENERATION
    return source.content, None, (*source.copied_uuids, *((renewed_uuid(source.id),) if renewed else ()))
