"""What is offered, who is told of it, and what waits because nobody offers it."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.core.builders import (
    connect_client,
    connect_worker,
    has,
    make_core,
    new_task,
    only,
    submit,
    tick,
)

from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import NewTask, Offer, Refused

ADD = Offer("add", "default", b"one")
OTHER_ADD = Offer("add", "mail", b"another")


def offer(core: Core, session: int, *offers: Offer, now: float = 0.0) -> None:
    names = frozenset(one.name for one in offers)
    who = f"w{session}"
    core.apply(cmd.WorkerReady(session, who, who, names, 10, offers=offers), now)


def listen(core: Core, session: int = 1) -> fx.TellOffers:
    connect_client(core, session, f"c{session}")
    return only(core.apply(cmd.WatchOffers(session), 0.0), fx.TellOffers)


def refusals(core: Core, *tasks: NewTask) -> list[Refused]:
    return list(only(submit(core, *tasks), fx.AcknowledgeSubmit).refused)


def offered(core: Core, *names: str) -> list[Offer]:
    answer = only(core.apply(cmd.FindOffers(1, 7, names), 0.0), fx.AnswerOffers)
    assert (answer.session, answer.request) == (1, 7)
    return list(answer.offers)


def unoffered(core: Core, now: float = 0.0) -> list[dict[str, object]]:
    answer = only(core.apply(cmd.Inspect(1, 1, "stats"), now), fx.AnswerInspect).answer
    found: list[dict[str, object]] = answer["unoffered"]
    return found


# -- who is told


def test_a_client_is_told_when_it_comes_and_when_something_else_is_offered() -> None:
    core = make_core()
    assert listen(core).sessions == [1]
    assert not has(tick(core, 0.0), fx.TellOffers)
    offer(core, 10, ADD)
    assert only(tick(core, 1.0), fx.TellOffers).sessions == [1]
    offer(core, 11, ADD, now=2.0)
    assert not has(tick(core, 2.0), fx.TellOffers), "the same of another is no news"
    offer(core, 12, OTHER_ADD, now=3.0)
    assert has(tick(core, 3.0), fx.TellOffers)


def test_changes_that_come_at_once_are_told_at_most_once_a_second() -> None:
    core = make_core()
    listen(core)
    offer(core, 10, ADD)
    assert has(tick(core, 5.0), fx.TellOffers)
    offer(core, 11, OTHER_ADD, now=5.2)
    assert not has(tick(core, 5.2), fx.TellOffers)
    assert core.next_due() == 6.0
    assert has(tick(core, 6.0), fx.TellOffers)


def test_a_client_that_does_not_ask_for_it_is_not_told() -> None:
    core = make_core()
    assert not has(connect_client(core), fx.TellOffers)
    offer(core, 10, ADD)
    assert not has(tick(core, 1.0), fx.TellOffers)
    assert core.state.workers.offers.next_due() is None


def test_who_is_gone_is_not_told() -> None:
    core = make_core()
    listen(core)
    core.apply(cmd.SessionLost(1), 0.0)
    offer(core, 10, ADD)
    assert not has(tick(core, 1.0), fx.TellOffers)


# -- what is offered


def test_versions_of_one_name_are_in_the_order_in_which_they_came() -> None:
    core = make_core()
    offer(core, 10, OTHER_ADD)
    offer(core, 11, ADD)
    offer(core, 12, OTHER_ADD)
    assert offered(core, "add", "nope") == [OTHER_ADD, ADD]
    core.apply(cmd.SessionLost(10), 0.0)
    assert offered(core, "add") == [OTHER_ADD, ADD]
    core.apply(cmd.SessionLost(12), 0.0)
    assert offered(core, "add") == [ADD]


def test_a_subworker_that_tells_names_only_offers_them_with_all_else_unknown() -> None:
    core = make_core()
    connect_worker(core, names=("add", "mul"))
    assert offered(core, "add", "mul") == [Offer("add"), Offer("mul")]


def test_past_their_bound_signatures_are_unknown_and_names_are_not() -> None:
    core = make_core(CoreLimits(offered_bytes_max=30))
    offer(core, 10, Offer("a", "q", b"x" * 20), Offer("b", "q", b"x" * 20))
    assert offered(core, "a", "b") == [Offer("a", "q", b"x" * 20), Offer("b")]
    core.apply(cmd.SessionLost(10), 0.0)
    assert not core.state.workers.offers.by_name
    offer(core, 11, Offer("b", "q", b"x" * 20))
    assert offered(core, "b") == [Offer("b", "q", b"x" * 20)]


def test_more_than_every_client_is_told_is_not_small() -> None:
    core = make_core(CoreLimits(offers_pushed_bytes_max=40))
    offer(core, 10, ADD)
    assert core.state.workers.offers.is_small
    offer(core, 11, OTHER_ADD, Offer("mul", "default", b"x" * 30))
    assert not core.state.workers.offers.is_small


def test_an_inspection_lists_each_version_and_how_many_offer_it() -> None:
    core = make_core()
    offer(core, 10, ADD)
    offer(core, 11, ADD)
    offer(core, 12, OTHER_ADD)
    answer = only(core.apply(cmd.Inspect(1, 1, "offers"), 0.0), fx.AnswerInspect).answer
    assert [(o["queue"], o["subworkers"]) for o in answer["offers"]] == [
        ("default", 2),
        ("mail", 1),
    ]
    assert answer["left_out"] == 0


# -- what requires a subworker


def test_a_task_that_requires_a_subworker_is_refused_if_none_offers_it() -> None:
    core = make_core()
    offer(core, 10, ADD)
    tasks = [replace(new_task(n, name=n), require_worker=True) for n in ("add", "addd")]
    (refused,) = refusals(core, *tasks)
    assert (refused.task_id, refused.code) == ("addd", "not_offered")
    assert "'addd'; registered are: add; did you mean 'add'?" in refused.message
    assert "addd" not in core.state.tasks


def test_very_many_refusals_are_short() -> None:
    core = make_core()
    offer(core, 10, ADD)
    tasks = [replace(new_task(f"t{n}", name=f"n{n}"), require_worker=True) for n in range(50)]
    messages = [refused.message for refused in refusals(core, *tasks)]
    assert len(messages) == 50
    assert sum("registered" in message for message in messages) == 10


# -- what waits


def test_a_task_that_nobody_offers_waits_and_is_warned_of_once() -> None:
    core = make_core()
    offer(core, 10, ADD)
    submit(core, new_task("a", name="nope"), new_task("b", name="nope", rank=0))
    assert not has(tick(core, 1.9), fx.TellUnoffered)
    told = only(tick(core, 2.0), fx.TellUnoffered)
    assert (told.waiting, told.offered) == ([("nope", 2)], ["add"])
    assert not has(tick(core, 60.0), fx.TellUnoffered)
    assert unoffered(core, 60.0) == [{"name": "nope", "tasks": 2, "waiting_s": 60.0}]


def test_names_that_come_one_after_the_other_are_warned_of_together() -> None:
    core = make_core()
    for n in range(40):
        name = f"n{n}"
        core.apply(cmd.Submit(1, 1, "c", 100.0, [new_task(name, name=name)]), n * 0.1)
    lines = [d for n in range(100) if has(d := tick(core, n * 0.1), fx.TellUnoffered)]
    assert len(lines) == 3
    assert sum(len(only(line, fx.TellUnoffered).waiting) for line in lines) == 40


def test_a_query_says_what_a_task_waits_for() -> None:
    core = make_core()
    submit(core, new_task("a", name="nope"), new_task("b"))
    offer(core, 10, ADD)
    live = only(core.apply(cmd.Query(1, 1, ["a", "b"]), 0.0), fx.AnswerQuery).live
    assert live["a"].waits_for == "a subworker that offers 'nope'; none that is connected does"
    assert live["b"].waits_for is None


def test_a_subworker_that_comes_ends_the_wait_and_one_that_goes_begins_another() -> None:
    core = make_core()
    submit(core, new_task("a"))
    offer(core, 10, ADD, now=1.0)
    assert not unoffered(core)
    assert not has(tick(core, 3.0), fx.TellUnoffered)
    core.apply(cmd.SessionLost(10), 5.0)
    tick(core, 5.0)
    assert unoffered(core, 6.0) == [{"name": "add", "tasks": 1, "waiting_s": 1.0}]
    assert has(tick(core, 7.0), fx.TellUnoffered)


def test_the_wait_begins_anew_once_nothing_has_waited() -> None:
    core = make_core()
    submit(core, new_task("a", name="nope"))
    core.apply(cmd.Cancel(1, 1, ["a"], 100.0), 1.0)
    core.apply(cmd.Submit(1, 1, "c", 100.0, [new_task("b", name="nope")]), 50.0)
    assert unoffered(core, 51.0) == [{"name": "nope", "tasks": 1, "waiting_s": 1.0}]
    core.apply(cmd.Cancel(1, 1, ["b"], 100.0), 52.0)
    assert not unoffered(core, 53.0)
