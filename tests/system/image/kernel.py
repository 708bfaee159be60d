"""Take the kernel out of a bzImage: ``kernel.py VMLINUZ VMLINUX``. Debian's is packed with lz4, xz or zstd."""

from __future__ import annotations

import lzma
import subprocess
import sys
from pathlib import Path

_ELF = b"\x7fELF"
# What each kind of packed data begins with, and the program that unpacks it; None: Python does.
_KINDS: tuple[tuple[bytes, tuple[str, ...] | None], ...] = (
    (b"\x02!L\x18", ("lz4", "-dc")),
    (b"\x28\xb5\x2f\xfd", ("zstd", "-dc")),
    (b"\xfd7zXZ\0", None),
)


def unpacked(data: bytes, program: tuple[str, ...] | None) -> bytes:
    """Return what ``data`` begins with, unpacked; what follows behind it is not ours and does no harm."""
    if program is None:
        try:
            return lzma.LZMADecompressor().decompress(data)
        except lzma.LZMAError:
            return b""
    try:
        return subprocess.run(program, input=data, capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""


def kernel(image: bytes) -> bytes | None:
    for magic, program in _KINDS:
        at = image.find(magic)
        while at >= 0:
            found = unpacked(image[at:], program)
            if found.startswith(_ELF):
                return found
            at = image.find(magic, at + 1)
    return None


def main(image: str, target: str) -> int:
    found = kernel(Path(image).read_bytes())
    if found is None:
        return 1
    Path(target).write_bytes(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
