"""What users import stays where it is, and stays light."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import json
import subprocess
import sys

import pytest

import fastqueue

PUBLIC_NAMES = {
    "Cancel",
    "Cancellation",
    "Client",
    "Retry",
    "SerializationFormat",
    "SoftTimeLimit",
    "SyncClient",
    "TaskPriority",
    "TaskResult",
    "TaskStatus",
    "__version__",
    "current_task",
    "task",
}

# The imports of the client guide; a name that moves breaks somebody's application.
GUIDE_IMPORTS = [
    ("fastqueue", "Client"),
    ("fastqueue", "SerializationFormat"),
    ("fastqueue", "TaskPriority"),
    ("fastqueue", "TaskResult"),
    ("fastqueue", "TaskStatus"),
    ("fastqueue", "task"),
    ("fastqueue.tasks.models", "TaskPriority"),
    ("fastqueue.tasks.models", "TaskResult"),
    ("fastqueue.tasks.models", "TaskStatus"),
    ("fastqueue.tasks.serializer", "SerializationFormat"),
    ("fastqueue.tasks.serializer", "TaskSerializer"),
    ("fastqueue.patterns.nng_patterns", "BusPattern"),
    ("fastqueue.patterns.nng_patterns", "PairPattern"),
    ("fastqueue.patterns.nng_patterns", "PubSubPattern"),
    ("fastqueue.patterns.nng_patterns", "PushPullPattern"),
    ("fastqueue.patterns.nng_patterns", "ReqRepPattern"),
    ("fastqueue.patterns.nng_patterns", "SurveyorRespondentPattern"),
    ("fastqueue.errors", "ControlPlaneUnavailable"),
    ("fastqueue.errors", "FastQueueError"),
    ("fastqueue.errors", "Overloaded"),
    ("fastqueue.errors", "SerializationError"),
    ("fastqueue.errors", "TaskTimeout"),
]

CLIENT_METHODS = {
    "aclose",
    "as_completed",
    "attempts",
    "batch",
    "batches",
    "cancel",
    "cancel_batch",
    "dead_letters",
    "delay",
    "delay_with_callback",
    "gather",
    "get_result",
    "get_status",
    "get_task_result",
    "inspect",
    "limits",
    "map",
    "options",
    "queues",
    "requeue",
    "schedules",
    "starmap",
    "start",
    "stop",
    "submit_batch",
    "submit_task",
    "watch",
    "why",
    "why_waits",
}

# Each of these would be paid for by every process that only submits tasks.
NOT_LOADED = [
    "apsw",
    "cronsim",
    "email",
    "fastapi",
    "http",
    "pydantic",
    "pynng",
    "rich",
    "typer",
    "unittest",
    "uvloop",
    "zoneinfo",
]
MODULES_MAX = 350


def modules_after_import():
    """Return the names of the modules that `import fastqueue` loads into a fresh interpreter."""
    # Without the site's own start-up files, which may load anything before us.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules)\n"
        "import fastqueue, json; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_package_exports_these_names_and_no_other():
    assert set(fastqueue.__all__) == PUBLIC_NAMES
    assert all(hasattr(fastqueue, name) for name in PUBLIC_NAMES)


@pytest.mark.parametrize(("module", "name"), GUIDE_IMPORTS)
def test_the_imports_of_the_guide_work(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_one_name_is_one_thing_wherever_it_is_imported_from():
    models = importlib.import_module("fastqueue.tasks.models")
    serializer = importlib.import_module("fastqueue.tasks.serializer")
    assert models.TaskPriority is fastqueue.TaskPriority
    assert models.TaskResult is fastqueue.TaskResult
    assert models.TaskStatus is fastqueue.TaskStatus
    assert serializer.SerializationFormat is fastqueue.SerializationFormat


def test_the_client_has_these_methods_and_no_other():
    public = {name for name in dir(fastqueue.Client) if not name.startswith("_")}
    assert public == CLIENT_METHODS


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after_import()
    assert "fastqueue.client.client" in loaded
    assert {name.partition(".")[0] for name in loaded} & set(NOT_LOADED) == set()


def test_importing_the_package_loads_few_modules():
    # A count stands for the time: it is the same on a busy machine.
    assert len(modules_after_import()) <= MODULES_MAX


def test_the_installed_version_is_the_one_the_package_names():
    assert importlib.metadata.version("fastqueue") == fastqueue.__version__


def test_the_package_says_that_it_is_typed():
    files = importlib.resources.files("fastqueue")
    assert (files / "py.typed").is_file()
