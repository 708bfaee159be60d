"""When a daemon of these tests counts as started."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.daemons.site import listens


def test_a_sockets_file_listens_from_its_makers_word_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    said = [listens(path)]
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        said.append(listens(path))
        bound.listen()
        said.append(listens(path))
    said.append(listens(path))

    assert (said, path.is_socket()) == ([False, False, True, False], True)
