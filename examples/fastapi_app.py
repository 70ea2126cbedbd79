"""A web application that hands slow work to the queue and answers at once.

In this folder, in one terminal each:

    fastqueue control-plane --task-modules tasks
    uvicorn fastapi_app:app

Then:

    curl -X POST localhost:8000/reports -H 'content-type: application/json' \
         -d '{"customer": "ada", "days": 7}'
    curl localhost:8000/reports/<task_id>

The application needs nothing of the tasks' code: a task's name is enough.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from fastqueue import Client, TaskResult, TaskStatus
from fastqueue.errors import ControlPlaneUnavailable, Overloaded, TaskTimeout

client = Client()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for as long as the application runs."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


class ReportRequest(BaseModel):
    """What a report is to be about."""

    customer: str
    days: int = 30


@app.post("/reports", status_code=202)
async def submit_report(request: ReportRequest) -> dict[str, str]:
    """Submit a report; once this has answered, it survives any crash."""
    try:
        task_id = await client.delay(
            "reports.build", request.customer, days=request.days, priority="high"
        )
    except (ControlPlaneUnavailable, Overloaded) as error:
        raise HTTPException(503, str(error)) from error
    return {"task_id": task_id}


@app.get("/reports/{task_id}")
async def get_report(task_id: str) -> TaskResult:
    """Tell how far a report is, and its outcome once there is one."""
    result = await client.get_task_result(task_id)
    if result is None:
        raise HTTPException(404, "there is no such report, or it has expired")
    return result


@app.post("/word-count")
async def count_words(text: str) -> dict[str, int]:
    """Wait for a quick task's result."""
    try:
        result = await client.submit_task("word_count", (text,))
    except TaskTimeout as error:
        raise HTTPException(504, f"not finished yet: ask for task {error.task_id}") from error
    if result.status != TaskStatus.SUCCESS:
        raise HTTPException(500, result.error)
    return dict(result.result)
