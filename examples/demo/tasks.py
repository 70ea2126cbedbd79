"""Own the demo's task: survey one Python source file.

Imported by the subworkers as their task module, and by the demo for its plain loop.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import io
import os
import time
import tokenize
from pathlib import Path
from typing import Any

from fastqueue import task

FOLDER_VARIABLE = "DEMO_FOLDER"
"""The environment variable that tells a subworker of the demo where the demo's folder is."""


@task
def survey(path: str, runs_path: str | None = None) -> dict[str, Any]:
    """Read a file, hash it, and count its lines, tokens and definitions.

    Args:
        path: the file.
        runs_path: a file to which each run of this task appends a line, to show how often it ran.

    Raises:
        SyntaxError: the file isn't valid Python.
        OSError: it can't be read.
    """
    if runs_path is not None:
        with open(runs_path, "a") as runs:
            runs.write(f"{path}\n")
    began = time.thread_time()
    content = Path(path).read_bytes()
    nodes = [type(node) for node in ast.walk(ast.parse(content, path))]
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "lines": len(content.splitlines()),
        "tokens": sum(1 for _ in tokenize.tokenize(io.BytesIO(content).readline)),
        "functions": nodes.count(ast.FunctionDef) + nodes.count(ast.AsyncFunctionDef),
        "classes": nodes.count(ast.ClassDef),
        "cpu_s": time.thread_time() - began,
    }


def _hold_lock(folder: str) -> int:
    """Lock a file named after this process for as long as it lives.

    Whoever can lock it knows that the process is gone, even if its id has been given to another.
    """
    lock = os.open(Path(folder, "processes", str(os.getpid())), os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


if FOLDER_VARIABLE in os.environ:
    _LOCK = _hold_lock(os.environ[FOLDER_VARIABLE])
