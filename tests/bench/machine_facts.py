"""What the figures were taken on, as the kernel and the packages tell it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import vmdkvol


def facts() -> dict[str, object]:
    """Return processor, cores, memory, kernel, versions. The load average is read beside, at start and end."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "vmdkvol": vmdkvol.__version__,
        "flask": metadata.version("flask"),
        "gunicorn": metadata.version("gunicorn"),
        "docker": _first_number(["dockerd", "--version"]),
        "e2fsprogs": _first_number(["mkfs.ext4", "-V"]),
        "fio": _first_number(["fio", "--version"]) if shutil.which("fio") else "none",
    }


def load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _system() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else sys.platform


def _first_number(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"
