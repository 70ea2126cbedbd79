"""The FastAPI application of the client guide, as it is written, on a real server."""

from __future__ import annotations

import asyncio
import sys

import httpx
from tests.ports import free_port

from harness import LONG_S, eventually

APPLICATION = """
from fastapi import FastAPI
from fastqueue import Client

app = FastAPI()
client = Client()

@app.on_event("startup")
async def startup_event():
    await client.start()

@app.on_event("shutdown")
async def shutdown_event():
    client.stop()

@app.post("/process/")
async def process_endpoint(data: dict):
    # Non-blocking submission
    task_id = await client.delay("process_data", data)
    return {"task_id": task_id}

@app.get("/result/{task_id}")
async def get_result(task_id: str):
    result = await client.get_task_result(task_id)
    if result:
        return {"status": result.status.value, "result": result.result}
    return {"error": "Result not found"}
"""

TASKS = """
from fastqueue import task

@task
def process_data(data):
    return {"keys": sorted(data), "data": data}
"""

SUBMITTED = [{"n": n, "text": f"héllo {n}", "nested": {"list": [n, None, 1.5]}} for n in range(20)]


async def test_the_fastapi_application(site):
    site.write("tasks.py", TASKS)
    site.write("app.py", APPLICATION)
    control_plane = site.command(
        "control-plane", "control-plane", "--base-address", site.base_address, *OWN_SUBWORKER
    )
    await control_plane.says("control plane ready")
    async with served(site) as (server, web):
        task_ids = await asyncio.gather(*(process(web, data) for data in SUBMITTED))
        for task_id, data in zip(task_ids, SUBMITTED, strict=True):
            answer = await eventually(lambda task_id=task_id: finished(web, task_id))
            assert answer == {
                "status": "success",
                "result": {"keys": ["n", "nested", "text"], "data": data},
            }
        for unknown in ("no-such-task", "x" * 2000):
            assert (await web.get(f"/result/{unknown}")).json() == {"error": "Result not found"}
        server.terminate()
        assert await server.exit_code() in (0, -15)
    assert "Traceback" not in server.log
    control_plane.terminate()
    assert await control_plane.exit_code() == 0


async def test_the_fastapi_application_started_before_its_control_plane(site):
    site.write("tasks.py", TASKS)
    site.write("app.py", APPLICATION)
    async with served(site) as (_, web):
        waiting = asyncio.ensure_future(process(web, {"early": True}))
        control_plane = site.command(
            "control-plane", "control-plane", "--base-address", site.base_address, *OWN_SUBWORKER
        )
        task_id = await waiting
        answer = await eventually(lambda: finished(web, task_id))
        assert answer["result"] == {"keys": ["early"], "data": {"early": True}}
        control_plane.terminate()
        assert await control_plane.exit_code() == 0


OWN_SUBWORKER = ("--task-modules", "tasks", "--processes", "1")


async def process(web, data):
    response = await web.post("/process/", json=data)
    assert response.status_code == 200
    return response.json()["task_id"]


async def finished(web, task_id):
    answer = (await web.get(f"/result/{task_id}")).json()
    return answer if answer.get("status") == "success" else None


class served:  # noqa: N801 - reads as what it does
    """Serve the site's `app.py` with uvicorn."""

    def __init__(self, site):
        self._site = site

    async def __aenter__(self):
        port = free_port()
        arguments = ["-m", "uvicorn", "app:app", "--port", str(port)]
        server = self._site.run("uvicorn", sys.executable, *arguments)
        await server.says("Uvicorn running")
        self._web = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LONG_S)
        return server, self._web

    async def __aexit__(self, *_):
        await self._web.aclose()
