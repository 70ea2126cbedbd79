"""Stores with wrong bytes and wrong rows: each opens and reads, or is a StoreError; never else."""

from __future__ import annotations

import asyncio
import hashlib
import shutil

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.test_fuzz import few, played

from fastqueue.core import changes as ch
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Callback, NewTask, PendingCallback, Result
from fastqueue.core.state import State
from fastqueue.errors import StoreError
from fastqueue.store.sqlite.files import DATABASE_NAME
from fastqueue.store.sqlite.store import SqliteStore
from fastqueue.tasks.models import TaskStatus

TASKS = 40
KEYS = [(1 << 44) + n for n in range(TASKS)]
IDS = [f"id-{n}" for n in range(TASKS)]
DONE = [f"done-{n}" for n in range(10)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give a data directory with a bit of everything in its store."""
    directory = tmp_path_factory.mktemp("whole") / "data"
    store = SqliteStore(directory)
    store.load(0.0)
    callback = Callback("tcp://127.0.0.1:9", b"{}")
    tasks = [NewTask(i, "add", 2, 0, b"x" * 100, callback) for i in IDS]
    done = [Result(i, TaskStatus.SUCCESS, "add", 1, 0, b"1") for i in DONE]
    owed = PendingCallback(
        "tcp://127.0.0.1:9", DONE[0], TaskStatus.SUCCESS, b"1", None, None, None, b"{}"
    )
    done_keys = [(2 << 44) + n for n in range(len(DONE))]
    store.write(
        [
            ch.LaneAdded(1, "default", 2, "add"),
            ch.LaneAdded(2, "default", 1, "done"),
            ch.TasksAdded(KEYS, tasks, "c", 1.0),
            ch.TasksAdded(done_keys, [NewTask(i, "done", 1, 0, b"") for i in DONE], "c", 1.0),
            ch.LeasesAdded(
                [(key, 1 << 40 | n, "worker", n % 2 == 0) for n, key in enumerate(KEYS[:5])]
            ),
            ch.TasksFinished(done_keys, done, 1, 1.0),
            ch.CallbacksAdded(1, [owed], 1.0),
            ch.ResultsEvicted(DONE[5:]),
        ]
    )
    asyncio.run(store.commit())
    store.close()
    return directory


def read_all(directory):
    """Open a store, begin with it as a control plane does, and read all of it.

    Raises:
        StoreError: it can't be trusted; what was there is as it was.
    """
    path = directory / DATABASE_NAME
    before = hashlib.sha256(path.read_bytes()).digest()
    try:
        store = SqliteStore(directory)
    except StoreError:
        assert hashlib.sha256(path.read_bytes()).digest() == before
        raise
    try:
        State(CoreLimits(), store.load(1.0), 0.0)
        known = [*IDS, *DONE, "unknown"]
        store.find_known(known)
        store.find_live(known)
        store.find_evicted(known)
        store.find_results(known)
        store.find_statuses(known)
        store.greatest_id()
        for lane_id in (1, 2):
            store.read_window(lane_id, 0, 1_000)
        store.read_payloads(KEYS)
        store.read_callbacks("tcp://127.0.0.1:9", 100, 1_000_000)
    finally:
        store.close()


def try_to_read(directory):
    try:
        read_all(directory)
    except StoreError as error:
        return str(error)
    return ""


@pytest.fixture
def again(whole, tmp_path):
    """Give a function that makes a fresh copy of the whole store."""

    def copy():
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "data")
        return tmp_path / "data"

    return copy


def test_a_store_with_nothing_wrong_is_read(again):
    read_all(again())


@few
@given(
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8
    )
)
def test_flipped_bytes_are_read_or_refused_and_what_is_refused_stays_as_it_is(again, flips):
    directory = again()
    data = bytearray((directory / DATABASE_NAME).read_bytes())
    for share, mask in flips:
        data[int(share * len(data))] ^= mask
    (directory / DATABASE_NAME).write_bytes(data)
    try_to_read(directory)


@few
@given(size=st.floats(0, 1), tail=st.binary(max_size=64))
def test_a_store_cut_off_anywhere_is_read_or_refused(again, size, tail):
    directory = again()
    data = (directory / DATABASE_NAME).read_bytes()
    (directory / DATABASE_NAME).write_bytes(data[: int(size * len(data))] + tail)
    try_to_read(directory)


COLUMNS = {
    "meta": ("name", "value"),
    "lanes": ("lane_id", "queue", "rank", "name", "live"),
    "tasks": (
        *("key", "task_id", "client", "submitted_at", "format", "attempt", "crashes"),
        *("callback_address", "callback_data", "payload"),
    ),
    "leases": ("key", "token", "worker"),
    "results": (
        *("task_id", "accessed", "recorded_at", "size", "status", "name", "attempt", "format"),
        *("started_at", "completed_at", "worker_id", "error", "traceback", "result"),
    ),
    "tombstones_0": ("task_id",),
    "callbacks": (
        *("number", "address", "owed_at", "task_id", "status", "started_at", "completed_at"),
        *("error", "data", "result"),
    ),
    "names": ("name",),
}
NEXT_TO_ANYTHING = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=10)
)


@played
@given(
    column=st.sampled_from([(table, one) for table, those in COLUMNS.items() for one in those]),
    value=NEXT_TO_ANYTHING,
    is_text=st.booleans(),
    strict=st.booleans(),
)
def test_rows_that_are_wrong_are_read_or_refused(again, column, value, is_text, strict):
    directory = again()
    table, name = column
    with_wrong_row(directory / DATABASE_NAME, table, name, value, is_text=is_text, strict=strict)
    try_to_read(directory)


def with_wrong_row(path, table, column, value, *, is_text, strict):
    """Put a value where it doesn't belong; unless `strict`, of any type, text that is none too."""
    connection = apsw.Connection(str(path))
    try:
        schema = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = ?", (table,)
        ).fetchone()[0]
        if not strict:
            loose = schema.replace("STRICT, ", "").replace("STRICT", "").replace(" NOT NULL", "")
            _set_schema(connection, table, loose)
        placeholder = "CAST(? AS TEXT)" if is_text and isinstance(value, bytes) else "?"
        try:
            connection.execute(
                f"UPDATE OR IGNORE {table} SET {column} = {placeholder}"
                f" WHERE {column} IN (SELECT {column} FROM {table} LIMIT 1)",
                (value,),
            )
        except apsw.Error:
            return  # the table won't have it
        finally:
            _set_schema(connection, table, schema)
    finally:
        connection.close()


def _set_schema(connection, table, schema):
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    connection.pragma("writable_schema", 1)
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (schema, table))
    connection.pragma("writable_schema", "reset")
