"""Where figures come from."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from ingestd import __version__
from ingestd._speed import parse_compiled


def machine() -> dict[str, object]:
    """The machine and what runs on it, with the load that others put on it by now."""
    model = _first("/proc/cpuinfo", "model name") or platform.processor()
    memory = _first("/proc/meminfo", "MemTotal").removesuffix(" kB")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20, 1) if memory else None,
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "ingestd": __version__,
        "kernels": "compiled" if parse_compiled else "pure",
        "commit": _commit(),
    }


def _first(path: str, key: str) -> str:
    """What stands behind the first ``key:`` of a file of /proc; "" without one."""
    file = Path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _commit() -> str | None:
    """The checkout's commit, with a plus if files differ from it."""
    try:
        command = ["git", "describe", "--always", "--dirty=+"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return None
    return found.stdout.strip() or None
