"""Every snippet of the client guide, run as it is written there.

Addresses come from the environment, so that even `Client()` stays as the guide prints it; only the
port of the callback listener is put in place of the guide's. Snippets that use `await` outside of a
function run on the test's event loop; whole programs run as programs.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys

import pytest
from tests.ports import free_address

from fastqueue import Client, TaskPriority, TaskStatus
from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer
from harness import bounded, eventually, registry_of


async def run_snippet(source, names):
    """Run a snippet that may use `await`, as a notebook would, with these names defined."""
    code = compile(source, "<client guide>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, names)
    if inspect.isawaitable(outcome):
        await bounded(outcome)
    return names


@pytest.fixture
def discovered(cluster, monkeypatch):
    """Let `Client()` find the cluster."""
    monkeypatch.setenv("FASTQUEUE_DISCOVERY_ADDRESS", cluster.discovery_address)
    return cluster


async def task_name(*args, **kwargs):
    return [list(args), kwargs]


async def my_task():
    return "mine"


async def my_failing_task(*args, **kwargs):
    raise TypeError("no good")


@pytest.fixture
async def client(discovered):
    await discovered.start(registry_of(task_name, my_task, my_failing_task))
    async with Client() as client:
        yield client


async def eventually_done(client, *task_ids):
    await eventually(lambda: all(client.get_status(i) == "success" for i in task_ids))


CREATING = """
from fastqueue import Client

client = Client()
"""


async def test_creating_a_client(discovered):
    names = await run_snippet(CREATING, {})
    assert isinstance(names["client"], Client)


def test_the_constructor_has_the_parameters_and_defaults_of_the_guide(monkeypatch):
    for name in ("DISCOVERY_ADDRESS", "SERIALIZATION_FORMAT", "TIMEOUT", "RETRIES"):
        monkeypatch.delenv(f"FASTQUEUE_{name}", raising=False)
    parameters = list(inspect.signature(Client).parameters)
    assert parameters[:4] == ["discovery_address", "serialization_format", "timeout", "retries"]
    settings = Client()._settings
    assert settings.discovery_address == "tcp://127.0.0.1:5550"
    assert settings.serialization_format is SerializationFormat.JSON
    assert (settings.timeout_s, settings.retries) == (30, 3)
    Client("tcp://127.0.0.1:5551", SerializationFormat.PICKLE, 60, 0)


STARTING = """
import asyncio

async def main():
    client = Client()
    
    # Start the client
    await client.start()
    
    # Use the client...
    
    # Stop the client
    client.stop()

asyncio.run(main())
"""  # noqa: W293 - as the guide has it


@pytest.mark.parametrize("somebody_there", [True, False])
async def test_starting_and_stopping_the_client(site, somebody_there):
    if somebody_there:
        await site.control_plane()
    site.write("program.py", f"from fastqueue import Client\n{STARTING}")
    program = site.run("program", sys.executable, "program.py")
    assert await program.exit_code() == 0
    assert ("no control plane yet" in program.log) == (not somebody_there)


NON_BLOCKING = """
# Returns task ID immediately
task_id = await client.delay("task_name", arg1, arg2, priority="high")
print(f"Task ID: {task_id}")

# Check result later
result = await client.get_task_result(task_id)
if result:
    print(f"Result: {result.result}")
"""


async def test_non_blocking_submission(client, capsys):
    names = await run_snippet(NON_BLOCKING, {"client": client, "arg1": 1, "arg2": "two"})
    assert f"Task ID: {names['task_id']}\n" in capsys.readouterr().out
    await eventually_done(client, names["task_id"])
    names = await run_snippet(NON_BLOCKING.partition("later\n")[2], names)
    assert capsys.readouterr().out == "Result: [[1, 'two'], {}]\n"


BLOCKING = """
result = await client.submit_task(
    task_name="task_name",
    args=(arg1, arg2),
    kwargs={"keyword_arg": value},
    priority=TaskPriority.HIGH
)

if result.status == TaskStatus.SUCCESS:
    print(f"Result: {result.result}")
else:
    print(f"Error: {result.error}")
"""


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("task_name", "Result: [[1, 2], {'keyword_arg': 3}]\n"),
        ("my_failing_task", "Error: TypeError: no good"),
    ],
)
async def test_blocking_submission(client, capsys, name, printed):
    names = {"client": client, "arg1": 1, "arg2": 2, "value": 3}
    names |= {"TaskPriority": TaskPriority, "TaskStatus": TaskStatus}
    await run_snippet(BLOCKING.replace('"task_name"', f'"{name}"'), names)
    assert capsys.readouterr().out.startswith(printed)


FROM_CONTROL_PLANE = """
result = await client.get_task_result(task_id)

if result:
    print(f"Status: {result.status}")
    print(f"Result: {result.result}")
else:
    print("Result not found or expired")
"""

FROM_LOCAL_CACHE = """
result = client.get_result(task_id)
status = client.get_status(task_id)
"""


async def test_querying_task_results(client, capsys):
    done = await client.submit_task("my_task")
    await run_snippet(FROM_CONTROL_PLANE, {"client": client, "task_id": done.task_id})
    assert capsys.readouterr().out == "Status: success\nResult: mine\n"
    await run_snippet(FROM_CONTROL_PLANE, {"client": client, "task_id": "of nobody"})
    assert capsys.readouterr().out == "Result not found or expired\n"
    names = await run_snippet(FROM_LOCAL_CACHE, {"client": client, "task_id": done.task_id})
    assert names["result"] == done
    assert names["status"] == TaskStatus.SUCCESS


PRIORITIES = """
from fastqueue.tasks.models import TaskPriority

# Submit with different priorities
task_id1 = await client.delay("my_task", priority=TaskPriority.CRITICAL)
task_id2 = await client.delay("my_task", priority=TaskPriority.HIGH)
task_id3 = await client.delay("my_task", priority=TaskPriority.NORMAL)
task_id4 = await client.delay("my_task", priority=TaskPriority.LOW)
"""

PRIORITY_BY_NAME = """
task_id = await client.delay("my_task", priority="high")
"""


async def test_task_priority(client):
    names = await run_snippet(PRIORITIES + PRIORITY_BY_NAME, {"client": client})
    task_ids = [names[f"task_id{n}"] for n in range(1, 5)] + [names["task_id"]]
    assert len(set(task_ids)) == 5
    await eventually_done(client, *task_ids)


ERROR_HANDLING = """
try:
    task_id = await client.delay("my_task")
    result = await client.get_task_result(task_id)
    
    if result and result.status == TaskStatus.FAILURE:
        print(f"Task failed: {result.error}")
    elif result:
        print(f"Task succeeded: {result.result}")
    else:
        print("Task result not available")
        
except Exception as e:
    print(f"Client error: {e}")
"""  # noqa: W293 - as the guide has it


async def test_error_handling(client, capsys):
    await run_snippet(ERROR_HANDLING, {"client": client, "TaskStatus": TaskStatus})
    # Whether it is over by then nobody promises; that it is known, we do.
    assert capsys.readouterr().out in ("Task succeeded: mine\n", "Task succeeded: None\n")
    client.stop()
    await run_snippet(ERROR_HANDLING, {"client": client, "TaskStatus": TaskStatus})
    assert capsys.readouterr().out.startswith("Client error: the client is stopped")


SUBMITTING_WITH_CALLBACK = """
from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import TaskSerializer, SerializationFormat

async def main():
    client = Client()
    await client.start()

    # Create unique callback address
    callback_address = "tcp://127.0.0.1:6000"

    # Submit task with callback
    result = await client.delay_with_callback(
        "process_data",
        callback_address,
        data_arg,
        callback_data={"source": "my_app", "user_id": 123}
    )

    print(f"Task submitted: {result.task_id}")
    client.stop()

asyncio.run(main())
"""

RECEIVING_CALLBACKS = """
async def listen_for_callback(callback_address: str):
    \"\"\"Listen for task completion callbacks.\"\"\"
    # Create callback listener
    callback_listener = PairPattern(callback_address, is_server=True)
    await callback_listener.start()

    try:
        # Wait for callback notification
        data = await callback_listener.recv()
        callback_data = TaskSerializer.deserialize(data, SerializationFormat.JSON)

        # Process the callback
        print(f"Task completed: {callback_data['task_id']}")
        print(f"Status: {callback_data['status']}")
        print(f"Result: {callback_data['result']}")
        print(f"Custom data: {callback_data['callback_data']}")

    finally:
        callback_listener.close()

# Start listener in background
asyncio.create_task(listen_for_callback("tcp://127.0.0.1:6000"))
"""


async def test_the_callback_pair(site, capsys):
    site.write("tasks.py", "from fastqueue import task\n@task\ndef process_data(x): return x * 2\n")
    await site.control_plane()
    site.subworker("worker")
    listener = free_address()
    program = SUBMITTING_WITH_CALLBACK.replace("tcp://127.0.0.1:6000", listener)
    header = "import asyncio\nfrom fastqueue import Client\ndata_arg = 21\n"
    site.write("program.py", header + program)

    names = {"asyncio": asyncio, "PairPattern": PairPattern, "TaskSerializer": TaskSerializer}
    names["SerializationFormat"] = SerializationFormat
    before = asyncio.all_tasks()
    await run_snippet(RECEIVING_CALLBACKS.replace("tcp://127.0.0.1:6000", listener), names)
    listening = asyncio.all_tasks() - before

    submitter = site.run("submitter", sys.executable, "program.py")
    assert await submitter.exit_code() == 0
    (line,) = submitter.log.splitlines()
    task_id = line.removeprefix("Task submitted: ")
    await bounded(asyncio.gather(*listening))
    assert capsys.readouterr().out.splitlines() == [
        f"Task completed: {task_id}",
        "Status: success",
        "Result: 42",
        "Custom data: {'source': 'my_app', 'user_id': 123}",
    ]


CALLBACK_STRUCTURE = """
{
    "task_id": "unique-task-id",
    "status": "success|failure",
    "result": "task result (if successful)",
    "error": "error message (if failed)",
    "started_at": "ISO timestamp",
    "completed_at": "ISO timestamp",
    "callback_data": {"source": "my_app", "user_id": 123}
}
"""


@pytest.mark.parametrize("fails", [False, True])
async def test_a_callback_has_the_seven_keys_of_the_guide(discovered, fails):
    def process_data():
        if fails:
            raise ValueError("no good")
        return [1, 2]

    await discovered.start(registry_of(process_data))
    async with Client() as client, PairPattern("tcp://127.0.0.1:0", is_server=True) as listener:
        submitted = await client.delay_with_callback(
            "process_data", listener.address, callback_data={"source": "my_app", "user_id": 123}
        )
        body = TaskSerializer.deserialize(await bounded(listener.recv()), SerializationFormat.JSON)
        structure = ast.literal_eval(CALLBACK_STRUCTURE)
        assert list(body) == list(structure)
        result = await client.get_task_result(submitted.task_id)
        assert body == {
            "task_id": submitted.task_id,
            "status": "failure" if fails else "success",
            "result": None if fails else [1, 2],
            "error": "ValueError: no good" if fails else None,
            "started_at": result.started_at.isoformat(),
            "completed_at": result.completed_at.isoformat(),
            "callback_data": structure["callback_data"],
        }


TIMEOUT = """
# Set custom timeout (in seconds)
client = Client(timeout=60)  # 60 second timeout
"""

RESULT_CACHING = """
result = await client.get_task_result(task_id)
"""


async def test_timeout_handling_and_result_caching(discovered):
    await discovered.start(registry_of(my_task))
    names = await run_snippet(TIMEOUT, {"Client": Client})
    async with names["client"] as client:
        names["task_id"] = (await client.submit_task("my_task")).task_id
        names = await run_snippet(RESULT_CACHING, names)
    assert names["result"].result == "mine"
