"""Own the loading of task modules: from dotted names and files, into a registry of their tasks."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from fastqueue.errors import TaskImportError, TaskNameConflict
from fastqueue.tasks.registry import TaskDefinition, TaskRegistry, default_registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["load_task_modules"]

_logger = logging.getLogger(__name__)


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
