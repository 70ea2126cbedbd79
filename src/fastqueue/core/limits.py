"""Own every bound of the queue, in one place, with the reason for its size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CoreLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreLimits:
    """Bound what the core holds and how long it waits.

    Attributes:
        live_tasks_max: tasks that aren't terminal, in memory or only stored; past it submissions
            are refused as overloaded.
        lanes_max: distinct (queue, priority, task name, fair key) lanes; bounds what a flood of
            invented task names or fair keys can cost, about 2 KB each.
        lanes_idle_max: lanes without a task that are kept; past it all of them are dropped.
        queues_max: queues that have settings of their own.
        run_limits_max: run limits, set by somebody or told by subworkers.
        purge_max: tasks that one step of a purge cancels; a turn has others to serve.
        uniques_max: unique keys that are held at one time; those that end first are let go.
        window_max: ready tasks of one lane held in memory; the rest stay in the store.
        window_total: ready tasks of all lanes held in memory; shared out among the lanes.
        window_min: what a lane gets however many lanes share `window_total`.
        retained_max: results kept for queries; the least recently accessed go first.
        retained_bytes_max: the same bound in bytes of results, so that few huge ones fit the disk.
        dead_letters_max: failed tasks kept to be queued again; the oldest go first.
        dead_letters_bytes_max: the same bound in bytes of arguments, near enough.
        retained_ttl_s: how long after completion a result is kept, in seconds.
        batches_max: batches remembered, some 300 bytes each in memory; the longest finished go
            first, and if none is finished a new one is refused.
        batches_ttl_s: how long a batch is remembered after it last had a live task, in seconds; a
            week, so that somebody who comes back from a few free days still finds it.
        tombstones_max: ids remembered after their result is evicted; at least the last half of
            it, in two generations. A submission that is resent later than that runs again, so
            this must cover what is evicted in the longest time a client goes on resending.
        disk_free_min: free bytes below which nothing new is accepted. A turn writes up to 32 MiB of
            submissions, once into the log and once into the database; as much again is left for
            the results of what runs.
        payload_bytes_max: size of one task's encoded arguments.
        lease_bytes_max: payload bytes leased to one subworker at one time; a payload that is larger
            by itself is leased alone.
        crashes_max: subworkers that died with a task before it is quarantined.
        callbacks_max: callbacks waiting to be delivered.
        callback_addresses_max: distinct addresses they wait for.
        callback_deliveries_max: addresses to which callbacks are being sent at one time.
        waiting_read_max: tasks that are due, or have expired, that are read from the store at one
            time; a turn has others to serve.
        schedules_max: schedules, those of task definitions included. All are in memory, and each
            costs some computing for each of its runs.
        schedules_bytes_max: bytes of all their arguments, which are in memory too.
        schedule_runs_max: runs of schedules that one turn submits; a turn has others to serve.
        watched_max: ids one client session may watch that it didn't submit.
        followed_max: tasks one client session may follow at one time.
        told_max: tasks of which the last progress and the last lines are held.
        told_lines_max: lines of one task that are held for whoever comes late.
        told_bytes_max: characters of lines of all tasks; those that told last are held.
        checkpoints_bytes_max: bytes of the checkpoints of all live tasks, on disk.
        session_grace_s: how long the tasks of a subworker whose connection ended wait for it to
            come back before they are leased again. The promise is 3 s; detection of the end and
            the lease itself take their share of it.
        adoption_grace_s: the same after a restart of the control plane, when every subworker has
            to find it again.
        silence_max_s: how long a connected subworker may not be heard of before it is given up: its
            host vanished, or its process was stopped. Its heartbeats come about every 2 s.
        catch_up_s: how late a look for silent subworkers may be; a later one is put off by as long,
            because what they sent meanwhile may be unread.
        blocked_grace_s: how long the tasks of a subworker without a session wait from a heartbeat
            that says that its event loop is blocked; longer than from one heartbeat to the next.
        recovery_pause_s: how long nothing is leased after a crash of the control plane. A lease
            made in its last moments isn't in the store; meanwhile the subworker that has it comes
            back and is adopted, and the task isn't run a second time.
        unoffered_grace_s: how long a task waits that no connected subworker offers before the log
            says so: time for a fleet that starts together, or for a subworker to be replaced.
        offered_bytes_max: bytes of what connected subworkers tell of the definitions that they
            offer, each different one counted once; past it only their names are known.
        offers_pushed_bytes_max: up to so many bytes all of it is pushed to every client; each then
            asks for the names that it uses. With `offers_pause_s` it bounds what many subworkers
            that come and go cost with many clients.
        offers_pause_s: the least time between two such pushes.
        callback_backoff_s: the wait after the first failed delivery to an address; doubled each
            time.
        callback_backoff_max_s: the longest such wait.
    """

    live_tasks_max: int = 50_000_000
    lanes_max: int = 50_000
    lanes_idle_max: int = 5_000
    queues_max: int = 1_000
    run_limits_max: int = 20_000
    purge_max: int = 1_000
    uniques_max: int = 10_000_000
    window_max: int = 4_096
    window_total: int = 16_384
    window_min: int = 4
    retained_max: int = 10_000
    retained_bytes_max: int = 4 * 1024**3
    dead_letters_max: int = 10_000
    dead_letters_bytes_max: int = 1024**3
    retained_ttl_s: float = 3600.0
    batches_max: int = 10_000
    batches_ttl_s: float = 7 * 24 * 3600.0
    tombstones_max: int = 2_000_000
    disk_free_min: int = 128 * 1024**2
    payload_bytes_max: int = 16 * 1024**2
    lease_bytes_max: int = 32 * 1024**2
    crashes_max: int = 3
    callbacks_max: int = 1_000_000
    callback_addresses_max: int = 100_000
    callback_deliveries_max: int = 64
    waiting_read_max: int = 1_000
    schedules_max: int = 10_000
    schedules_bytes_max: int = 64 * 1024**2
    schedule_runs_max: int = 200
    watched_max: int = 100_000
    followed_max: int = 1_000
    told_max: int = 10_000
    told_lines_max: int = 100
    told_bytes_max: int = 16 * 1024**2
    checkpoints_bytes_max: int = 4 * 1024**3
    session_grace_s: float = 1.0
    adoption_grace_s: float = 5.0
    silence_max_s: float = 10.0
    catch_up_s: float = 2.0
    blocked_grace_s: float = 5.0
    recovery_pause_s: float = 1.0
    unoffered_grace_s: float = 2.0
    offered_bytes_max: int = 32 * 1024**2
    offers_pushed_bytes_max: int = 32 * 1024
    offers_pause_s: float = 1.0
    callback_backoff_s: float = 0.2
    callback_backoff_max_s: float = 30.0

    @property
    def isolate_after_crashes(self) -> int:
        """Return how many subworkers may die with a task before it is run alone.

        None of its crashes proves anything while others run beside it; so it comes before
        `crashes_max`, if that leaves room.
        """
        return max(1, min(2, self.crashes_max - 1))
