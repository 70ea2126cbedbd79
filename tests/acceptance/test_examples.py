"""The examples run as their docstrings say, on processes of their own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import httpx
import pytest
from tests.ports import free_port

from harness import LONG_S, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def examples(site):
    """Give the examples' folder, its control plane running."""
    shutil.copytree(EXAMPLES, site.folder, dirs_exist_ok=True)
    control_plane = site.command(
        *("control-plane", "control-plane", "--task-modules", "tasks"),
        *("--base-address", site.base_address, "--processes", "1"),
    )
    await control_plane.says("control plane ready")
    return site


async def test_the_fastapi_example(examples):
    port = free_port()
    arguments = ["-m", "uvicorn", "fastapi_app:app", "--port", str(port)]
    server = examples.run("uvicorn", sys.executable, *arguments)
    await server.says("Uvicorn running")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LONG_S) as web:

        async def outcome(days):
            answer = await web.post("/reports", json={"customer": "ada", "days": days})
            assert answer.status_code == 202
            path = f"/reports/{answer.json()['task_id']}"

            async def over():
                report = (await web.get(path)).json()
                return report if report["completed_at"] else None

            return await eventually(over)

        report = await outcome(7)
        assert (report["status"], report["error"], report["attempt"]) == ("success", None, 1)
        assert report["result"] == {"customer": "ada", "days": 7, "lines": 21}
        report = await outcome(0)
        assert report["status"] == "failure"
        assert report["error"] == "ValueError: a report covers at least one day, not 0"
        assert (await web.get("/reports/unknown")).status_code == 404
        counted = await web.post("/word-count", params={"text": "To be or not to be"})
        assert counted.json() == {"to": 2, "be": 2, "or": 1, "not": 1}
    server.terminate()
    await server.exit_code()
    assert "Traceback" not in server.log


async def test_the_callbacks_example(examples):
    program = examples.run("callbacks", sys.executable, "callbacks.py")
    assert await program.exit_code() == 0
    lines = program.log.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["submitted"] * 3
    assert sorted(lines[3:]) == [
        "0 days: failure: ValueError: a report covers at least one day, not 0",
        "30 days: success: {'customer': 'ada', 'days': 30, 'lines': 90}",
        "7 days: success: {'customer': 'ada', 'days': 7, 'lines': 21}",
    ]


async def test_the_retries_example(examples):
    program = examples.run("retries", sys.executable, "retries.py")
    assert await program.exit_code() == 0
    lines = program.log.splitlines()
    assert lines[:5] == [
        "eve: scheduled",
        "nobody: failure at attempt 1: ValueError: 'nobody' is no address",
        "bob: attempt 1: ConnectionError: the mail server is down",
        "bob: attempt 2: ConnectionError: the mail server is down",
        "bob: failure at attempt 3: ConnectionError: the mail server is down",
    ]
    assert sorted(lines[5:]) == [
        "success: sent to bob@example.org",
        "success: sent to eve@example.org",
    ]
    assert not (examples.folder / "server-down").exists()
