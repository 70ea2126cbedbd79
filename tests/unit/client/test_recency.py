"""The order of least recent use, against `OrderedDict`, and out of the collector's sight."""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.client.recency import Recency
from fastqueue.core.records import Result
from fastqueue.tasks.models import TaskStatus

_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "touch", "pop", "pop oldest"]), st.integers(0, 9)),
    max_size=200,
)


@given(_STEPS)
def test_it_is_an_ordered_dict_whose_entries_move_to_the_end_when_touched(steps):
    recency: Recency[int] = Recency()
    model: OrderedDict[str, int] = OrderedDict()
    for n, (step, digit) in enumerate(steps):
        key = str(digit)
        match step:
            case "put":
                recency[key] = model[key] = n
            case "touch" if key in model:
                model.move_to_end(key)
                assert recency.touch(key) == model[key]
            case "touch":
                with pytest.raises(KeyError):
                    recency.touch(key)
            case "pop":
                assert recency.pop(key) == model.pop(key, None)
            case _:
                expected = model.popitem(last=False)[1] if model else None
                assert recency.pop_oldest() == expected
        assert list(recency) == list(model)
        assert len(recency) == len(model)
        assert [recency.get(k) for k in model] == list(model.values())
        assert all((str(k) in recency) == (str(k) in model) for k in range(10))
        assert recency.oldest() == next(iter(model.items()), None)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="a dict is always tracked there")
def test_the_collector_of_cycles_does_not_look_at_it():
    recency: Recency[int | Result] = Recency()
    for n in range(100):
        recency[f"task-{n}"] = 1
        recency[f"task-{n}"] = Result(f"task-{n}", TaskStatus.SUCCESS)
        if n > 10:
            recency.touch(f"task-{n - 10}")
        if n > 40:
            recency.pop_oldest()
    assert not gc.is_tracked(recency._young)
    assert not gc.is_tracked(recency._old)
