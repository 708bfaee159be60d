"""`make map`: every module of the product in one line, by the layers of its package; what is above may use what is below."""

from __future__ import annotations

import ast
import re
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "vmdkvol": ROOT / "vmdkvol",
    "vmdkvol_guest": ROOT / "guest-agent" / "vmdkvol_guest",
    "vmdkvol_esx": ROOT / "esx-service" / "vmdkvol_esx",
}
_WIDTH = 26


def layers(package: str) -> Sequence[Sequence[str]]:
    """Return the names in each layer of the package, the highest first, as the import contracts have them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (found,) = [each["layers"] for each in contracts if each["type"] == "layers" and each["containers"] == [package]]
    return [re.split(r" *[:|] *", layer) for layer in found]


def purpose(path: Path) -> str:
    """Return what a module says in its first sentence that it is for; nothing if it says nothing."""
    said = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", said)[0]


def lines(package: str, word: str = "") -> Iterator[str]:
    """Yield the package's map; with a ``word`` only what has it in its name or its purpose."""
    folder = FOLDERS[package]
    for number, names in enumerate(layers(package)):
        shown = [line for name in sorted(names) for line in _lines(folder, name) if word.lower() in line.lower()]
        if shown:
            yield f"--- {package}, layer {number + 1} of {len(layers(package))}"
            yield from shown


def _lines(folder: Path, name: str) -> Iterator[str]:
    if (folder / f"{name}.py").exists():
        yield f"{name:{_WIDTH}} {purpose(folder / f'{name}.py')}"
        return
    for path in sorted((folder / name).rglob("*.py")):
        inner = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        if path.name != "__init__.py" or purpose(path):
            yield f"{inner:{_WIDTH}} {purpose(path)}"


def main(argv: Sequence[str]) -> None:
    # Whoever reads only the head has what it wanted.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for package in FOLDERS:
        for line in lines(package, " ".join(argv)):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
