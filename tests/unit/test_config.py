from __future__ import annotations

import ipaddress
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.config import (
    Address,
    ClientSettings,
    ControlPlaneSettings,
    SerializationFormat,
    SubworkerSettings,
    parse_address,
)
from fastqueue.errors import ConfigurationError

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
EVERY_PROCESS = pytest.mark.parametrize(
    "settings", [ClientSettings, ControlPlaneSettings, SubworkerSettings]
)


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    """Start each test in an empty directory, with no FASTQUEUE_* in the environment."""
    for name in [name for name in os.environ if name.startswith("FASTQUEUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str) -> str:
    Path(name).write_text(content, encoding="utf-8")
    return str(Path(name).absolute())


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("tcp://127.0.0.1:5550", Address(scheme="tcp", host="127.0.0.1", port=5550)),
            ("tcp://[::1]:65535", Address(scheme="tcp", host="::1", port=65535)),
            ("tcp://queue.example.org:1", Address(scheme="tcp", host="queue.example.org", port=1)),
            ("ipc:///run/queue.sock", Address(scheme="ipc", path="/run/queue.sock")),
            ("ipc://run/my queue.sock", Address(scheme="ipc", path="run/my queue.sock")),
        ],
    )
    def test_it_is_taken_apart_and_put_together_again(self, text, address):
        assert parse_address(text, setting="here") == address
        assert str(address) == text

    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_any_ip_address_and_port_come_back(self, host, port):
        address = Address(scheme="tcp", host=str(host), port=port)
        assert parse_address(str(address), setting="here") == address

    def test_spaces_around_it_are_ignored(self):
        assert str(parse_address(" tcp://h:1\n", setting="here")) == "tcp://h:1"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "127.0.0.1:5550",
            "http://127.0.0.1:5550",
            "TCP://127.0.0.1:5550",
            "tcp:/127.0.0.1:5550",
            "tcp://",
            "tcp://:5550",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:",
            "tcp://127.0.0.1:0",
            "tcp://127.0.0.1:65536",
            "tcp://127.0.0.1:-1",
            "tcp://127.0.0.1:\uff15",
            "tcp://127.0.0.1:1/path",
            "tcp://::1:5550",
            "tcp://[::1:5550",
            "tcp://[nonsense]:5550",
            "tcp://[]:5550",
            "tcp://*:5550",
            "tcp://a b:5550",
            "tcp://user@host:5550",
            "ipc://",
            "ipc://a\nb",
            "ipc://\ud800",
            None,
            5550,
        ],
    )
    def test_anything_else_is_an_error_with_the_setting_the_value_and_an_example(self, text):
        with pytest.raises(ConfigurationError, match="here ") as caught:
            parse_address(text, setting="here")
        assert repr(text) in str(caught.value)
        assert "tcp://127.0.0.1:5550" in str(caught.value)

    @given(st.text())
    def test_any_text_is_an_address_or_a_configuration_error(self, text):
        for prefix in ("", "tcp://", "ipc://", "tcp://[", "tcp://h:"):
            try:
                address = parse_address(prefix + text, setting="here")
            except ConfigurationError:
                continue
            assert parse_address(str(address), setting="here") == address

    def test_port_zero_is_taken_only_where_it_is_allowed(self):
        assert parse_address("tcp://h:0", setting="here", allow_port_zero=True).port == 0

    def test_a_path_longer_than_a_unix_socket_may_have_is_an_error(self):
        assert parse_address("ipc://" + "x" * 100, setting="here").path == "x" * 100
        for path in ("x" * 101, "é" * 51):
            with pytest.raises(ConfigurationError, match="may have 100"):
                parse_address("ipc://" + path, setting="here")

    @pytest.mark.parametrize(
        ("text", "loopback"),
        [
            ("tcp://127.0.0.1:1", True),
            ("tcp://127.9.9.9:1", True),
            ("tcp://[::1]:1", True),
            ("tcp://LocalHost:1", True),
            ("ipc:///run/queue.sock", True),
            ("tcp://0.0.0.0:1", False),
            ("tcp://[::]:1", False),
            ("tcp://10.0.0.1:1", False),
            ("tcp://localhost.example.org:1", False),
        ],
    )
    def test_it_says_whether_only_this_machine_can_reach_it(self, text, loopback):
        assert parse_address(text, setting="here").is_loopback is loopback


class TestDefaults:
    def test_those_of_the_client(self):
        assert ClientSettings.resolve() == ClientSettings(
            discovery_address="tcp://127.0.0.1:5550",
            control_plane_address=None,
            serialization_format=SerializationFormat.JSON,
            timeout_s=30.0,
            retries=3,
            result_cache_size=100_000,
            log_level="warning",
        )

    def test_those_of_the_control_plane(self):
        assert ControlPlaneSettings.resolve() == ControlPlaneSettings(
            worker_id="control-plane",
            base_address="tcp://127.0.0.1:5555",
            discovery_address="tcp://127.0.0.1:5550",
            data_dir=".fastqueue",
            durability="full",
            result_cache_size=10_000,
            result_cache_ttl_s=3600.0,
            disk_free_min=134_217_728,
            payload_bytes_max=16_777_216,
            max_crashes=3,
            callback_allow=LOOPBACK,
            callback_give_up_s=86_400.0,
            insecure=False,
            processes=None,
            log_level="info",
            task_modules=None,
            concurrency=None,
            grace_s=None,
            allow_pickle=None,
        )

    def test_those_of_the_subworker(self):
        assert SubworkerSettings.resolve() == SubworkerSettings(
            worker_id=f"{socket.gethostname()}-{os.getpid()}",
            control_plane_address=None,
            discovery_address="tcp://127.0.0.1:5550",
            concurrency=32,
            grace_s=30.0,
            allow_pickle=False,
            task_modules=(),
            processes=1,
            log_level="info",
        )


class TestWhereASettingComesFrom:
    def test_an_argument_wins_over_the_environment_the_file_and_the_default(self, monkeypatch):
        assert ClientSettings.resolve().timeout_s == 30
        write("pyproject.toml", "[tool.fastqueue]\ntimeout = 1")
        assert ClientSettings.resolve().timeout_s == 1
        write("fastqueue.toml", "timeout = 2")
        assert ClientSettings.resolve().timeout_s == 2
        write("fastqueue.toml", "timeout = 2\n[client]\ntimeout = 3")
        assert ClientSettings.resolve().timeout_s == 3
        monkeypatch.setenv("FASTQUEUE_TIMEOUT", "4")
        assert ClientSettings.resolve().timeout_s == 4
        assert ClientSettings.resolve(timeout=5).timeout_s == 5

    def test_none_means_not_given(self, monkeypatch):
        monkeypatch.setenv("FASTQUEUE_RETRIES", "7")
        assert ClientSettings.resolve(retries=None, timeout=None).retries == 7

    def test_an_empty_variable_means_not_given(self, monkeypatch):
        monkeypatch.setenv("FASTQUEUE_RETRIES", " ")
        assert ClientSettings.resolve().retries == 3

    def test_a_wrong_value_that_is_overridden_does_no_harm(self, monkeypatch):
        monkeypatch.setenv("FASTQUEUE_RETRIES", "many")
        assert ClientSettings.resolve(retries=1).retries == 1

    def test_a_time_may_be_given_with_or_without_its_unit(self):
        assert SubworkerSettings.resolve(grace=1).grace_s == 1
        assert SubworkerSettings.resolve(grace_s=0).grace_s == 0

    def test_an_argument_nobody_knows_is_a_type_error(self):
        with pytest.raises(TypeError, match="ClientSettings has no setting 'retry'"):
            ClientSettings.resolve(retry=3)

    def test_the_environment_sets_every_setting_of_the_client(self, monkeypatch):
        for name, value in {
            "DISCOVERY_ADDRESS": "tcp://10.0.0.1:1",
            "CONTROL_PLANE_ADDRESS": "ipc:///run/queue.sock",
            "SERIALIZATION_FORMAT": "Pickle",
            "TIMEOUT": "0.5",
            "RETRIES": "0",
            "RESULT_CACHE_SIZE": "5",
            "LOG_LEVEL": "DEBUG",
        }.items():
            monkeypatch.setenv(f"FASTQUEUE_{name}", value)
        assert ClientSettings.resolve() == ClientSettings(
            discovery_address="tcp://10.0.0.1:1",
            control_plane_address="ipc:///run/queue.sock",
            serialization_format=SerializationFormat.PICKLE,
            timeout_s=0.5,
            retries=0,
            result_cache_size=5,
            log_level="debug",
        )

    def test_the_environment_sets_every_setting_of_the_control_plane(self, monkeypatch):
        for name, value in {
            "WORKER_ID": "cp-1",
            "BASE_ADDRESS": "tcp://0.0.0.0:0",
            "DISCOVERY_ADDRESS": "tcp://0.0.0.0:1",
            "DATA_DIR": "/var/lib/queue",
            "DURABILITY": "NORMAL",
            "RESULT_CACHE_SIZE": "5",
            "RESULT_CACHE_TTL": "6",
            "DISK_FREE_MIN": "4096",
            "PAYLOAD_BYTES_MAX": "7",
            "MAX_CRASHES": "2",
            "CALLBACK_ALLOW": "10.0.0.0/8, 192.168.1.5",
            "CALLBACK_GIVE_UP": "8",
            "INSECURE": "true",
            "PROCESSES": "0",
            "LOG_LEVEL": "error",
            "TASK_MODULES": "tasks",
            "CONCURRENCY": "3",
            "GRACE": "9",
            "ALLOW_PICKLE": "on",
        }.items():
            monkeypatch.setenv(f"FASTQUEUE_{name}", value)
        assert ControlPlaneSettings.resolve() == ControlPlaneSettings(
            worker_id="cp-1",
            base_address="tcp://0.0.0.0:0",
            discovery_address="tcp://0.0.0.0:1",
            data_dir="/var/lib/queue",
            durability="normal",
            result_cache_size=5,
            result_cache_ttl_s=6.0,
            disk_free_min=4_096,
            payload_bytes_max=7,
            max_crashes=2,
            callback_allow=(
                *LOOPBACK,
                ipaddress.ip_network("10.0.0.0/8"),
                ipaddress.ip_network("192.168.1.5/32"),
            ),
            callback_give_up_s=8.0,
            insecure=True,
            processes=0,
            log_level="error",
            task_modules=("tasks",),
            concurrency=3,
            grace_s=9.0,
            allow_pickle=True,
        )

    def test_the_environment_sets_every_setting_of_the_subworker(self, monkeypatch):
        for name, value in {
            "WORKER_ID": "w-1",
            "CONTROL_PLANE_ADDRESS": "tcp://127.0.0.1:1",
            "DISCOVERY_ADDRESS": "tcp://127.0.0.1:2",
            "CONCURRENCY": "3",
            "GRACE": "0",
            "ALLOW_PICKLE": "yes",
            "TASK_MODULES": "shop.tasks, mail.py",
            "PROCESSES": "2",
            "LOG_LEVEL": "warning",
        }.items():
            monkeypatch.setenv(f"FASTQUEUE_{name}", value)
        assert SubworkerSettings.resolve() == SubworkerSettings(
            worker_id="w-1",
            control_plane_address="tcp://127.0.0.1:1",
            discovery_address="tcp://127.0.0.1:2",
            concurrency=3,
            grace_s=0.0,
            allow_pickle=True,
            task_modules=("shop.tasks", "mail.py"),
            processes=2,
            log_level="warning",
        )


class TestFiles:
    def test_names_are_written_with_hyphens_or_underscores(self):
        write(
            "fastqueue.toml",
            """
            discovery-address = "tcp://127.0.0.1:1"
            result_cache_size = 5
            task-modules = ["a", "b"]
            [control-plane]
            result-cache-size = 6
            callback-allow = ["10.0.0.0/8"]
            [subworker]
            allow-pickle = true
            """,
        )
        assert ClientSettings.resolve().discovery_address == "tcp://127.0.0.1:1"
        assert ClientSettings.resolve().result_cache_size == 5
        assert ControlPlaneSettings.resolve().result_cache_size == 6
        assert ControlPlaneSettings.resolve().callback_allow[2:] == (
            ipaddress.ip_network("10.0.0.0/8"),
        )
        assert SubworkerSettings.resolve().allow_pickle is True
        assert SubworkerSettings.resolve().task_modules == ("a", "b")

    def test_pyproject_is_used_only_where_there_is_no_file_of_our_own(self):
        write("pyproject.toml", "[tool.fastqueue.client]\nretries = 1")
        assert ClientSettings.resolve().retries == 1
        write("fastqueue.toml", "")
        assert ClientSettings.resolve().retries == 3

    @pytest.mark.parametrize(
        "content", ["[tool.ruff]\n", "[project]\ndependencies = ['fastqueue']", "this is no TOML"]
    )
    def test_a_pyproject_that_has_no_settings_does_no_harm(self, content):
        write("pyproject.toml", content)
        assert ClientSettings.resolve() == ClientSettings()

    @EVERY_PROCESS
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("retrys = 3", "retrys is not a setting; did you mean retries?"),
            ("discovery_adress = 3", "did you mean discovery-address?"),
            ("[control_plan]", "control_plan is not a setting; did you mean control-plane?"),
            ("[client]\nconcurrencyy = 1", r"\[client\] concurrencyy is not a setting"),
            ("[subworker]\nretries = 1", r"\[subworker\] retries is not a setting"),
            ("client = 5", "client must be a table"),
            ("data-dir = 'a'\ndata_dir = 'b'", "data-dir is there twice"),
        ],
    )
    def test_a_name_nobody_knows_is_an_error_for_every_process(self, settings, content, message):
        path = write("fastqueue.toml", content)
        with pytest.raises(ConfigurationError, match=message) as caught:
            settings.resolve()
        assert path in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "line"), [("\n\nretries = = 3", 3), ("retries = [\n1,", 2), ("a = 'b", 1)]
    )
    def test_malformed_toml_is_an_error_with_file_and_line(self, content, line):
        path = write("fastqueue.toml", content)
        with pytest.raises(ConfigurationError, match="this is not TOML") as caught:
            ClientSettings.resolve()
        assert f"{path}, line {line}: " in str(caught.value)

    def test_a_file_that_is_not_utf8_is_an_error_with_file_and_line(self):
        Path("fastqueue.toml").write_bytes(b"retries = 3\n# caf\xe9\n")
        with pytest.raises(ConfigurationError, match=r"fastqueue\.toml, line 2: .* not UTF-8"):
            ClientSettings.resolve()

    def test_a_file_that_can_not_be_read_is_an_error(self):
        Path("fastqueue.toml").mkdir()
        with pytest.raises(ConfigurationError, match=r"fastqueue\.toml can't be read"):
            ClientSettings.resolve()

    @pytest.mark.parametrize("name", ["fastqueue.toml", "pyproject.toml"])
    def test_a_file_without_an_end_or_a_writer_is_an_error_at_once(self, name):
        Path(name).symlink_to("/dev/zero")
        with pytest.raises(ConfigurationError, match=rf"{name} can't be read: .* regular file"):
            ClientSettings.resolve()
        Path(name).unlink()
        os.mkfifo(name)
        with pytest.raises(ConfigurationError, match=rf"{name} can't be read: .* regular file"):
            ClientSettings.resolve()

    def test_a_file_larger_than_any_settings_is_an_error(self):
        with open("fastqueue.toml", "wb") as file:
            file.truncate(5 * 1024**2)
        with pytest.raises(ConfigurationError, match=r"fastqueue\.toml can't be read: .* larger"):
            ClientSettings.resolve()

    @pytest.mark.parametrize("content", ["tool = 5 # fastqueue", "[tool]\nfastqueue = 5"])
    def test_a_pyproject_with_something_else_in_our_place(self, content):
        write("pyproject.toml", content)
        if content.startswith("tool"):
            assert ClientSettings.resolve() == ClientSettings()
        else:
            with pytest.raises(ConfigurationError, match=r"tool\.fastqueue must be a table"):
                ClientSettings.resolve()


class TestWrongValues:
    @pytest.mark.parametrize(
        "value", [0, 0.0, -1, math.inf, math.nan, "0", "nan", "", "soon", True, [1], 10**400]
    )
    def test_a_timeout_is_a_finite_number_above_zero(self, value):
        with pytest.raises(ConfigurationError, match=r"timeout is .* seconds, more than 0"):
            ClientSettings.resolve(timeout=value)

    @pytest.mark.parametrize("value", [-1, 1.5, "-1", "1.5", "", "many", True])
    def test_retries_are_a_whole_number_from_zero(self, value):
        with pytest.raises(ConfigurationError, match=r"retries is .* whole number, 0 or more"):
            ClientSettings.resolve(retries=value)

    def test_no_retries_are_allowed(self):
        assert ClientSettings.resolve(retries=0).retries == 0

    @pytest.mark.parametrize("value", [0, 10_001, 5_000_000_000])
    @pytest.mark.parametrize("settings", [ControlPlaneSettings, SubworkerSettings])
    def test_a_concurrency_has_bounds(self, settings, value):
        with pytest.raises(ConfigurationError, match=r"concurrency is .* number, 1 to 10000"):
            settings.resolve(concurrency=value)

    @pytest.mark.parametrize(
        ("settings", "least"), [(ControlPlaneSettings, 0), (SubworkerSettings, 1)]
    )
    def test_how_few_and_how_many_processes_there_may_be(self, settings, least):
        assert settings.resolve(processes=least).processes == least
        assert settings.resolve(processes=1024).processes == 1024
        for wrong in (least - 1, 1025):
            with pytest.raises(ConfigurationError, match=f"processes is .* {least} to 1024"):
                settings.resolve(processes=wrong)

    @EVERY_PROCESS
    def test_a_log_level_is_one_of_four(self, settings):
        with pytest.raises(ConfigurationError, match="'debug', 'info', 'warning', 'error'"):
            settings.resolve(log_level="loud")

    @pytest.mark.parametrize("value", ["xml", 1])
    def test_a_serialization_format_is_one_of_two(self, value):
        with pytest.raises(ConfigurationError, match=r"serialization_format.*'json'.*'pickle'"):
            ClientSettings.resolve(serialization_format=value)

    @pytest.mark.parametrize("name", ["discovery_address", "control_plane_address"])
    def test_a_client_dials_no_port_zero(self, name):
        with pytest.raises(ConfigurationError, match=f"{name} 'tcp://127.0.0.1:0'"):
            ClientSettings.resolve(**{name: "tcp://127.0.0.1:0"})

    def test_the_message_names_where_the_value_came_from(self, monkeypatch):
        path = write("fastqueue.toml", "retries = -1")
        with pytest.raises(ConfigurationError, match="retries in ") as caught:
            ClientSettings.resolve()
        assert path in str(caught.value)
        monkeypatch.setenv("FASTQUEUE_RETRIES", "-2")
        with pytest.raises(ConfigurationError, match="FASTQUEUE_RETRIES is '-2'"):
            ClientSettings.resolve()

    def test_a_durability_is_one_of_three(self):
        with pytest.raises(ConfigurationError, match="one of 'full', 'normal', 'memory'"):
            ControlPlaneSettings.resolve(durability="fast")

    @pytest.mark.parametrize("value", ["10.0.0.1/8", "everyone", ["10.0.0.0/33"]])
    def test_callbacks_are_allowed_to_networks(self, value):
        with pytest.raises(ConfigurationError, match="not a network"):
            ControlPlaneSettings.resolve(callback_allow=value)

    @pytest.mark.parametrize("value", [5, {"a": 1}, b"a", [5]])
    def test_a_list_of_texts_is_nothing_else(self, value):
        with pytest.raises(ConfigurationError, match="task_modules is"):
            SubworkerSettings.resolve(task_modules=value)

    @pytest.mark.parametrize("setting", ["data_dir", "worker_id"])
    def test_of_a_control_character_it_is_said_what_is_wrong(self, setting):
        with pytest.raises(ConfigurationError, match=rf"{setting} is 'a\\x07b': .* unprintable"):
            ControlPlaneSettings.resolve(**{setting: "a\x07b"})

    @pytest.mark.parametrize("value", ["", " ", "a b", "x" * 201, "a\n\x00", 5])
    def test_a_worker_id_is_a_short_text_without_spaces(self, value):
        with pytest.raises(ConfigurationError, match="worker_id is"):
            SubworkerSettings.resolve(worker_id=value)

    @pytest.mark.parametrize("value", ["maybe", 1, 2.5])
    def test_a_flag_is_true_or_false(self, value):
        with pytest.raises(ConfigurationError, match="must be true or false"):
            SubworkerSettings.resolve(allow_pickle=value)

    @pytest.mark.parametrize(("text", "flag"), [("1", True), ("Off", False), ("false", False)])
    def test_a_flag_may_be_a_word(self, text, flag):
        assert SubworkerSettings.resolve(allow_pickle=text).allow_pickle is flag

    def test_a_path_may_be_a_path_object(self):
        assert ControlPlaneSettings.resolve(data_dir=Path("a")).data_dir == "a"


class TestListeningBeyondThisMachine:
    @pytest.mark.parametrize("name", ["base_address", "discovery_address"])
    @pytest.mark.parametrize("address", ["tcp://0.0.0.0:5555", "tcp://queue.example.org:1"])
    def test_it_is_refused_and_says_why(self, name, address):
        with pytest.raises(ConfigurationError, match="--insecure") as caught:
            ControlPlaneSettings.resolve(**{name: address})
        assert f"{name} {address!r}" in str(caught.value)
        assert "FASTQUEUE_TOKEN" in str(caught.value)

    @pytest.mark.parametrize("name", ["base_address", "discovery_address"])
    def test_it_is_allowed_where_it_is_said_to_be_insecure(self, name):
        settings = ControlPlaneSettings.resolve(**{name: "tcp://0.0.0.0:1"}, insecure=True)
        assert getattr(settings, name) == "tcp://0.0.0.0:1"

    @pytest.mark.parametrize("address", ["tcp://[::1]:0", "ipc:///run/queue.sock"])
    def test_loopback_and_unix_sockets_are_always_allowed(self, address):
        assert ControlPlaneSettings.resolve(base_address=address).base_address == address


def test_making_the_settings_of_a_client_loads_no_slow_module():
    code = (
        "import sys; from fastqueue.config import ClientSettings; ClientSettings.resolve();"
        "sys.exit(','.join({'tomllib', 'difflib'}"
        " & sys.modules.keys()) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert found.stderr == ""
    assert found.returncode == 0


class TestTokens:
    TOKEN = "a-token-that-nobody-guesses"

    def test_one_is_taken_from_the_caller_the_environment_and_the_file(self, monkeypatch):
        write("fastqueue.toml", f"token = '{self.TOKEN}-3'")
        assert ClientSettings.resolve().token == f"{self.TOKEN}-3"
        monkeypatch.setenv("FASTQUEUE_TOKEN", f" {self.TOKEN}-2\n")
        assert ClientSettings.resolve().token == f"{self.TOKEN}-2"
        assert ClientSettings.resolve(token=self.TOKEN).token == self.TOKEN

    def test_a_file_that_is_named_wins_over_a_token_from_further_away(self, monkeypatch, tmp_path):
        path = tmp_path / "token"
        path.write_text(f"{self.TOKEN}-in-a-file\n")
        path.chmod(0o600)
        monkeypatch.setenv("FASTQUEUE_TOKEN", self.TOKEN)
        settings = SubworkerSettings.resolve(token_file=str(path))
        assert settings.token == f"{self.TOKEN}-in-a-file"
        monkeypatch.setenv("FASTQUEUE_TOKEN_WORKER_FILE", str(path))
        settings = ControlPlaneSettings.resolve()
        assert settings.tokens == {"token": self.TOKEN, "token_worker": f"{self.TOKEN}-in-a-file"}
        assert settings.local_token == f"{self.TOKEN}-in-a-file"

    def test_a_token_and_a_file_from_one_place_are_an_error(self):
        with pytest.raises(ConfigurationError, match="token and token_file are both given"):
            ClientSettings.resolve(token=self.TOKEN, token_file="x")

    @pytest.mark.parametrize("content", [b"", b"short", b"two\nlines of a token", b"\xff" * 32])
    def test_a_file_without_a_token_is_an_error_that_does_not_show_it(self, tmp_path, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="token_file") as caught:
            ClientSettings.resolve(token_file=path)
        assert not content or content.decode(errors="replace") not in str(caught.value)

    def test_a_file_that_nobody_writes_to_is_an_error_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "token", 0o600)
        with pytest.raises(ConfigurationError, match=r"token_file .* not a regular file"):
            ClientSettings.resolve(token_file=tmp_path / "token")

    @pytest.mark.parametrize("value", ["", "fifteen-letters", "x" * 1_025, "a\nb" * 10, 7])
    def test_what_keeps_nobody_out_is_an_error_that_says_how_to_make_one(self, value):
        with pytest.raises(ConfigurationError, match="token_urlsafe") as caught:
            ClientSettings.resolve(token=value)
        assert value in ("", 7) or str(value) not in str(caught.value)

    def test_none_is_shown(self):
        tokens = {
            name: f"{self.TOKEN}-{name}"
            for name in ("token", "token_submit", "token_worker", "token_admin")
        }
        client = ClientSettings(token=self.TOKEN)
        for shown in (ControlPlaneSettings(**tokens), client, client.security):
            assert self.TOKEN not in repr(shown)
            assert self.TOKEN not in str(shown)

    def test_two_roles_may_not_share_one(self):
        with pytest.raises(ConfigurationError, match="secret of its own") as caught:
            ControlPlaneSettings(token_submit=self.TOKEN, token_worker=self.TOKEN)
        assert self.TOKEN not in str(caught.value)


class TestTlsAddresses:
    def test_the_control_planes_may_be_one_and_no_other(self):
        address = parse_address("tls://queue.example.org:5555", setting="here", allow_tls=True)
        assert (address.scheme, address.host, address.port) == ("tls", "queue.example.org", 5555)
        assert str(address) == "tls://queue.example.org:5555"
        assert not address.is_loopback
        assert ClientSettings.resolve(control_plane_address="tls://[::1]:1")
        with pytest.raises(ConfigurationError, match="only for the control plane's own"):
            ClientSettings.resolve(discovery_address="tls://127.0.0.1:5550")
