"""Own which task definitions this process knows: `@task` and the registry.

Users decorate functions; the subworker loads the modules and looks definitions up by name; the
client only needs the name of a decorated function.
"""

from __future__ import annotations

import inspect
import logging
import os
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeVar,
    Unpack,
    get_args,
    overload,
)

from fastqueue.errors import ConfigurationError, TaskNameConflict
from fastqueue.tasks.policies import (
    DEFAULT_QUEUE,
    NO_LIMITS,
    DefinitionOptions,
    Delivery,
    ProcessPolicy,
    RetryPolicy,
    TimeLimits,
    check_queue,
    process_policy_of,
    retry_policy_of,
    time_limits_of,
)
from fastqueue.tasks.run_policies import NO_RUN_POLICY, RunPolicy, run_policy_of
from fastqueue.tasks.scheduling import SchedulePolicy, schedule_policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

__all__ = [
    "TASK_NAME_LENGTH_MAX",
    "TaskDefinition",
    "TaskRegistry",
    "default_registry",
    "queue_of",
    "task",
    "task_name_of",
]

_logger = logging.getLogger(__name__)

TASK_NAME_LENGTH_MAX = 200

_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """Say what a task's name stands for.

    Attributes:
        name: the name under which it is submitted.
        function: what is called.
        executor: `coroutine` (on the subworker's loop), `thread` (in its thread pool) or `process`
            (in a child process).
        module: the module that defines the function.
        doc: the first line of the function's docstring, or an empty text.
        delivery: `at_least_once`, or `at_most_once` for a task that is never to be run twice.
        queue: where its tasks wait, if the submission doesn't say.
        retry: when it is tried again after a failure.
        limits: how long an attempt may run.
        process: what bounds its processes, if it runs in some.
        schedule: when it is run by itself, if it is.
        run: how many of its tasks may run at once, and begin in a time.
    """

    name: str
    function: Callable[..., Any]
    executor: Literal["coroutine", "thread", "process"]
    module: str
    doc: str = ""
    delivery: Delivery = "at_least_once"
    queue: str = DEFAULT_QUEUE
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: TimeLimits = NO_LIMITS
    process: ProcessPolicy | None = None
    schedule: SchedulePolicy | None = None
    run: RunPolicy = NO_RUN_POLICY

    @property
    def place(self) -> str:
        """Return where the function is written: module, name, file and line."""
        code = _code_of(self.function)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        return f"{self.module}.{_qualified_name(self.function)}{where}"

    def replaces(self, older: TaskDefinition) -> bool:
        """Say whether this is `older`'s function again.

        It is when its module was reloaded, when a notebook's cell ran again, and when a file is
        both the program (`__main__`) and a module that something imports.
        """
        if self.function is older.function:
            return True
        if _qualified_name(self.function) != _qualified_name(older.function):
            return False
        if self.module == older.module:
            return True
        ours, theirs = _code_of(self.function), _code_of(older.function)
        if ours is None or theirs is None:
            return False
        return os.path.realpath(ours.co_filename) == os.path.realpath(theirs.co_filename)


def _code_of(function: Callable[..., Any]) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)


def _qualified_name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


class TaskRegistry:
    """Hold task definitions by name."""

    def __init__(self) -> None:
        self._definitions: dict[str, TaskDefinition] = {}

    def register(self, definition: TaskDefinition) -> None:
        """Add a definition; the same function registered again replaces its older self.

        Raises:
            TaskNameConflict: another function has this name already.
        """
        older = self._definitions.get(definition.name)
        if older is not None and not definition.replaces(older):
            raise TaskNameConflict(
                f"two functions claim the task name {definition.name!r}: {older.place} and "
                f'{definition.place}; give one of them another, as in @task("another_name")'
            )
        self._definitions[definition.name] = definition

    def get(self, name: str) -> TaskDefinition | None:
        """Return the definition with this name, or None."""
        return self._definitions.get(name)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._definitions))

    def __len__(self) -> int:
        return len(self._definitions)

    def __iter__(self) -> Iterator[TaskDefinition]:
        """Iterate over the definitions, in the order of their names."""
        return iter([self._definitions[name] for name in self.names()])


default_registry = TaskRegistry()


@overload
def task(function: _Function, /) -> _Function: ...


@overload
def task(
    name: str, /, **options: Unpack[DefinitionOptions]
) -> Callable[[_Function], _Function]: ...


@overload
def task(
    *, name: str | None = None, **options: Unpack[DefinitionOptions]
) -> Callable[[_Function], _Function]: ...


def task(
    target: Any = None, /, *, name: str | None = None, **options: Unpack[DefinitionOptions]
) -> Any:
    """Make a function a task: `@task`, `@task("name")` or `@task(name="name")`.

    The function is returned as it is and can still be called directly. A coroutine function runs
    on the subworker's event loop, a plain one in its thread pool.

    Args:
        target: the function, or its task's name.
        name: the task's name; the function's own by default.
        delivery: `at_least_once` runs a task again if its subworker dies with it. `at_most_once`
            never does: such a task fails, since nobody can tell how far it came.
        queue: where its tasks wait, if the submission doesn't say: "default".
        retries: how often it is tried again after a failure: 0. Where the subworker's process died
            doesn't count.
        backoff: the wait before the first retry, in seconds or as a timedelta: 1 second. It is
            doubled each time.
        backoff_max: the longest such wait: 10 minutes.
        jitter: whether up to half of each wait is taken off at random: yes.
        retry_on: the errors that are tried again, one type or a tuple: `Exception`.
        no_retry_on: the ones among them that aren't: none.
        soft_time_limit: how long an attempt may run before `SoftTimeLimit` is raised in it, which
            it may catch, in seconds or as a timedelta: none.
        time_limit: how long it may run before it is ended: none. The attempt has failed then, and
            is tried again as after any other failure.
        executor: "process" runs it in a child process of the subworker, for what computes, crashes
            or must be stopped; a coroutine function then has an event loop there.
        max_tasks_per_child: how many tasks such a process runs before it is replaced: any number.
        memory_limit: how much memory of its own such a process may use, in bytes: all there is. One
            that uses more is killed, which counts as a crash.
        cron: when it is run by itself, without arguments, by the control plane that its subworkers
            serve: five fields, or six with seconds first, as in `"*/5 * * * *"`.
        timezone: the IANA name of the zone that `cron` is read in: "UTC".
        every: the interval instead of `cron`, as a timedelta or in seconds.
        anchor: a time from which whole intervals are counted, an aware datetime: `start`, or else
            1970 began in UTC, so that `every=timedelta(hours=1)` fires on the hour.
        start: the first time at which it may fire, an aware datetime.
        end: the last such time.
        count: how often it fires in all.
        run_jitter: by how much each run is put off, at most, as a timedelta or in seconds.
        missed: what becomes of runs that came due in an outage of more than a minute: "skip", "one"
            (the newest) or "all" (those of `missed_window`): "skip".
        missed_window: how far back "all" goes, as a timedelta or in seconds: an hour.
        overlap: what becomes of a run while the one before isn't over: "allow", "skip" (it is left
            out) or "cancel" (the one before is cancelled): "allow".
        concurrency: how many of its tasks run at once, over all subworkers: any number.
        rate: how many begin, as in "10/s", "100/m" or "100/m burst 10": any number.
        concurrency_per_key: how many run at once of each `fair_key`: any number.
        rate_per_key: how many begin of each `fair_key`: any number.

    Raises:
        ConfigurationError: an option can't be what it is, the name can't be one, or this can't be a
            task function.
        TaskNameConflict: another function has this name already.
    """
    if target is not None and name is not None:
        raise ConfigurationError(
            f"@task was given both {target!r} and name={name!r}; the task name is given once"
        )
    if target is None or isinstance(target, str):
        chosen = name if target is None else target

        def decorate(function: _Function) -> _Function:
            return _register(function, chosen, options)

        return decorate
    return _register(target, None, options)


def _register(function: _Function, name: str | None, options: DefinitionOptions) -> _Function:
    _check_function(function)
    if unknown := sorted(options.keys() - DefinitionOptions.__optional_keys__):
        raise ConfigurationError(
            f"@task has no option {unknown[0]!r}; it has "
            f"{', '.join(DefinitionOptions.__annotations__)}"
        )
    delivery = options.get("delivery", "at_least_once")
    if delivery not in get_args(Delivery):
        raise ConfigurationError(
            f"@task(delivery={delivery!r:.100}): it is one of {', '.join(get_args(Delivery))}"
        )
    if name is None:
        name = getattr(function, "__name__", None)
        if name is None or name == "<lambda>":
            raise ConfigurationError(f'{function!r} has no name: give one, as in @task("name")')
    _check_name(name)
    process = process_policy_of(options)
    of_function: Literal["coroutine", "thread"] = (
        "coroutine" if inspect.iscoroutinefunction(function) else "thread"
    )
    definition = TaskDefinition(
        name=name,
        function=function,
        executor=of_function if process is None else "process",
        module=getattr(function, "__module__", None) or "?",
        doc=(inspect.getdoc(function) or "").partition("\n")[0],
        delivery=delivery,
        queue=check_queue(options.get("queue", DEFAULT_QUEUE)),
        retry=retry_policy_of(options),
        limits=time_limits_of(options),
        process=process,
        schedule=schedule_policy_of(options, function),
        run=run_policy_of(options),
    )
    try:
        function.__fastqueue_task__ = definition  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise ConfigurationError(
            f"{function!r} can't be a task: it takes no attributes; wrap it in a def"
        ) from None
    default_registry.register(definition)
    return function


def _check_function(function: object) -> None:
    if isinstance(function, type):
        what = "a class; decorate a function that makes or calls it"
    elif not callable(function):
        what = "not callable; decorate a function"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        what = "a generator; return a list, or submit one task for each item"
    else:
        return
    raise ConfigurationError(f"{function!r} can't be a task: it is {what}")


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        why = "it is not text"
    elif not name:
        why = "it is empty"
    elif len(name) > TASK_NAME_LENGTH_MAX:
        why = f"it has {len(name)} characters, and may have {TASK_NAME_LENGTH_MAX}"
    elif " " in name or not name.isprintable():
        why = "it has a space or an unprintable character in it"
    else:
        return
    raise ConfigurationError(f"{name!r:.250} can't be a task name: {why}")


def task_name_of(name_or_task: str | Callable[..., Any]) -> str:
    """Return the task name that is given or that a decorated function has.

    Raises:
        ConfigurationError: it is neither a possible name nor a function decorated with `@task`.
    """
    if isinstance(name_or_task, str):
        _check_name(name_or_task)
        return name_or_task
    definition = getattr(name_or_task, "__fastqueue_task__", None)
    if isinstance(definition, TaskDefinition):
        return definition.name
    if callable(name_or_task):
        raise ConfigurationError(
            f"{name_or_task!r} is not a task: decorate it with @task, or give the task's name"
        )
    raise ConfigurationError(
        f"{name_or_task!r:.250} is neither a task name nor a function decorated with @task"
    )


def queue_of(name_or_task: str | Callable[..., Any], offered: str = "") -> str:
    """Return the queue of a decorated function's definition; of a name, the one that is offered."""
    if isinstance(name_or_task, str):
        return offered or DEFAULT_QUEUE
    definition: TaskDefinition = name_or_task.__fastqueue_task__  # type: ignore[attr-defined]
    return definition.queue
