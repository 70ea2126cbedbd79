from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import logging
import sys
from pathlib import Path

import pytest

from fastqueue.errors import ConfigurationError, TaskImportError, TaskNameConflict
from fastqueue.tasks.loading import load_task_modules
from fastqueue.tasks.policies import ProcessPolicy
from fastqueue.tasks.registry import (
    TaskDefinition,
    TaskRegistry,
    default_registry,
    task,
    task_name_of,
)


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    """Give each test an empty default registry, and a `sys.path` and `sys.modules` of its own."""
    monkeypatch.setattr(default_registry, "_definitions", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make the current directory an empty project, and return what writes a file in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(path: str, text: str) -> Path:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


numbers = itertools.count()


@pytest.fixture
def module_name():
    """Return a module name that no other test uses."""
    return f"tasks_of_test_{next(numbers)}"


ADD = "from fastqueue.tasks.registry import task\n"
ADD += "@task\ndef add(a, b):\n    return a + b\n"


class TestDecorator:
    def test_it_returns_the_function_itself_under_its_own_name(self):
        def add(a: int, b: int) -> int:
            """Add two numbers.

            And say no more.
            """
            return a + b

        assert task(add) is add
        assert add(1, 2) == 3
        assert default_registry.get("add") == TaskDefinition(
            name="add", function=add, executor="thread", module=__name__, doc="Add two numbers."
        )
        assert add.__fastqueue_task__ is default_registry.get("add")

    def test_a_coroutine_function_stays_one_and_runs_on_the_loop(self):
        @task
        async def fetch() -> None: ...

        assert inspect.iscoroutinefunction(fetch)
        assert default_registry.get("fetch").executor == "coroutine"

    @pytest.mark.parametrize(
        "decorate", [task("sum.up"), task(name="sum.up")], ids=["positional", "keyword"]
    )
    def test_it_takes_a_name(self, decorate):
        @decorate
        def add() -> None: ...

        assert default_registry.names() == ("sum.up",)
        assert add() is None

    def test_empty_parentheses_mean_the_own_name(self):
        @task()
        def add() -> None: ...

        assert default_registry.names() == ("add",)

    def test_a_name_given_twice_is_an_error(self):
        with pytest.raises(ConfigurationError, match="given once"):
            task("a", name="b")

    @pytest.mark.parametrize("name", ["", "x" * 201, "a b", "a\tb", "a\n", "\x00", "\u2028", 5])
    def test_a_name_that_can_not_be_one_is_an_error(self, name):
        with pytest.raises(ConfigurationError, match="can't be a task name"):
            task(name=name)(lambda: None)
        assert len(default_registry) == 0

    @pytest.mark.parametrize("name", ["x" * 200, "größe", "shop.mail:send-1"])
    def test_any_other_name_will_do(self, name):
        task(name)(lambda: None)
        assert default_registry.names() == (name,)

    def test_a_lambda_needs_a_name(self):
        with pytest.raises(ConfigurationError, match="has no name"):
            task(lambda: None)

    def test_a_partial_needs_a_name_and_runs_as_what_it_wraps(self):
        async def fetch(url: str) -> None: ...

        with pytest.raises(ConfigurationError, match="has no name"):
            task(functools.partial(fetch, "a"))
        task("fetch_a")(functools.partial(fetch, "a"))
        assert default_registry.get("fetch_a").executor == "coroutine"

    def test_a_task_may_have_processes_of_its_own_whatever_its_function(self):
        @task(executor="process", max_tasks_per_child=5, memory_limit=2**30)
        async def fetch() -> None: ...

        @task(executor="process")
        def add() -> None: ...

        assert {one.executor for one in default_registry} == {"process"}
        assert default_registry.get("add").process == ProcessPolicy()
        bounds = ProcessPolicy(tasks_max=5, memory_bytes_max=2**30)
        assert default_registry.get("fetch").process == bounds

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"executor": "thread"}, "executor='thread': it is \"process\", or left out"),
            ({"executor": "process", "max_tasks_per_child": 0}, "max_tasks_per_child=0"),
            ({"executor": "process", "memory_limit": 1024}, "memory_limit=1024"),
            ({"executor": "process", "memory_limit": 1e9}, "memory_limit=1000000000.0"),
            ({"memory_limit": 2**30}, "memory_limit is for tasks with executor"),
            ({"max_tasks_per_child": 1}, "max_tasks_per_child is for tasks with executor"),
        ],
    )
    def test_an_option_of_processes_that_can_not_be_is_an_error(self, options, why):
        with pytest.raises(ConfigurationError, match=why):
            task("add", **options)(lambda: None)
        assert len(default_registry) == 0

    def test_a_class_is_refused(self):
        with pytest.raises(ConfigurationError, match="it is a class"):

            @task
            class Worker: ...

    def test_a_generator_is_refused(self):
        with pytest.raises(ConfigurationError, match="it is a generator"):

            @task
            def each():
                yield 1

    def test_an_async_generator_is_refused(self):
        with pytest.raises(ConfigurationError, match="it is a generator"):

            @task
            async def each():
                yield 1

    @pytest.mark.parametrize("thing", [5, [], object()])
    def test_what_can_not_be_called_is_refused(self, thing):
        with pytest.raises(ConfigurationError, match="not callable"):
            task(thing)

    def test_a_builtin_is_refused_because_it_takes_no_attributes(self):
        with pytest.raises(ConfigurationError, match="wrap it in a def"):
            task(len)


class TestConflicts:
    def test_two_functions_with_one_name_are_refused_naming_both_places(self):
        @task("send")
        def send_mail() -> None: ...

        with pytest.raises(TaskNameConflict, match="'send'") as caught:

            @task("send")
            def send_letter() -> None: ...

        assert "send_mail" in str(caught.value)
        assert "send_letter" in str(caught.value)
        assert str(caught.value).count("test_registry.py:") == 2
        assert default_registry.get("send").function is send_mail

    def test_two_modules_with_one_name_are_refused(self, project, module_name):
        project(f"{module_name}_a.py", ADD)
        project(f"{module_name}_b.py", ADD)
        with pytest.raises(TaskNameConflict, match=rf"{module_name}_a\.add .*{module_name}_b\.add"):
            load_task_modules([f"{module_name}_a", f"{module_name}_b"])

    def test_the_same_function_may_be_registered_again(self):
        def add() -> None: ...

        task(add)
        task(add)
        assert len(default_registry) == 1

    def test_a_reloaded_module_replaces_its_functions(self, project, module_name):
        project(f"{module_name}.py", ADD)
        load_task_modules([module_name])
        old = default_registry.get("add").function
        project(f"{module_name}.py", "\n\n\n" + ADD)
        importlib.reload(sys.modules[module_name])
        new = default_registry.get("add").function
        assert new is not old
        assert new is sys.modules[module_name].add

    def test_the_main_twin_of_a_module_replaces_its_functions(self, project, module_name):
        file = project(f"{module_name}.py", ADD)
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": "__main__"})
        assert default_registry.get("add").module == "__main__"
        load_task_modules([module_name])
        assert default_registry.get("add").module == module_name


class TestRegistry:
    def test_it_lists_its_definitions_by_name(self):
        for name in ("b", "a", "c"):
            task(name)(functools.partial(print, name))
        assert default_registry.names() == ("a", "b", "c")
        assert [definition.name for definition in default_registry] == ["a", "b", "c"]
        assert len(default_registry) == 3

    def test_an_unknown_name_is_none(self):
        assert TaskRegistry().get("add") is None


class TestNameOf:
    def test_a_name_is_itself(self):
        assert task_name_of("add") == "add"

    def test_a_task_has_its_own(self):
        @task("sum.up")
        def add() -> None: ...

        assert task_name_of(add) == "sum.up"

    def test_an_undecorated_function_is_an_error_that_says_what_to_do(self):
        def add() -> None: ...

        with pytest.raises(ConfigurationError, match="decorate it with @task"):
            task_name_of(add)

    @pytest.mark.parametrize("wrong", ["", "x" * 201, 5, None])
    def test_anything_else_is_an_error(self, wrong):
        with pytest.raises(ConfigurationError):
            task_name_of(wrong)


class TestLoading:
    def test_a_module_of_the_current_directory_is_found(self, project, module_name):
        project(f"{module_name}.py", ADD)
        assert load_task_modules([module_name]) is default_registry
        assert default_registry.get("add").function(1, 2) == 3

    def test_a_modules_own_name_goes_before_an_installed_one_but_not_before_pythons(
        self, project, module_name
    ):
        project("sched.py", "raise ValueError")
        project("mypy.py", "mine = True")
        project(f"{module_name}.py", ADD + "import sched, mypy\nassert mypy.mine\n")
        load_task_modules([module_name])

    def test_loading_twice_changes_nothing(self, project, module_name):
        project(f"{module_name}.py", ADD)
        load_task_modules([module_name, module_name])
        load_task_modules([module_name])
        assert default_registry.names() == ("add",)
        assert sys.path.count(str(Path.cwd())) == 1

    def test_dotted_names_commas_and_spaces_are_taken(self, project, module_name):
        project(f"{module_name}/__init__.py", "")
        project(f"{module_name}/one.py", ADD)
        project(f"{module_name}/two.py", ADD.replace("add", "sub"))
        load_task_modules([f" {module_name}.one, {module_name}.two ,"])
        assert default_registry.names() == ("add", "sub")

    def test_a_file_is_imported_as_the_module_it_is(self, project, module_name):
        project(f"src/{module_name}/__init__.py", "")
        project(f"src/{module_name}/tasks.py", ADD + "from . import other\n")
        project(f"src/{module_name}/other.py", "")
        load_task_modules([f"src/{module_name}/tasks.py"])
        assert default_registry.get("add").module == f"{module_name}.tasks"

    def test_a_file_outside_the_current_directory_is_found(self, project, module_name, tmp_path):
        (tmp_path / "my tasks").mkdir()
        file = tmp_path / "my tasks" / f"{module_name}.py"
        file.write_text(ADD)
        load_task_modules([str(file)])
        assert default_registry.get("add").module == module_name

    def test_a_file_whose_module_name_is_taken_is_an_error(self, project):
        project("deep/json.py", ADD)
        with pytest.raises(TaskImportError, match=r"'json' is taken by .*rename the file"):
            load_task_modules(["deep/json.py"])

    @pytest.mark.parametrize("name", ["absent.py", "folder/absent.py", "folder/", "./absent"])
    def test_a_file_that_is_not_there_is_an_error(self, project, name):
        with pytest.raises(TaskImportError, match="there is no Python file"):
            load_task_modules([name])

    def test_a_module_that_is_not_there_is_an_error_naming_the_directory(self, project):
        with pytest.raises(TaskImportError, match="no module 'no_such_package'") as caught:
            load_task_modules(["no_such_package.tasks"])
        assert str(Path.cwd()) in str(caught.value)
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)

    @pytest.mark.parametrize(
        ("source", "cause"),
        [
            ("import no_such_dependency", ModuleNotFoundError),
            ("raise ValueError('boom')", ValueError),
            ("def", SyntaxError),
            ("import sys; sys.exit(3)", SystemExit),
        ],
    )
    def test_a_module_that_fails_to_import_is_an_error_with_its_cause(
        self, project, module_name, source, cause
    ):
        project(f"{module_name}.py", source)
        with pytest.raises(TaskImportError, match=f"{module_name!r} doesn't import") as caught:
            load_task_modules([module_name])
        assert isinstance(caught.value.__cause__, cause)

    @pytest.mark.parametrize("name", ["..tasks", "a..b", ".", "1 2"])
    def test_what_can_not_be_a_module_name_is_an_error(self, project, name):
        with pytest.raises(TaskImportError):
            load_task_modules([name])

    def test_an_interrupt_while_importing_is_not_hidden(self, project, module_name):
        project(f"{module_name}.py", "raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            load_task_modules([module_name])

    def test_a_module_without_tasks_is_warned_about(self, project, module_name, caplog):
        project(f"{module_name}.py", "")
        with caplog.at_level(logging.WARNING):
            load_task_modules([module_name])
        assert f"{module_name} defines no tasks" in caplog.text

    def test_a_package_that_imports_its_tasks_is_not_warned_about(
        self, project, module_name, caplog
    ):
        project(f"{module_name}/__init__.py", "from . import tasks")
        project(f"{module_name}/tasks.py", ADD)
        for _ in range(2):
            load_task_modules([module_name])
        assert not caplog.records
        assert default_registry.names() == ("add",)

    def test_a_registry_of_ones_own_gets_what_the_modules_define(self, project, module_name):
        @task
        def unrelated() -> None: ...

        project(f"{module_name}.py", ADD)
        mine = load_task_modules([module_name], TaskRegistry())
        again = load_task_modules([module_name], TaskRegistry())
        assert mine.names() == again.names() == ("add",)

    def test_a_lazy_proxy_in_a_module_is_not_touched(self, project, module_name):
        proxy = "class Proxy:\n    def __getattr__(self, name):\n"
        proxy += "        raise RuntimeError('outside')\nproxy = Proxy()\n"
        project(f"{module_name}.py", ADD + proxy)
        load_task_modules([module_name])
        assert default_registry.names() == ("add",)
