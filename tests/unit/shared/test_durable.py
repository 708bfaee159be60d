"""Files that are put in place whole: the old or the new, and nobody else's to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vmdkvol import durable


def test_the_new_content_is_in_place_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(b"old")
    durable.write(path, b"new")
    assert (path.read_bytes(), [each.name for each in tmp_path.iterdir()]) == (b"new", ["ca.pem"])


def test_it_is_its_owner_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        durable.write(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_what_another_user_may_read_is_private_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    durable.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_file_of_one_that_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_bytes(b"ha")
    durable.write(tmp_path / "key", b"whole")
    assert (tmp_path / "key").read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["key", "key.new"])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (tmp_path / name).symlink_to(elsewhere)
    durable.write(tmp_path / "key", b"ours")
    assert elsewhere.read_bytes() == b"not ours"
    assert not (tmp_path / "key").is_symlink()


def test_what_cannot_be_put_in_place_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "key"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="key"):
        durable.write(path, b"new")
    assert [each.name for each in path.iterdir()] == ["in the way"]


def test_content_and_name_are_flushed_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is durable before its content is an empty file after a loss of power."""
    done: list[str] = []
    flush, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        flush(descriptor)

    def renamed(old: Path, new: Path) -> Path:
        done.append("name")
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    durable.write(tmp_path / "key", b"whole")
    assert done == ["content", "name", "directory"]
