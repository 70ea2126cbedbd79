"""How the comparison comes by the servers that other task queues need, and leaves the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.peers import environments, servers
from benchmarks.peers.catalog import Peer, Variant

if TYPE_CHECKING:
    from pathlib import Path


def ran(code: int = 0, stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, "", stderr)


def test_postgresql_for_root_leaves_the_folder_above_its_own_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o1777)
    folder = tmp_path / "visit"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    monkeypatch.setattr(servers, "program", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ran(1, "no space"))
    with (
        pytest.raises(RuntimeError, match="initdb failed: no space"),
        servers.postgresql(folder),
    ):
        pass
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
    assert folder.stat().st_mode & 0o7777 == 0o711


def test_root_installs_a_missing_server_without_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["stdin"] == subprocess.DEVNULL
        assert options["env"]["DEBIAN_FRONTEND"] == "noninteractive"
        installed.append(" ".join(command))
        return ran()

    def which(name: str) -> str | None:
        there = name == "apt-get" or len(installed) == 2
        return f"/found/{name}" if there else None

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", which)
    monkeypatch.setattr(subprocess, "run", run)
    assert servers.program("redis-server") == "/found/redis-server"
    assert installed == ["apt-get --quiet update", "apt-get --quiet install --yes redis-server"]


def test_who_is_not_root_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="apt-get install redis-server"):
        servers.program("redis-server")


@pytest.mark.parametrize("has_uv", [True, False])
def test_a_peer_is_installed_with_uv_and_without_it_with_pip(
    has_uv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run(*command: str) -> str:
        commands.append(" ".join(command))
        if "-m venv " in commands[-1] or " venv " in commands[-1]:
            (tmp_path / ".peers" / "one").mkdir(parents=True)
        return "no module" if command[1:] == ("-m", "uv", "--version") and not has_uv else ""

    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "_run", run)
    peer = Peer("one", ("one==1",), ("-m", "one"), (Variant("a file"),))
    python = environments.python_of(peer)
    assert python == tmp_path / ".peers" / "one" / "bin" / "python"
    assert ("-m uv pip install" in commands[-1]) == has_uv
    assert ("-m pip install" in commands[-1]) == (not has_uv)
    count = len(commands)
    assert environments.python_of(peer) == python
    assert not any("install" in command for command in commands[count:])
