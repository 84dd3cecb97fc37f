"""What every store promises about units, homes and names: one suite over the memory store and over a real Redis.

Time and the join have suites of their own: test_store_clock.py and test_store_join.py.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sinks import OutboundMessage
from stream.store import SUBJECTS, HomeState, PaneGroup, Partitions, UnitView
from stream.watermark import NO_TIME
from tests.stream.stores import L0, P0, P1, SOURCE, Backend, RedisBackend, checkpoint, closing, message, pane

# Whatever may stand in an event: separators of our keys, of Redis patterns and of URLs, and nothing at all.
AWKWARD = [
    "",
    " ",
    "|",
    "||",
    "%",
    "%7C",
    "a|b",
    "line\nbreak",
    "tab\t",
    "ü",
    "日本 🎯",
    "{}",
    "{a}",
    "*",
    "?[x]",
    "a:b",
    "a/b",
    "a=b",
    "+",
    "\x00",
]


def test_a_store_begins_with_the_source_that_it_is_given(backend: Backend) -> None:
    assert backend.client().begin(SOURCE).predictions == SOURCE.partitions.predictions


# units


def test_a_new_unit_has_no_state(backend: Backend) -> None:
    state = backend.client().acquire(P0, ["m"])
    assert (state.epoch, state.sequence, state.next_offset, state.newest_ms, state.outbox_end) == (1, 0, None, NO_TIME, 0)
    assert (state.floors_ms, state.counters, state.panes, state.outbox) == ({}, {}, {}, [])


def test_every_acquisition_has_an_epoch_of_its_own(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    assert [store.acquire(unit, []).epoch for store, unit in [(a, P0), (b, P0), (a, P1), (a, P0)]] == [1, 2, 1, 3]


def test_what_was_checkpointed_is_found_again(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    panes = {"m": {pane(): b"\x00\xff", pane(60_000, segment="country=DE"): b"two"}, "other": {pane(): b"3"}}
    step = checkpoint(
        *(P0, a.acquire(P0, []).epoch, 1),
        counters={"consumed": 7, "late": 0},
        floors_ms={"traffic": 5, "performance": NO_TIME},
        panes=panes,
        outbox=[(1, message("one")), (2, message("two", key=None))],
    )
    assert a.checkpoint([step]) == []
    state = b.acquire(P0, ["m", "other", "unknown"])
    assert (state.epoch, state.sequence, state.next_offset, state.newest_ms, state.outbox_end) == (2, 1, 10, 100, 2)
    assert state.floors_ms == {"traffic": 5, "performance": NO_TIME}
    assert state.counters == {"consumed": 7, "late": 0}
    assert state.panes == panes
    assert state.outbox == [(1, message("one")), (2, message("two", key=None))]
    assert b.acquire(P0, ["other"]).panes == {"other": panes["other"]}


def test_a_checkpoint_replaces_panes_and_counters_and_leaves_the_others(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.checkpoint([checkpoint(P0, epoch, 1, panes={"m": {pane(0): b"a", pane(1): b"b"}}, counters={"consumed": 1, "late": 1})])
    store.checkpoint([checkpoint(P0, epoch, 2, panes={"m": {pane(1): b"B"}}, counters={"consumed": 2})])
    state = store.acquire(P0, ["m"])
    assert state.panes == {"m": {pane(0): b"a", pane(1): b"B"}}
    assert state.counters == {"consumed": 2, "late": 1}


def test_a_checkpoint_without_an_offset_keeps_the_one_there_is(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.checkpoint([checkpoint(P0, epoch, 1, next_offset=None)])
    assert store.acquire(P0, []).next_offset is None
    epoch = store.acquire(P0, []).epoch
    store.checkpoint([checkpoint(P0, epoch, 2, next_offset=33), checkpoint(P0, epoch, 3, next_offset=None)])
    assert store.acquire(P0, []).next_offset == 33


def test_the_checkpoint_of_a_former_owner_changes_nothing(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    old = a.acquire(P0, []).epoch
    a.checkpoint([checkpoint(P0, old, 1, panes={"m": {pane(): b"x"}}, outbox=[(1, message("x"))])])
    b.acquire(P0, [])
    before = backend.dump()
    stale = checkpoint(P0, old, 2, panes={"m": {pane(): b"y"}, "new": {pane(): b"z"}}, counters={"late": 9}, outbox=[(2, message("y"))])
    assert a.checkpoint([stale]) == [P0]
    assert backend.dump() == before


def test_a_unit_that_nobody_acquired_takes_no_checkpoint(backend: Backend) -> None:
    before = backend.dump()
    assert backend.client().checkpoint([checkpoint(P0, 1, 1, panes={"m": {pane(): b"x"}})]) == [P0]
    assert backend.dump() == before


def test_of_several_checkpoints_only_those_of_lost_units_are_refused(backend: Backend) -> None:
    store = backend.client()
    epochs = {unit: store.acquire(unit, []).epoch for unit in (P0, P1, L0)}
    store.acquire(P1, [])
    assert store.checkpoint([checkpoint(unit, epoch, 1) for unit, epoch in epochs.items()]) == [P1]
    assert [store.acquire(unit, []).next_offset for unit in epochs] == [10, None, 10]


def test_a_checkpoint_whose_answer_was_lost_is_repeated_without_effect(backend: Backend) -> None:
    store = backend.client()
    step = checkpoint(P0, store.acquire(P0, []).epoch, 1, panes={"m": {pane(): b"x"}}, counters={"late": 3}, outbox=[(1, message("x"))])
    assert store.checkpoint([step]) == []
    before = backend.dump()
    assert store.checkpoint([step]) == []
    assert backend.dump() == before


@pytest.mark.parametrize("sequence", [1, 4, 5, 100])
def test_a_checkpoint_out_of_sequence_is_refused(backend: Backend, sequence: int) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    assert store.checkpoint([checkpoint(P0, epoch, 1), checkpoint(P0, epoch, 2)]) == []
    before = backend.dump()
    assert store.checkpoint([checkpoint(P0, epoch, sequence, panes={"m": {pane(): b"x"}})]) == [P0]
    assert backend.dump() == before


def test_the_next_owner_goes_on_with_the_sequence(backend: Backend) -> None:
    store = backend.client()
    store.checkpoint([checkpoint(P0, store.acquire(P0, []).epoch, 1)])
    state = store.acquire(P0, [])
    assert store.checkpoint([checkpoint(P0, state.epoch, state.sequence)]) == []  # a repeat, not a step
    assert store.checkpoint([checkpoint(P0, state.epoch, state.sequence + 1, next_offset=99)]) == []
    assert store.acquire(P0, []).next_offset == 99


@pytest.mark.parametrize("model", ["m", "a model", "{curly}", "a:b/c", "*", "ü%"])
def test_panes_keep_whatever_names_events_have(backend: Backend, model: str) -> None:
    store = backend.client()
    groups = {PaneGroup(subject, 0, version, segment) for subject in SUBJECTS for version in AWKWARD for segment in AWKWARD}
    panes = {group: repr(group).encode() for group in groups}
    store.checkpoint([checkpoint(P0, store.acquire(P0, []).epoch, 1, panes={model: panes})])
    assert store.acquire(P0, [model]).panes == {model: panes}
    assert set(store.pane_groups([model], Partitions(1, 0))[model][P0]) == groups
    assert dict(store.read_panes({model: {P0: list(groups)}})[model]) == panes
    store.discard_panes({model: {P0: list(groups)[1:]}})
    assert store.pane_groups([model], Partitions(1, 0))[model][P0] == list(groups)[:1]


@pytest.mark.parametrize("start_ms", [-1, 0, 1, 999, 1_700_000_000_001, 10_413_792_000_001, 253_402_300_799_999])
def test_a_pane_may_start_at_any_millisecond(backend: Backend, start_ms: int) -> None:
    store = backend.client()
    store.checkpoint([checkpoint(P0, store.acquire(P0, []).epoch, 1, panes={"m": {pane(start_ms): b"x"}})])
    assert store.acquire(P0, ["m"]).panes == {"m": {pane(start_ms): b"x"}}


# the outbox


def test_the_outbox_keeps_its_order_and_is_trimmed_from_the_front(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    sent = [(n, message(str(n))) for n in range(1, 13)]
    store.checkpoint([checkpoint(P0, epoch, 1, outbox=sent[:9]), checkpoint(P0, epoch, 2, outbox=sent[9:])])
    store.trim_outbox(P0, 4)
    assert store.acquire(P0, []).outbox == sent[4:]
    store.trim_outbox(P0, 2)
    assert store.acquire(P0, []).outbox == sent[4:]
    store.trim_outbox(P0, 12)
    assert store.acquire(P0, []).outbox == []


def test_numbers_of_the_outbox_go_on_when_it_was_trimmed_and_taken_over(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.checkpoint([checkpoint(P0, epoch, 1, outbox=[(1, message("a")), (2, message("b"))])])
    store.close([closing(P0, epoch, 1, outbox=[(3, message("c"))])])
    store.trim_outbox(P0, 3)
    state = store.acquire(P0, [])
    assert (state.outbox_end, state.outbox) == (3, [])
    store.checkpoint([checkpoint(P0, state.epoch, 2)])
    assert store.acquire(P0, []).outbox_end == 3
    state = store.acquire(P0, [])
    assert store.checkpoint([checkpoint(P0, state.epoch, 3, outbox=[(4, message("d"))])]) == []
    assert store.acquire(P0, []).outbox == [(4, message("d"))]


def test_messages_are_kept_byte_for_byte(backend: Backend) -> None:
    store = backend.client()
    anything = OutboundMessage("driftstream.late", bytes(range(256)), bytes(reversed(range(256))))
    store.checkpoint([checkpoint(P0, store.acquire(P0, []).epoch, 1, outbox=[(1, anything)])])
    assert store.acquire(P0, []).outbox == [(1, anything)]


# homes


def test_a_model_without_history_has_an_empty_home(backend: Backend) -> None:
    assert backend.client().home(P0, "m") == HomeState()


def test_what_was_closed_is_found_again(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    late = PaneGroup("performance", 0, "v1", "")
    first = closing(P0, epoch, 1, merged={pane(0): b"0", pane(1): b"1"}, alerts={"a|ü": b"A", "b": b"B"}, outbox=[(1, message("x"))])
    second = closing(P0, epoch, 2, merged={pane(2): b"2"}, expired=[pane(0)], alerts={"b": None, "c": None, "d": b"D"})
    other = closing(P0, epoch, 1, subject="performance", closed_ms=-5, fired_ms=-3, merged={late: b"L"})
    assert store.close([first, second, other]) == []
    home = store.home(P0, "m")
    assert home.sequence == {"traffic": 2, "performance": 1}
    assert home.closed_ms == {"traffic": 200, "performance": -5}
    assert home.fired_ms == {"traffic": 220, "performance": -3}
    assert home.merged == {pane(1): b"1", pane(2): b"2", late: b"L"}
    assert home.alerts == {"a|ü": b"A", "d": b"D"}
    assert store.acquire(P0, []).outbox == [(1, message("x"))]
    assert store.home(P0, "n") == store.home(P1, "m") == HomeState()


def test_the_close_of_a_former_owner_changes_nothing(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    old = a.acquire(P0, []).epoch
    a.close([closing(P0, old, 1, merged={pane(): b"x"}, alerts={"a": b"A"}, outbox=[(1, message("x"))])])
    b.acquire(P0, [])
    before = backend.dump()
    stale = closing(P0, old, 2, merged={pane(1): b"y"}, expired=[pane()], alerts={"a": None}, outbox=[(2, message("y"))])
    assert a.close([stale]) == [P0]
    assert backend.dump() == before


def test_a_close_whose_answer_was_lost_is_repeated_without_effect(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.close([closing(P0, epoch, 1, merged={pane(): b"x"})])
    step = closing(P0, epoch, 2, merged={pane(1): b"y"}, expired=[pane()], alerts={"a": b"A"}, outbox=[(1, message("y"))])
    assert store.close([step]) == []
    before = backend.dump()
    assert store.close([step]) == []
    assert backend.dump() == before


@pytest.mark.parametrize("sequence", [1, 4, 100])
def test_a_close_out_of_sequence_is_refused(backend: Backend, sequence: int) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.close([closing(P0, epoch, 1), closing(P0, epoch, 2)])
    before = backend.dump()
    assert store.close([closing(P0, epoch, sequence, merged={pane(): b"x"})]) == [P0]
    assert backend.dump() == before


def test_panes_are_read_over_all_units_that_have_them(backend: Backend) -> None:
    store = backend.client()
    for unit in (P0, P1, L0):
        held = {pane(): str(unit).encode(), **({pane(1): b"only"} if unit == P1 else {})}
        store.checkpoint([checkpoint(unit, store.acquire(unit, []).epoch, 1, panes={"m": held})])
    groups = store.pane_groups(["m"], Partitions(2, 1))["m"]
    assert {unit: set(held) for unit, held in groups.items()} == {P0: {pane()}, P1: {pane(), pane(1)}, L0: {pane()}}
    wanted = {P0: [pane(), pane(1)], P1: [pane(1)], L0: []}
    assert sorted(store.read_panes({"m": wanted})["m"]) == [(pane(), b"predictions/0"), (pane(1), b"only")]
    store.discard_panes({"m": {P0: [pane(), pane(7)], P1: []}})
    assert sorted(store.read_panes({"m": groups})["m"]) == [(pane(), b"labels/0"), (pane(), b"predictions/1"), (pane(1), b"only")]


def test_panes_of_many_models_are_read_and_forgotten_together(backend: Backend) -> None:
    store = backend.client()
    for unit in (P0, P1):
        held = {model: {pane(): f"{model} in {unit}".encode()} for model in ("m", "n", "of|odd:name")}
        store.checkpoint([checkpoint(unit, store.acquire(unit, []).epoch, 1, panes=held)])
    groups = store.pane_groups(["m", "of|odd:name", "unknown"], Partitions(2, 0))
    assert groups == {model: {P0: [pane()], P1: [pane()]} for model in ("m", "of|odd:name")} | {"unknown": {P0: [], P1: []}}
    found = store.read_panes(groups)
    assert {model: sorted(blob for _, blob in blobs) for model, blobs in found.items()} == {
        "m": [b"m in predictions/0", b"m in predictions/1"],
        "of|odd:name": [b"of|odd:name in predictions/0", b"of|odd:name in predictions/1"],
        "unknown": [],
    }
    store.discard_panes({"m": {P0: [pane()]}, "of|odd:name": {P1: [pane()]}, "unknown": {P0: [pane()]}})
    held_now = store.pane_groups(["m", "n", "of|odd:name"], Partitions(2, 0))
    assert held_now == {
        "m": {P0: [], P1: [pane()]},
        "n": {P0: [pane()], P1: [pane()]},
        "of|odd:name": {P0: [pane()], P1: []},
    }


def test_a_unit_that_nobody_acquired_holds_no_panes(backend: Backend) -> None:
    assert backend.client().pane_groups(["m"], Partitions(1, 1)) == {"m": {P0: [], L0: []}}
    assert backend.client().read_panes({"m": {P0: [pane()]}}) == {"m": []}


# views


def test_a_view_shows_a_unit_and_takes_nothing_over(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    epoch = a.acquire(P0, []).epoch
    a.checkpoint([checkpoint(P0, epoch, 1, counters={"consumed": 3}, outbox=[(1, message("a")), (2, message("b"))])])
    before = backend.dump()
    assert b.view([P0, P1]) == {P0: UnitView(10, {"consumed": 3}, 2), P1: UnitView()}
    assert backend.dump() == before
    assert a.checkpoint([checkpoint(P0, epoch, 2)]) == []


# names


def test_a_name_keeps_the_number_it_was_given(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    assert a.intern("class", ["yes", "no", "yes"]) == [1, 2, 1]
    assert b.intern("class", ["maybe", "no"]) == [3, 2]
    assert b.intern("group", ["no"]) == [1]
    assert a.names("class", [3, 1, 9, 0]) == ["maybe", "yes", None, None]
    assert a.intern("class", []) == []
    assert a.names("class", []) == []


def test_any_text_can_be_a_name(backend: Backend) -> None:
    store = backend.client()
    numbers = store.intern("kind of *: {x}", AWKWARD)
    assert numbers == list(range(1, len(AWKWARD) + 1))
    assert store.names("kind of *: {x}", numbers) == AWKWARD
    assert store.names("kind of *: {y}", numbers) == [None] * len(AWKWARD)


def test_past_the_limit_a_new_name_has_no_number(backend: Backend) -> None:
    store = backend.client()
    assert store.intern("version", ["a", "b", "c", "a", "d"], limit=2) == [1, 2, 0, 1, 0]
    assert store.intern("version", ["c"], limit=3) == [3]
    assert store.intern("version", ["c", "d"], limit=1) == [3, 0]


def test_two_workers_that_name_at_once_agree_and_keep_to_the_limit(backend: Backend) -> None:
    limit, names = 40, [f"name {i}" for i in range(100)]
    workers = [(backend.client(), names), (backend.client(), names[::-1])]
    with ThreadPoolExecutor(len(workers)) as pool:
        found = list(pool.map(lambda worker: [worker[0].intern("k", [name], limit)[0] for name in worker[1]], workers))
    given = dict(zip(names, found[0], strict=True))
    for (store, order), numbers in zip(workers, found, strict=True):
        again = dict(zip(order, store.intern("k", order, limit), strict=True))
        assert sorted(again.values()) == [0] * (len(names) - limit) + list(range(1, limit + 1))
        assert all(number in (0, again[name]) for name, number in zip(order, numbers, strict=True))
    assert max(given.values()) <= limit


# what only Redis has


def test_scripts_that_redis_forgot_are_sent_again(redis_backend: RedisBackend) -> None:
    store = redis_backend.client()
    epoch = store.acquire(P0, []).epoch
    redis_backend.redis.script_flush()
    assert store.intern("k", ["a"]) == [1]  # a single call
    redis_backend.redis.script_flush()
    assert store.checkpoint([checkpoint(P0, epoch, 1), checkpoint(P0, epoch, 2)]) == []  # a pipeline
    redis_backend.redis.script_flush()
    assert store.close([closing(P0, epoch, 1)]) == []
    redis_backend.redis.script_flush()
    assert store.acquire(P0, []).next_offset == 20


def test_a_big_checkpoint_is_one_step(redis_backend: RedisBackend) -> None:
    store = redis_backend.client()
    panes = {pane(i): b"x" * 50 for i in range(20_000)}
    outbox = [(n, message("m")) for n in range(1, 10_001)]
    epoch = store.acquire(P0, []).epoch
    assert store.checkpoint([checkpoint(P0, epoch, 1, panes={"m": panes}, outbox=outbox)]) == []
    assert store.close([closing(P0, epoch, 1, merged=panes, alerts={f"rule {i}": b"x" for i in range(10_000)})]) == []
    assert store.close([closing(P0, epoch, 2, expired=list(panes), alerts={f"rule {i}": None for i in range(10_000)})]) == []
    state = store.acquire(P0, ["m"])
    assert (len(state.panes["m"]), len(state.outbox)) == (20_000, 10_000)
    assert (store.home(P0, "m").merged, store.home(P0, "m").alerts) == ({}, {})
    store.discard_panes({"m": {P0: list(panes)}})
    assert store.pane_groups(["m"], Partitions(1, 0)) == {"m": {P0: []}}


def test_no_key_expires(redis_backend: RedisBackend) -> None:
    store = redis_backend.client()
    epoch = store.acquire(P0, []).epoch
    store.checkpoint([checkpoint(P0, epoch, 1, panes={"m": {pane(): b"x"}}, outbox=[(1, message("x"))])])
    store.close([closing(P0, epoch, 1, merged={pane(): b"x"})])
    store.intern("k", ["a"])
    assert [redis_backend.redis.ttl(key) for key in redis_backend.all_keys()] == [-1] * 8
