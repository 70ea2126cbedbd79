"""Own a small disk for a test: a tmpfs that a real control plane keeps its store on.

It is mounted in a mount namespace of its own, so nothing has to be unmounted: root can do that, and
so can anybody where user namespaces are allowed. Where neither is, a small `/dev/shm`, which every
container has, does as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

MIB = 1024**2
_SHM = Path("/dev/shm")
_SHM_BYTES_MAX = 256 * MIB
_BALLAST = "ballast"
_MOUNT = 'mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && echo mounted && exec sleep 1000'


class SmallDisk:
    """Be a disk of a few MiB.

    Attributes:
        path: where the processes that `inside` starts see it.
        inside: what to put before a command that shall see it.
    """

    def __init__(self, folder, size_bytes):
        self.path = folder / "disk"
        self.path.mkdir()
        self._holder = self._here = None
        self.inside = []
        refusals = []
        kinds = [["--mount"], ["--mount", "--user", "--map-root-user"]]
        for kind in kinds if os.geteuid() == 0 else kinds[1:]:
            if self._mount(kind, size_bytes, refusals):
                return
        if _SHM.is_dir() and shutil.disk_usage(_SHM).total <= _SHM_BYTES_MAX:
            self.path = self._here = Path(tempfile.mkdtemp(prefix="fastqueue-test-", dir=_SHM))
            return
        pytest.fail(
            "there is no way to a small disk here: run this as root, or allow user namespaces, or "
            f"give the container a /dev/shm of at most {_SHM_BYTES_MAX // MIB} MiB: {refusals}"
        )

    def _mount(self, kind, size_bytes, refusals):
        command = ["unshare", *kind, "sh", "-c", _MOUNT, "sh", str(size_bytes), str(self.path)]
        try:
            holder = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError as error:
            refusals.append(str(error))
            return False
        if holder.stdout.readline() != "mounted\n":
            refusals.append(holder.communicate(timeout=10)[1].strip())
            return False
        self._holder = holder
        self._here = Path(f"/proc/{holder.pid}/root{self.path}")
        spaces = ["--mount", *(["--user", "--preserve-credentials"] if len(kind) > 1 else [])]
        self.inside = ["nsenter", "--target", str(holder.pid), *spaces, "--"]
        return True

    @property
    def free_bytes(self):
        return shutil.disk_usage(self._here).free

    def fill(self, leave_bytes):
        """Let others fill it, until there is so much left."""
        missing = self.free_bytes - leave_bytes
        with (self._here / _BALLAST).open("ab") as ballast, contextlib.suppress(OSError):
            while missing > 0:
                missing -= ballast.write(bytes(min(missing, 64 * 1024)))
                ballast.flush()

    def clear(self):
        """Remove what others filled it with."""
        (self._here / _BALLAST).unlink()

    def close(self):
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
        else:
            shutil.rmtree(self._here, ignore_errors=True)


@pytest.fixture
def small_disk(tmp_path):
    """Give a disk of 64 MiB."""
    if sys.platform == "darwin":
        pytest.skip("macOS has neither mount namespaces nor a tmpfs")
    disk = SmallDisk(tmp_path, 64 * MIB)
    yield disk
    disk.close()
