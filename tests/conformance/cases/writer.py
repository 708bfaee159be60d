"""A container that writes lines and checksums all the time, and what must be found on its volume afterwards."""

from __future__ import annotations

from contextlib import suppress

from tests.conformance.world import PATIENCE_S, World
from tests.integration.engine.machine import wait_until

# Each line is on the disk before the next is begun, so what is there is a prefix without a gap. Each block of noise is
# followed by its checksum.
_SCRIPT = """i=0; while true; do i=$((i+1));
head -c 30000 /dev/urandom > /data/block; sync /data/block; md5sum < /data/block > /data/sum.new; sync /data/sum.new
mv /data/block /data/block.$((i % 5)); mv /data/sum.new /data/sum.$((i % 5)); echo $i >> /data/lines; sync /data/lines;
echo $i; done"""


def start(w: World, volume: str, container: str = "writer", *options: str) -> None:
    """Start the container; return when it writes."""
    w.container(container, "-v", f"{volume}:/data", *options, script=_SCRIPT)
    wait_until(lambda: told(w, container) > 3, "the container writes", PATIENCE_S)


def told(w: World, container: str = "writer") -> int:
    """Return the last number that the container said to be on the disk."""
    words = w.engine.docker("logs", "--tail", "1", container, check=False).stdout.split()
    number = 0
    with suppress(IndexError, ValueError):
        number = int(words[-1])
    return number


def goes_on(w: World, container: str = "writer") -> None:
    before = told(w, container)
    wait_until(lambda: told(w, container) > before + 3, "the container goes on writing", PATIENCE_S)


def assert_nothing_lost(w: World, volume: str, last: int) -> None:
    """Every line that was said is there, in order, and every whole block has its checksum."""
    lines = [int(line) for line in w.sh(volume, "cat /data/lines").split()]
    assert lines == list(range(1, len(lines) + 1))
    assert len(lines) >= last
    # The writer may have been stopped between the two renames of the newest pair.
    check = (
        'cd /data; for b in block.?; do md5sum < $b | cmp -s - "sum.${b#block.}" && echo same || echo $b; done | sort | uniq -c'
    )
    words = w.sh(volume, check).split()
    wrong = [word for word in words if word.startswith("block.")]
    assert len(wrong) <= 1, f"blocks with another checksum: {words}"


def stop_and_check(w: World, volume: str, container: str = "writer") -> None:
    last = told(w, container)
    w.said("rm", "-f", container)
    assert_nothing_lost(w, volume, last)
