"""Detectors on a stream: equal to river fed the same values or means, whatever the batches, and across any restart."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from detectors.sequential import Change, Detector, StateError, Stream

BATCH = 16
ERRORS: tuple[Detector, ...] = ("adwin", "page_hinkley", "kswin", "ddm", "eddm", "hddm_a", "hddm_w")
rng = np.random.default_rng(5)
VALUES = np.concatenate([rng.random(n) < p for n, p in ((3000, 0.1), (3000, 0.5), (3000, 0.2))]).astype(float)


def stream() -> Stream:
    return Stream({name: {} for name in ERRORS}, BATCH, resolve_after=1000)


def pushed(into: Stream, values: np.ndarray, start: int = 0) -> list[Change]:
    at = np.arange(start, start + len(values))
    return into.push(values, at * 1000, at, now_ms=7)


def restarted(old: Stream) -> Stream:
    new = stream()
    new.restore(old.state())
    return new


def found(changes: Sequence[Change], name: str) -> list[int]:
    """Where the detector noticed changes: offsets."""
    return [change.detected for change in changes if change.detector == name and not change.resolved]


@pytest.mark.parametrize(
    ("name", "river"),
    [
        ("page_hinkley", drift.PageHinkley(threshold=50 / BATCH, alpha=0.9999**BATCH)),
        ("kswin", drift.KSWIN(alpha=0.0001, seed=1)),
    ],
)
def test_changes_are_those_of_river_on_the_same_means(name: Detector, river: drift.ADWIN) -> None:
    expected = []
    for i in range(0, len(VALUES) - BATCH + 1, BATCH):
        river.update(VALUES[i : i + BATCH].mean())
        if river.drift_detected:
            expected.append(i + BATCH - 1)
    assert expected
    assert found(pushed(stream(), VALUES), name) == expected


@pytest.mark.parametrize(
    ("name", "river"),
    [
        ("adwin", drift.ADWIN()),
        ("ddm", drift.binary.DDM()),
        ("eddm", drift.binary.EDDM()),
        ("hddm_a", drift.binary.HDDMA()),
        ("hddm_w", drift.binary.HDDMW()),
    ],
)
def test_adwin_and_the_ddm_family_are_those_of_river_value_by_value(name: Detector, river: drift.binary.DDM) -> None:
    expected = []
    for i, value in enumerate(VALUES):
        river.update(bool(value))
        if river.drift_detected:
            expected.append(i // BATCH * BATCH + BATCH - 1)  # told at the end of the micro-batch
    assert expected
    assert found(pushed(stream(), VALUES), name) == sorted(set(expected))


def test_a_change_says_where_the_change_began_and_what_the_mean_was() -> None:
    first = next(change for change in pushed(stream(), VALUES) if change.detector == "adwin")
    assert abs(first.offset - 3000) <= 10 * BATCH
    assert first.time_ms == first.offset * 1000
    assert first.offset < first.detected
    assert first.before == pytest.approx(VALUES[: first.offset].mean())
    assert first.after == pytest.approx(VALUES[first.offset : first.detected + 1].mean())
    assert first.before < 0.13
    assert first.after > 0.35


def test_a_second_change_began_after_the_first_and_has_its_own_means_while_the_alert_is_that_of_the_first() -> None:
    """From none wrong to all, and from all to half: the first is much larger, and still among what is remembered."""
    values = np.concatenate([np.zeros(1600), np.ones(800), np.tile([0.0, 1.0], 800)])
    watched = Stream({"adwin": {}}, BATCH, resolve_after=100_000)
    changes = watched.push(values[:2400], np.arange(2400), np.arange(2400), now_ms=7)
    changes += watched.push(values[2400:], np.arange(2400, 4000), np.arange(2400, 4000), now_ms=8)
    first, *_, last = changes
    assert (first.offset, first.before, first.after) == (1600, 0.0, 1.0)
    assert abs(last.offset - 2400) <= 2 * BATCH
    assert (last.before, last.after) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.5, abs=0.05))
    assert {change.first_fired_ms for change in changes} == {7}


def test_a_change_is_resolved_when_none_follows() -> None:
    steady = np.tile([0.0, 0.0, 0.0, 1.0], 1000)
    watched = Stream({"adwin": {}}, BATCH, resolve_after=1000)
    changes = pushed(watched, np.concatenate([steady, np.ones(1600)]))
    assert [change.resolved for change in changes][-2:] == [False, True]
    assert changes[-1].n == 1008  # 63 micro-batches of 16
    assert (changes[-1].first_fired_ms, watched.firing) == (7, ())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(VALUES)), max_size=6))
def test_neither_batches_nor_restarts_change_what_is_found(cuts: list[int]) -> None:
    watched, changes = stream(), []
    edges = [0, *sorted(cuts), len(VALUES)]
    for start, end in pairwise(edges):
        changes += pushed(watched, VALUES[start:end], start)
        watched = restarted(watched)
    assert changes == WHOLE


WHOLE = pushed(stream(), VALUES)


def test_a_scale_changes_the_means_that_are_said_and_nothing_else() -> None:
    scaled = Stream({name: {} for name in ("adwin", "page_hinkley", "kswin")}, BATCH, resolve_after=1000, scale=64.0)
    plain = [change for change in WHOLE if change.detector in scaled.detectors]
    found = pushed(scaled, VALUES * 64)
    assert [replace(one, before=one.before / 64, after=one.after / 64) for one in found] == plain
    with pytest.raises(StateError):
        Stream(scaled.detectors, BATCH, resolve_after=1000).restore(scaled.state())


def sealed(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}{text}"


def test_a_foreign_class_is_refused_and_nothing_is_taken() -> None:
    fed = stream()
    pushed(fed, VALUES[:100])
    untouched = stream()
    for foreign in ("os.system", "object", "Pipeline"):
        with pytest.raises(StateError, match="expected one of Mean"):
            untouched.restore(sealed(fed.state()[8:].replace('"Mean"', json.dumps(foreign))))
    assert untouched.state() == stream().state()


def test_what_is_cut_changed_or_made_otherwise_is_refused() -> None:
    state = stream().state()
    other = Stream({"adwin": {"delta": 0.1}}, BATCH, resolve_after=1000).state()
    for bad in ("", "x", state[:-1], state[:-9] + "1" + state[-8:], sealed("{}"), sealed("[1]"), other):
        with pytest.raises(StateError):
            stream().restore(bad)


def test_a_state_of_which_one_digit_was_changed_is_refused() -> None:
    fed = stream()
    pushed(fed, VALUES[:1000])
    state = fed.state()
    digits = [i for i in range(8, len(state)) if state[i].isdigit()]
    for i in digits[:: len(digits) // 50]:
        with pytest.raises(StateError, match="checksum"):
            stream().restore(state[:i] + str(9 - int(state[i])) + state[i + 1 :])


def test_a_state_is_some_kilobytes_whatever_the_length_of_the_stream() -> None:
    fed = stream()
    for _ in range(5):
        pushed(fed, VALUES)
    assert len(fed.state()) < 60_000
