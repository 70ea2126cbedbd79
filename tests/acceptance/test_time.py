"""Real processes and tasks that wait for a time: retried, started later, expired, queued again."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from cli_site import say, serve

from fastqueue.errors import ConfigurationError
from harness import LONG_S, bounded, eventually

TASKS = """
import os, time
from fastqueue import Cancel, Retry, task

# One write each, at the end of the file, whoever else writes: no line is lost or torn.
ledger = os.open("ledger.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(*words):
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())

def tries(name):
    note(name, time.time())
    with open("ledger.txt") as lines:
        return sum(line.split()[0] == name for line in lines)

@task(retries=2, backoff=0.1, jitter=False)
def flaky(name, good):
    n = tries(name)
    if n < good:
        raise ValueError(f"try {n}")
    return n

@task
def later(name, after):
    n = tries(name)
    if n == 1:
        raise Retry("not yet", after=after)
    return n

@task(retries=5)
def unwanted(name):
    tries(name)
    raise Cancel("nobody wants it")

@task(retries=5, backoff=0, retry_on=OSError, no_retry_on=FileNotFoundError)
def picky(name, kind):
    tries(name)
    raise {"missing": FileNotFoundError, "timeout": TimeoutError, "value": ValueError}[kind](name)

@task
async def mark(name):
    note(name, time.time())
    return name

@task
def send(to):
    if not os.path.exists("repaired"):
        raise ConnectionError(f"no way to {to}")
    return f"sent to {to}"

@task
def charge(amount, *, currency):
    if not os.path.exists("repaired"):
        raise ConnectionError("no bank")
    return [amount, currency]
"""

# What rounding a time to microseconds may take away.
ROUNDING_S = 0.001


@pytest.fixture
def project(site):
    site.write("tasks.py", TASKS)
    return site


def times(site, name):
    """Return when a task ran, by the wall clock, in order."""
    return [float(words[1]) for words in site.ledger() if words[0] == name]


async def outcome(client, task_id):
    [result] = await outcomes(client, [task_id])
    return result


async def outcomes(client, task_ids):
    """Return the results of tasks in the order of their ids."""
    found = {r.task_id: r async for r in client.as_completed(task_ids, timeout=LONG_S)}
    return [found[task_id] for task_id in task_ids]


async def status_is(client, task_id, status):
    async def look():
        return (await client.get_task_result(task_id)).status == status

    await eventually(look, f"{task_id} to be {status}")


# -- retries


async def test_a_task_that_fails_is_tried_again_and_every_attempt_is_listed(project):
    await serve(project)
    client = await project.client()
    task_id = await client.delay("flaky", "a", 3)
    result = await outcome(client, task_id)
    assert (result.status, result.result, result.attempt) == ("success", 3, 3)

    attempts = await client.attempts(task_id)
    assert [(one.attempt, one.error) for one in attempts] == [
        (1, "ValueError: try 1"),
        (2, "ValueError: try 2"),
    ]
    ends = [one.completed_at for one in attempts]
    starts = [attempts[1].started_at, result.started_at]
    for end, start, wait_s in zip(ends, starts, (0.1, 0.2), strict=True):
        assert (start - end).total_seconds() > wait_s - ROUNDING_S, "the wait is doubled"

    said = await say(project, "status", "--task-id", task_id, "--json")
    document = json.loads(said.out)
    assert (said.code, document["status"], document["attempt"]) == (0, "success", 3)
    assert [one["error"] for one in document["attempts"]] == [one.error for one in attempts]
    assert 'raise ValueError(f"try {n}")' in document["attempts"][0]["traceback"]
    said = await say(project, "status", "--task-id", task_id)
    assert said.code == 0
    rows = [line for line in said.out.splitlines() if "ValueError: try" in line]
    assert [row.split()[0] for row in rows] == ["1", "2"]


async def test_a_task_that_goes_on_failing_fails_after_its_retries_or_those_asked_for(project):
    await serve(project)
    said = await say(project, "submit", "--task-name=flaky", "--args", "a", "9", "--json")
    document = json.loads(said.out)
    assert (said.code, document["status"], document["attempt"]) == (1, "failure", 3)
    assert document["error"] == "ValueError: try 3"
    said = await say(
        project,
        *("submit", "--task-name=flaky", "--args", "b", "9", "--json"),
        *("--retries=5", "--backoff=0.01", "--backoff-max=0.02"),
    )
    assert json.loads(said.out)["attempt"] == 6
    said = await say(
        project, "submit", "--task-name=flaky", "--args", "c", "9", "--json", "--retries=0"
    )
    assert json.loads(said.out)["attempt"] == 1


async def test_a_task_says_itself_when_it_is_tried_again_and_that_it_isnt(project):
    await serve(project)
    client = await project.client()
    wait_s = 0.5
    result = await client.submit_task("later", ("a", wait_s))
    assert (result.status, result.attempt) == ("success", 2)
    first, second = times(project, "a")
    assert second - first > wait_s

    result = await client.submit_task("unwanted", ("b",))
    assert (result.status, result.attempt) == ("cancelled", 1)
    assert "nobody wants it" in result.error
    said = await say(project, "submit", "--task-name=unwanted", "--args", "c")
    assert (said.code, said.out) == (1, "")
    assert "was cancelled: Cancel: nobody wants it" in said.err


async def test_only_errors_of_the_kinds_that_pass_are_tried_again(project):
    await serve(project)
    client = await project.client()
    tried = {
        kind: (await client.submit_task("picky", (kind, kind))).attempt
        for kind in ("timeout", "missing", "value")
    }
    assert tried == {"timeout": 6, "missing": 1, "value": 1}


# -- eta, countdown, expires, queue


async def test_a_task_starts_at_its_eta_and_not_before(project):
    await serve(project)
    client = await project.client()
    wait_s = 2.0
    # In any time zone, for it is one moment.
    zone = datetime.now(UTC).astimezone().tzinfo
    eta = datetime.now(zone) + timedelta(seconds=wait_s)
    task_id = await client.options(eta=eta).delay("mark", "eta")
    assert (await client.get_task_result(task_id)).status == "scheduled"
    assert (await client.inspect())["delayed"] == 1
    assert (await outcome(client, task_id)).status == "success"
    [ran] = times(project, "eta")
    assert 0 <= ran - eta.timestamp() < wait_s

    said = await say(
        project,
        *("submit", "--task-name=mark", "--args", "cli", "--non-blocking", "--json"),
        f"--eta={(datetime.now(UTC) + timedelta(hours=1)).isoformat()}",
    )
    document = json.loads(said.out)
    assert document["status"] == "scheduled"
    assert (await say(project, "cancel", "--task-id", document["task_id"])).code == 0
    before = time.time()
    said = await say(
        project, "submit", "--task-name=mark", "--args", "cli", f"--countdown={wait_s}"
    )
    assert (said.code, said.out) == (0, "cli\n")
    [ran] = times(project, "cli")
    assert ran - before > wait_s


async def test_a_time_of_no_time_zone_is_refused(project):
    client = await project.client(timeout=1)
    with pytest.raises(ConfigurationError, match="naive"):
        client.options(eta=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    said = await say(project, "submit", "--task-name=mark", "--eta=2030-01-01T09:30:00")
    assert (said.code, said.out) == (2, "")
    assert "give it an offset from UTC, such as" in said.err


async def test_a_task_that_isnt_started_before_it_expires_is_cancelled_wherever_it_waits(project):
    await project.control_plane()  # with nobody to run anything
    client = await project.client()
    queued = await client.options(expires=0.2).delay("mark", "queued")
    scheduled = await client.options(countdown=3600, expires=0.2).delay("mark", "scheduled")
    in_time = await client.options(expires=timedelta(hours=1)).delay("mark", "in-time")
    for result in await outcomes(client, [queued, scheduled]):
        assert result.status == "cancelled"
        assert result.error == "Expired: it wasn't started before its `expires` time"
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    for expires in ("0.3", soon):
        said = await say(
            project, "submit", "--task-name=mark", "--args", "cli", f"--expires={expires}"
        )
        assert (said.code, said.out) == (1, "")
        assert "was cancelled: Expired" in said.err

    project.subworker("worker")
    assert (await outcome(client, in_time)).status == "success"
    assert [words[0] for words in project.ledger()] == ["in-time"]


async def test_a_task_that_failed_isnt_tried_again_after_it_expires(project):
    await serve(project)
    client = await project.client()
    assert (await client.submit_task("mark", ("warm",))).status == "success"
    task_id = await client.options(expires=2).delay("later", "a", 3600)
    await status_is(client, task_id, "retrying")
    result = await outcome(client, task_id)
    assert (result.status, result.attempt) == ("cancelled", 1)
    assert result.error.startswith("Expired")
    assert len(times(project, "a")) == 1


async def test_a_task_waits_in_the_queue_that_is_asked_for(project):
    await project.control_plane()
    submit = ("submit", "--task-name=mark", "--args", "a", "--non-blocking")
    said = [await say(project, *submit, *options) for options in (("--queue=nightly",), ())]
    client = await project.client()
    lanes = (await client.inspect())["lanes"]
    assert sorted(lane["queue"] for lane in lanes) == ["default", "nightly"]
    project.subworker("worker")
    results = await outcomes(client, [one.out.strip() for one in said])
    assert [result.status for result in results] == ["success", "success"]


async def test_thousands_that_are_due_at_once_start_in_the_order_of_their_priority(project):
    await project.control_plane()
    project.subworker("worker", "--concurrency=1")
    client = await project.client()
    assert (await client.submit_task("mark", ("warm",))).status == "success"
    eta = datetime.now(UTC) + timedelta(seconds=5)
    due = client.options(eta=eta)
    priorities = ("low", "normal", "high", "critical")
    names = {p: [f"{p}-{n}" for n in range(1_000)] for p in priorities}
    batches = [
        await client.options(eta=eta, priority=p).submit_batch([("mark", (n,)) for n in names[p]])
        for p in priorities
    ]
    last = await due.delay("mark", "last-normal")
    assert (await client.inspect())["delayed"] == 4_001
    await outcomes(client, [*(task_id for batch in batches for task_id in batch), last])
    ran = [words[0] for words in project.ledger()][1:]
    assert ran == [
        *names["critical"],
        *names["high"],
        *names["normal"],
        "last-normal",
        *names["low"],
    ]
    [first] = times(project, "critical-0")
    assert first >= eta.timestamp()


# -- a control plane that is killed


async def test_what_waits_when_the_control_plane_is_killed_is_neither_lost_nor_early(project):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client = await project.client()
    wait_s = 4.0
    retried = await client.delay("later", "retried", wait_s)
    await status_is(client, retried, "retrying")
    etas = [datetime.now(UTC) + timedelta(seconds=wait_s + n / 100) for n in range(100)]
    waiting = [await client.options(eta=eta).delay("mark", f"m{n}") for n, eta in enumerate(etas)]
    assert (await client.inspect())["delayed"] == 101

    control_plane.kill()
    await project.control_plane()
    results = await outcomes(client, [retried, *waiting])
    assert [result.status for result in results] == ["success"] * 101
    assert [result.attempt for result in results] == [2, *[1] * 100]
    first, second = times(project, "retried")
    assert second - first > wait_s
    for n, eta in enumerate(etas):
        [ran] = times(project, f"m{n}")
        assert ran >= eta.timestamp()
    assert [one.error for one in await client.attempts(retried)] == ["Retry: not yet"]


async def test_what_comes_due_while_there_is_no_control_plane_starts_when_it_is_back(project):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client = await project.client()
    eta = datetime.now(UTC) + timedelta(seconds=2)
    ids = await client.options(eta=eta).submit_batch([("mark", (f"m{n}",)) for n in range(100)])
    expiring = await client.options(eta=eta, expires=eta).delay("mark", "expired")
    control_plane.kill()
    await eventually(lambda: datetime.now(UTC) > eta, "its time")
    await project.control_plane()
    results = await outcomes(client, [*ids, expiring])
    assert [result.status for result in results] == [*["success"] * 100, "cancelled"]
    assert all(len(times(project, f"m{n}")) == 1 for n in range(100))


# -- dead letters


async def test_dead_letters_are_listed_and_queued_again_by_id_name_queue_and_all(project):
    control_plane = await serve(project)
    client = await project.client()
    failing = [
        await client.options(queue="mail").delay("send", "ada"),
        await client.options(queue="mail", priority="high").delay("send", "bob"),
        await client.delay("charge", 5, currency="EUR"),
        await client.options(queue="night").delay("charge", 6, currency="EUR"),
        await client.delay("charge", 7, currency="EUR"),
    ]
    for task_id in failing:  # one after the other, as they are listed in the order of their ends
        assert (await outcome(client, task_id)).status == "failure"
    # They outlive the control plane.
    control_plane.kill()
    await serve(project, name="second")

    letters = [letter async for letter in client.dead_letters()]
    assert {letter.task_id for letter in letters} == set(failing)
    said = await say(project, "dead-letters", "--json")
    assert said.code == 0
    listed = {one["task_id"]: one for one in json.loads(said.out)}
    assert set(listed) == set(failing)
    bob = listed[failing[1]]
    assert (bob["name"], bob["queue"], bob["priority"]) == ("send", "mail", "high")
    assert (bob["error"], bob["attempt"]) == ("ConnectionError: no way to bob", 1)
    assert "no way to" in bob["traceback"]
    said = await say(project, "dead-letters", "--name=charge", "--queue=default", "--json")
    assert {one["task_id"] for one in json.loads(said.out)} == {failing[2], failing[4]}
    said = await say(project, "dead-letters", "--limit=2")
    assert said.code == 0
    assert said.out.count("ConnectionError") == 2
    assert "the oldest 2; there are more" in said.err

    project.touch("repaired")

    async def requeue(*options):
        said = await say(project, "requeue", *options, "--json")
        assert (said.code, said.err) == (0, "")
        made = json.loads(said.out)
        assert not set(made) & set(made.values())
        results = await outcomes(client, list(made.values()))
        assert {result.status for result in results} <= {"success"}
        return {old: result.result for old, result in zip(made, results, strict=True)}

    said = await say(project, "requeue", "--task-id", failing[0], "nope")
    assert said.code == 1
    old, arrow, new = said.out.split()
    assert (old, arrow) == (failing[0], "->")
    assert (await outcome(client, new)).result == "sent to ada"
    assert "task nope isn't queued again, for it is no dead letter" in said.err
    assert await requeue("--name=send") == {failing[1]: "sent to bob"}
    assert await requeue("--queue=night") == {failing[3]: [6, "EUR"]}
    assert await requeue("--all") == {failing[2]: [5, "EUR"], failing[4]: [7, "EUR"]}
    # The old id keeps its one result.
    assert (await client.get_task_result(failing[0])).status == "failure"

    said = await say(project, "requeue", "--all")
    assert (said.code, said.out) == (0, "")
    assert "no such dead letters" in said.err
    said = await say(project, "dead-letters", "--json")
    assert (said.code, json.loads(said.out)) == (0, [])


async def test_a_thousand_dead_letters_are_all_queued_again_each_once(project):
    await serve(project)
    client = await project.client()
    mail = client.options(queue="mail")
    ids = await mail.submit_batch([("send", (f"{n}",)) for n in range(1_000)])
    await outcomes(client, ids)
    project.touch("repaired")
    said = await say(project, "requeue", "--queue=mail")
    assert said.code == 0
    made = dict(line.split(" -> ") for line in said.out.splitlines())
    assert set(made) == set(ids)
    results = await bounded(outcomes(client, [made[task_id] for task_id in ids]))
    assert [result.result for result in results] == [f"sent to {n}" for n in range(1_000)]
    assert (await client.inspect())["dead_letters"] == 0
