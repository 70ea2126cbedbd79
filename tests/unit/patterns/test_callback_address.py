"""Which callback addresses the control plane dials."""

from __future__ import annotations

import pytest

from fastqueue.control_plane.callback_sender import validate_callback_address
from fastqueue.errors import ConfigurationError


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:6000",
        "tcp://127.9.9.9:1",
        "tcp://localhost:65535",
        "tcp://[::1]:6000",
        "tcp://[::ffff:127.0.0.1]:6000",
        "ipc:///tmp/callbacks.ipc",
    ],
)
def test_this_host_may_be_called_back(address):
    validate_callback_address(address, [])


@pytest.mark.parametrize(
    "address",
    ["tcp://10.1.2.3:6000", "tcp://[fd00::7]:6000", "tcp://[::ffff:10.1.2.3]:6000"],
)
def test_another_host_may_be_called_back_only_where_allowed(address):
    with pytest.raises(ConfigurationError, match="--callback-allow"):
        validate_callback_address(address, ["192.168.0.0/16"])
    validate_callback_address(address, ["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    "address",
    [
        "",
        "6000",
        "127.0.0.1:6000",
        "http://127.0.0.1:6000",
        "tls+tcp://127.0.0.1:6000",
        "inproc://here",
        "abstract://here",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:99999999",
        "tcp://127.0.0.1:6000/path",
        "tcp://127.0.0.1:6000\n",
        "tcp:// 127.0.0.1:6000",
        "tcp://*:6000",
        "tcp://:6000",
        "tcp://0.0.0.0:6000",
        "tcp://127.1:6000",
        "tcp://0177.0.0.1:6000",
        "tcp://2130706433:6000",
        "tcp://user@127.0.0.1:6000",
        "tcp://eth0;127.0.0.1:6000",
        "tcp://[fe80::1%eth0]:6000",
        "tcp://[localhost]:6000",
        "tcp://127.0.0.1:\uff16000",
        "tcp4://127.0.0.1:6000",
        "ipc://",
        "ipc://relative/path",
        "ipc:///tmp/" + "x" * 120,
        "ipc:///tmp/\0x",
    ],
)
def test_what_is_not_plainly_this_host_is_refused(address):
    with pytest.raises(ConfigurationError, match="callback address"):
        validate_callback_address(address, [])


def test_a_host_name_is_refused_even_where_everything_is_allowed_and_the_message_says_why():
    with pytest.raises(ConfigurationError, match="resolve"):
        validate_callback_address("tcp://example.org:6000", ["0.0.0.0/0"])
