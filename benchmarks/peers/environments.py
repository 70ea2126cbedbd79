"""Own the environments of peers: `.peers/NAME`, made anew if the versions change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from benchmarks.peers.catalog import Peer

INSTALL_S = 300
"""How long an installation may take."""


def python_of(peer: Peer) -> Path:
    """Return the interpreter of a peer's environment, installed if it isn't there yet.

    Raises:
        RuntimeError: it can't be installed; the message says why.
    """
    if not peer.requires:
        return Path(sys.executable)
    folder = ROOT / ".peers" / peer.name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    base = _interpreter(peer.python_min)
    key = f"{base} {' '.join(peer.requires)}"
    if stamp.exists() and stamp.read_text() == key:
        return python
    print(f"installing {peer.name}: {', '.join(peer.requires)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    if _run(sys.executable, "-m", "uv", "--version"):
        make = [base, "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install", "--quiet", *peer.requires]
    else:
        uv = [sys.executable, "-m", "uv"]
        make = [*uv, "venv", "--quiet", "--python", base, str(folder)]
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), *peer.requires]
    for command in (make, install):
        if problem := _run(*command):
            raise RuntimeError(f"can't be installed: {problem}")
    stamp.write_text(key)
    return python


def _interpreter(version_min: tuple[int, int]) -> str:
    """Return this interpreter, or if it is too old for a peer another that isn't."""
    candidates = [sys.executable, *(shutil.which(f"python3.{n}") or "" for n in range(14, 10, -1))]
    # A command of pyenv may exist and not run.
    candidates += map(str, Path.home().glob(".pyenv/versions/*/bin/python3"))
    for candidate in filter(None, candidates):
        if not _run(candidate, "-c", f"import sys; assert sys.version_info >= {version_min}"):
            return candidate
    raise RuntimeError(f"needs Python {version_min[0]}.{version_min[1]}, and none is to be found")


def _run(*command: str) -> str:
    """Return why a command failed, in a line; nothing if it didn't."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"it took longer than {INSTALL_S} s"
    if not done.returncode:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"{command[0]} exited with {done.returncode}"
