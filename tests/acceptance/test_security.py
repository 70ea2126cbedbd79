"""Over real processes: tokens and TLS from the command line, and secrets in nobody's sight."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from cli_site import say, serve

from certificates import Authority
from harness import eventually

TOKEN = "the-marked-token-of-this-test"
ARGUMENT = "the-marked-argument-of-this-test"
RESULT = ARGUMENT.upper()

TASKS = """
import os

from fastqueue import task


@task
async def shout(text):
    return text.upper()


@task
def variables():
    return {name: value for name, value in os.environ.items() if name.startswith("FASTQUEUE_TO")}


@task
def refuse(text):
    raise ValueError("no")
"""


def command_lines(site):
    """Return the command line of every process that was started in the site."""
    mark = f"FASTQUEUE_TEST_SITE_FOLDER={site.folder}\0".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                yield (entry / "cmdline").read_bytes().decode()
        except OSError:
            continue


def token_file(site):
    path = site.folder / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


async def test_no_token_and_no_argument_is_in_a_log_or_on_a_command_line(site) -> None:
    site.write("tasks.py", TASKS)
    path = token_file(site)
    await serve(site, f"--token-file={path}", "--log-level=debug")
    site.subworker(
        "elsewhere",
        "--log-level=debug",
        "--processes=2",
        environment={"FASTQUEUE_TOKEN": TOKEN},
    )
    options = [f"--token-file={path}", "--log-level=debug"]
    client = await site.client(token=TOKEN)
    await eventually(lambda: _knows_subworkers(client, 3))
    lines = list(command_lines(site))
    assert len(lines) >= 5
    for _ in range(20):
        assert (await client.submit_task("shout", (ARGUMENT,))).result == RESULT
        assert (await client.submit_task("refuse", (ARGUMENT,))).error == "ValueError: no"
    said = await say(site, "submit", "--task-name=shout", "--args", "x", *options)
    assert (said.code, said.out) == (0, "X\n"), said.err
    wrong = await say(
        site,
        "stats",
        "--timeout=1",
        "--log-level=debug",
        environment={"FASTQUEUE_TOKEN": "another-token-of-this-test"},
    )
    assert wrong.code == 3
    assert "not one of this control plane's" in wrong.err
    logs = {path.name: path.read_text() for path in site.folder.glob("*.log")}
    assert len(logs) == 2
    assert all(logs.values())
    for text in [*logs.values(), *lines, said.err, wrong.out + wrong.err]:
        for secret in (TOKEN, "another-token-of-this-test", ARGUMENT, RESULT):
            assert secret not in text


async def _knows_subworkers(client, count) -> bool:
    stats = await client.inspect("stats")
    return len(stats["subworkers"]) == count


async def test_local_subworkers_are_given_their_own_token_alone(site) -> None:
    site.write("tasks.py", TASKS)
    tokens = {
        f"FASTQUEUE_TOKEN_{role}": f"the-token-for-{role}-of-this-test"
        for role in ("SUBMIT", "WORKER", "ADMIN")
    }
    for name, value in tokens.items():
        os.environ[name] = value
    try:
        await serve(site)
    finally:
        for name in tokens:
            del os.environ[name]
    client = await site.client(token=tokens["FASTQUEUE_TOKEN_SUBMIT"])
    result = await client.submit_task("variables")
    assert result.result == {"FASTQUEUE_TOKEN": tokens["FASTQUEUE_TOKEN_WORKER"]}


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls_from_the_command_line_serves_local_and_other_subworkers(site, mutual) -> None:
    site.write("tasks.py", TASKS)
    authority = Authority(site.folder)
    mine = authority.issue("127.0.0.1")
    site.base_address = site.base_address.replace("tcp://", "tls://")
    options = [f"--tls-cert={mine['tls_cert']}", f"--tls-key={mine['tls_key']}"]
    peer_options, peer = [f"--tls-ca={authority.ca}"], {"tls_ca": authority.ca}
    if mutual:
        options.append(f"--tls-client-ca={authority.ca}")
        theirs = authority.issue("peer")
        peer_options += [f"--tls-cert={theirs['tls_cert']}", f"--tls-key={theirs['tls_key']}"]
        peer |= theirs
    else:
        options.append(f"--token-file={token_file(site)}")
        peer_options.append(f"--token-file={token_file(site)}")
        peer["token"] = TOKEN
    process = await serve(site, *options)
    site.subworker("elsewhere", "--processes=2", *peer_options)
    client = await site.client(**peer)
    await eventually(lambda: _knows_subworkers(client, 3))
    others = await asyncio.gather(*(site.client(**peer) for _ in range(20)))
    for one in (client, *others):
        assert (await one.submit_task("shout", (ARGUMENT,))).result == RESULT
    # A stream may bring the handshake's beginning before anybody reads it.
    assert "no handshake of TLS" not in process.log
    said = await say(site, "stats", "--json", *peer_options)
    assert said.code == 0, said.err
    plain = await say(
        site, "stats", "--timeout=1", "--control-plane-address", f"tcp{site.base_address[3:]}"
    )
    assert plain.code == 3
    await process.says("its handshake of TLS failed")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (site.folder / "data").iterdir()
    }
    assert set(modes.values()) == {0o600}
    assert "local.sock" in modes
    # A subworker of its own that outlives it finds the next one at the same socket.
    process.kill()
    again = await serve(site, *options, name="again")
    await eventually(lambda: _knows_subworkers(client, 3))
    again.terminate()
    assert await again.exit_code() == 0
    assert not (site.folder / "data" / "local.sock").exists()


async def test_a_token_file_that_others_can_read_is_refused(site) -> None:
    path = token_file(site)
    path.chmod(0o640)
    said = await say(site, "stats", f"--token-file={path}")
    assert said.code == 2
    assert f"chmod 600 {path}" in said.err
    assert TOKEN not in said.err
    missing = await say(site, "stats", f"--token-file={path}.none")
    assert missing.code == 2
    assert "No such file" in missing.err
    both = await say(
        site,
        "stats",
        environment={"FASTQUEUE_TOKEN": TOKEN, "FASTQUEUE_TOKEN_FILE": str(path)},
    )
    assert both.code == 2
    assert "leave out one" in both.err


async def test_no_option_takes_a_token_itself(site) -> None:
    said = await say(site, "stats", f"--token={TOKEN}")
    assert said.code == 2
    assert "No such option" in said.err


class Bomb:
    """Make a folder wherever it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


async def test_a_pickled_argument_is_never_unpickled_where_that_is_not_allowed(site) -> None:
    site.write("tasks.py", TASKS)
    mark = site.folder / "unpickled"
    client = await site.client(serialization_format="pickle")
    process = await site.control_plane()
    task_ids = [await client.delay("shout", Bomb(str(mark))) for _ in range(3)]
    assert await client.cancel(task_ids[0])
    assert (await client.inspect("tasks", task_ids))[task_ids[1]]["state"] == "queued"
    process.kill()
    await site.control_plane()
    site.subworker("careful")
    async for result in client.as_completed(task_ids[1:]):
        assert result.status == "failure"
        assert "allow-pickle" in result.error
    assert not mark.exists()
    # Or the test proves nothing: the subworker that may, does.
    site.processes[-1].terminate()
    await site.processes[-1].exit_code()
    site.subworker("careless", "--allow-pickle")
    await client.submit_task("shout", (Bomb(str(mark)),))
    assert mark.is_dir()


class Witness:
    """Become the id of the process in which it is unpickled."""

    def __reduce__(self):
        return os.getpid, ()


GIVES_BACK = """
from fastqueue import task

@task
async def give_back(value):
    return value
"""

WITHOUT_PICKLE = """
import runpy, sys
sys.modules["pickle"] = sys.modules["_pickle"] = None  # to import either fails
runpy.run_module("fastqueue", run_name="__main__", alter_sys=True)
"""


async def test_a_control_plane_needs_no_pickle_module_to_keep_and_pass_on_what_is_pickled(site):
    site.write("tasks.py", GIVES_BACK)

    async def serve(processes):
        process = site.run(
            "control-plane",
            *(sys.executable, "-c", WITHOUT_PICKLE, "control-plane", "--allow-pickle"),
            *("--task-modules=tasks", f"--processes={processes}"),
            *("--base-address", site.base_address),
        )
        await process.says("control plane ready")
        return process

    process = await serve(0)
    client = await site.client(serialization_format="pickle")
    task_id = await client.delay("give_back", Witness())
    process.kill()
    process = await serve(1)
    async for result in client.as_completed([task_id]):
        assert result.status == "success"
        assert result.result not in (process.pid, os.getpid())
