"""What a pattern refuses before any peer is involved."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fastqueue.errors import ConfigurationError, PatternClosed, PatternError
from fastqueue.patterns.nng_patterns import (
    BusPattern,
    PairPattern,
    PubSubPattern,
    PushPullPattern,
    ReqRepPattern,
    SurveyorRespondentPattern,
)

ANYWHERE = "tcp://127.0.0.1:0"
NOWHERE = "tcp://127.0.0.1:1"

ALL = [
    ReqRepPattern,
    PairPattern,
    BusPattern,
    PubSubPattern,
    PushPullPattern,
    SurveyorRespondentPattern,
]


@pytest.mark.parametrize("pattern", ALL)
@pytest.mark.parametrize("listens", [True, False])
async def test_every_pattern_starts_twice_and_closes_twice(pattern, listens):
    one = pattern(ANYWHERE if listens else NOWHERE, listens)
    await one.start()
    await one.start()
    one.close()
    one.close()
    with pytest.raises(PatternClosed, match=r"127\.0\.0\.1"):
        await one.start()


@pytest.mark.parametrize("pattern", ALL)
async def test_a_pattern_that_never_started_can_be_closed(pattern):
    pattern(ANYWHERE).close()


@pytest.mark.parametrize(
    ("pattern", "keyword"),
    [
        (ReqRepPattern, "is_server"),
        (PairPattern, "is_server"),
        (BusPattern, "listen"),
        (PubSubPattern, "is_server"),
        (PushPullPattern, "is_server"),
        (SurveyorRespondentPattern, "is_surveyor"),
    ],
)
async def test_who_listens_is_told_by_the_keyword_and_the_port_is_told_back(pattern, keyword):
    async with pattern(ANYWHERE, **{keyword: True}) as one:
        assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9][0-9]*", one.address)


@pytest.mark.parametrize("data", ["text", None, 7, ["x"]])
async def test_only_bytes_can_be_sent(data):
    async with PairPattern(ANYWHERE, is_server=True) as pair:
        with pytest.raises(TypeError, match=type(data).__name__):
            await pair.send(data)


@pytest.mark.parametrize(
    ("pattern", "listens", "verb"),
    [
        (PubSubPattern, True, "recv"),
        (PubSubPattern, False, "send"),
        (PushPullPattern, True, "recv"),
        (PushPullPattern, False, "send"),
    ],
)
async def test_a_direction_the_pattern_lacks_is_refused(pattern, listens, verb):
    async with pattern(ANYWHERE if listens else NOWHERE, listens) as one:
        with pytest.raises(PatternError, match="only"):
            await (one.recv() if verb == "recv" else one.send(b"x"))


async def test_using_a_pattern_before_its_start_says_what_to_do():
    with pytest.raises(PatternError, match="start"):
        await PairPattern(ANYWHERE).recv()


async def test_an_address_in_use_is_named_with_the_cause():
    async with PairPattern(ANYWHERE, is_server=True) as first:
        second = PairPattern(first.address, is_server=True)
        with pytest.raises(PatternError, match="in use") as caught:
            await second.start()
        assert first.address in str(caught.value)
        second.close()


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("address", ["", "nonsense", "tcp://", "nosuch://127.0.0.1:1"])
async def test_a_bad_address_is_named(address, listens):
    pair = PairPattern(address, is_server=listens)
    with pytest.raises(
        PatternError, match=re.escape(f"at {address}:" if listens else f"dial {address}:")
    ):
        await pair.start()


async def test_an_answer_without_a_question_is_refused():
    async with ReqRepPattern(ANYWHERE, is_server=True) as server:
        with pytest.raises(PatternError, match="receive first"):
            await server.send(b"x")


async def test_a_reply_without_a_request_is_refused():
    async with ReqRepPattern(NOWHERE) as client:
        with pytest.raises(PatternError):
            await client.recv()


async def test_answers_without_a_survey_are_refused():
    async with SurveyorRespondentPattern(ANYWHERE, is_surveyor=True) as surveyor:
        with pytest.raises(PatternError, match="send one first"):
            await surveyor.recv()


@pytest.mark.parametrize(
    "options",
    [
        {"recv_bytes_max": 0},
        {"buffer_max": 0},
        {"buffer_max": 8193},
        {"send_timeout_s": -1},
        {"recv_timeout_s": -0.1},
        {"linger_s": -1},
        {"reconnect_max_s": 0},
    ],
)
def test_an_option_out_of_range_is_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        PairPattern(ANYWHERE, **options)


def test_importing_fastqueue_does_not_load_nng():
    code = "import sys, fastqueue, fastqueue.link.discovery; print('pynng' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
