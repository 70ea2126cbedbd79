"""Own which task definitions this process knows: `@task`, the registry, and loading task modules.

Users decorate functions; the subworker loads the modules and looks definitions up by name; the
client only needs the name of a decorated function.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from fastqueue.errors import ConfigurationError, TaskImportError, TaskNameConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType, ModuleType

__all__ = [
    "TASK_NAME_LENGTH_MAX",
    "TaskDefinition",
    "TaskRegistry",
    "default_registry",
    "load_task_modules",
    "task",
    "task_name_of",
]

_logger = logging.getLogger(__name__)

TASK_NAME_LENGTH_MAX = 200

Delivery = Literal["at_least_once", "at_most_once"]

_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """Say what a task's name stands for.

    Attributes:
        name: the name under which it is submitted.
        function: what is called.
        executor: `coroutine` (on the subworker's loop) or `thread` (in its thread pool).
        module: the module that defines the function.
        doc: the first line of the function's docstring, or an empty text.
        delivery: `at_least_once`, or `at_most_once` for a task that is never to be run twice.
    """

    name: str
    function: Callable[..., Any]
    executor: Literal["coroutine", "thread"]
    module: str
    doc: str = ""
    delivery: Delivery = "at_least_once"

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
    name: str, /, *, delivery: Delivery = "at_least_once"
) -> Callable[[_Function], _Function]: ...


@overload
def task(
    *, name: str | None = None, delivery: Delivery = "at_least_once"
) -> Callable[[_Function], _Function]: ...


def task(
    target: Any = None, /, *, name: str | None = None, delivery: Delivery = "at_least_once"
) -> Any:
    """Make a function a task: `@task`, `@task("name")` or `@task(name="name")`.

    The function is returned as it is and can still be called directly. A coroutine function runs
    on the subworker's event loop, a plain one in its thread pool.

    Args:
        target: the function, or its task's name.
        name: the task's name; the function's own by default.
        delivery: `at_least_once` runs a task again if its subworker dies with it. `at_most_once`
            never does: such a task fails, since nobody can tell how far it came.

    Raises:
        ConfigurationError: the delivery is neither, the name can't be one, or this can't be a task
            function.
        TaskNameConflict: another function has this name already.
    """
    if target is not None and name is not None:
        raise ConfigurationError(
            f"@task was given both {target!r} and name={name!r}; the task name is given once"
        )
    if target is None or isinstance(target, str):
        chosen = name if target is None else target

        def decorate(function: _Function) -> _Function:
            return _register(function, chosen, delivery)

        return decorate
    return _register(target, None, delivery)


def _register(function: _Function, name: str | None, delivery: Delivery) -> _Function:
    _check_function(function)
    if delivery not in get_args(Delivery):
        raise ConfigurationError(
            f"@task(delivery={delivery!r:.100}): it is one of {', '.join(get_args(Delivery))}"
        )
    if name is None:
        name = getattr(function, "__name__", None)
        if name is None or name == "<lambda>":
            raise ConfigurationError(f'{function!r} has no name: give one, as in @task("name")')
    _check_name(name)
    definition = TaskDefinition(
        name=name,
        function=function,
        executor="coroutine" if inspect.iscoroutinefunction(function) else "thread",
        module=getattr(function, "__module__", None) or "?",
        doc=(inspect.getdoc(function) or "").partition("\n")[0],
        delivery=delivery,
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


def load_task_modules(
    names: Sequence[str], registry: TaskRegistry = default_registry
) -> TaskRegistry:
    """Import task modules and register what they define.

    The current directory is on `sys.path` behind the standard library and before what is
    installed: a project's `queue.py` isn't to be taken for Python's.

    Args:
        names: `package.module`, several of them with commas between, or `path/to/file.py`.
        registry: where the definitions go, besides the default registry that `@task` fills.

    Returns:
        The same registry.

    Raises:
        TaskImportError: a module doesn't import; the cause is chained.
        TaskNameConflict: two functions claim one task name.
    """
    try:
        current = os.getcwd()
    except OSError as error:
        raise TaskImportError(
            "the current directory, where task modules are looked for first, is gone "
            f"({error.strerror}): go to one that is there"
        ) from None
    _put_on_path(current, 0)
    importlib.invalidate_caches()
    for name in (part.strip() for entry in names for part in entry.split(",")):
        if not name:
            continue
        before = {definition.name: definition for definition in default_registry}
        module = _import_file(name) if _names_a_file(name) else _import_module(name, name)
        new = [one for one in default_registry if before.get(one.name) is not one]
        definitions = _definitions_of(module, new)
        if not definitions:
            _logger.warning(
                "The task module %s defines no tasks: decorate its functions with @task", name
            )
        for definition in definitions:
            registry.register(definition)
    return registry


def _definitions_of(module: ModuleType, new: Sequence[TaskDefinition]) -> list[TaskDefinition]:
    """Return what importing the module brought, or would have, had it not been imported before."""
    found = {definition.name: definition for definition in new}
    for value in vars(module).values():
        # Only real functions are asked: a lazy proxy may run anything when it is touched.
        if type(value) is FunctionType:
            definition = vars(value).get("__fastqueue_task__")
            if isinstance(definition, TaskDefinition):
                found.setdefault(definition.name, definition)
    for definition in default_registry:
        if f"{definition.module}.".startswith(f"{module.__name__}."):
            found.setdefault(definition.name, definition)
    return [found[name] for name in sorted(found)]


def _put_on_path(folder: str, offset: int) -> None:
    """Put a folder on `sys.path`, `offset` places behind the standard library."""
    library = os.path.dirname(os.__file__)
    folders = (library, os.path.join(library, "lib-dynload"))
    behind = max((n + 1 for n, entry in enumerate(sys.path) if entry in folders), default=0)
    index = behind + offset
    if folder not in sys.path[: index + 1]:
        sys.path.insert(index, folder)


def _names_a_file(name: str) -> bool:
    return name.endswith(".py") or "/" in name or os.sep in name


def _import_file(name: str) -> ModuleType:
    """Import a file as the module it is: inside its package, if its folder is one."""
    path = Path(name).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise TaskImportError(
            f"task module {name!r}: there is no Python file {str(path)!r}; give a file.py or the "
            "dotted name of a module"
        )
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    # Second: the current directory comes before it.
    _put_on_path(str(folder), 1)
    module = _import_module(".".join(parts), name)
    loaded = getattr(module, "__file__", None)
    if loaded is None or Path(loaded).resolve() != path:
        raise TaskImportError(
            f"task module {name!r}: its module name {module.__name__!r} is taken by "
            f"{loaded or 'a built-in module'}; rename the file"
        )
    return module


def _import_module(module_name: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except TaskNameConflict:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module_name}.".startswith(f"{missing}."):
            raise _import_error(name, error) from error
        raise TaskImportError(
            f"task module {name!r} is not found: there is no module {missing!r} in the current "
            f"directory ({os.getcwd()}) or anywhere else on sys.path"
        ) from error
    except (Exception, SystemExit) as error:  # importing runs user code
        raise _import_error(name, error) from error


def _import_error(name: str, error: BaseException) -> TaskImportError:
    return TaskImportError(f"task module {name!r} doesn't import: {type(error).__name__}: {error}")
