"""Values that a reference has not: however a stream is cut, ordered, merged and written, the sample is that of a plain recount."""

from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.aggregates import Aggregate, Layout, zero_moments
from stream.panes import PaneKey, Panes
from stream.store import PaneGroup
from stream.unseen import KEPT, TEXT_MAX, Unseen, decoded_unseen, encoded_unseen, merged_unseen, texts, unseen_nbytes

LAYOUT = Layout(b"one layout".ljust(16), 3, 1)
Row = tuple[int, int, str]  # pane, position of the feature's bin, text


def many(seed: int) -> list[Row]:
    """More rows, of more values, than would be found by lists."""
    random = Random(seed)
    return [(random.choice([-1, 0, 0, 1]), random.randrange(2), f"value {random.randrange(40)}") for _ in range(random.randrange(200))]


rows = st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 2), st.text())) | st.integers(0, 10**6).map(many)
law = settings(deadline=None, max_examples=100)


def recount(batch: list[Row], pane: int) -> Unseen:
    """Of each position the values with the least hashes, and how often each is there."""
    found = {}
    for position in {position for at, position, _ in batch if at == pane}:
        counts = Counter(text[:TEXT_MAX] for at, code, text in batch if (at, code) == (pane, position))
        found[position] = {text: counts[text] for text in sorted(counts, key=lambda text: xxhash.xxh3_64(text.encode()).intdigest())[:KEPT]}
    return found


def key(i: int) -> PaneKey:
    return PaneKey("m", PaneGroup("traffic", i, "1", ""))


def take(panes: Panes, batch: list[Row]) -> None:
    numbers = np.array([panes.number(key(pane), LAYOUT) if pane >= 0 else -1 for pane, _, _ in batch], np.int64)
    codes = np.array([code for _, code, _ in batch], np.int64)
    panes.add(numbers[numbers >= 0], codes[None, numbers >= 0])
    panes.add_unseen(numbers, codes, texts([text for _, _, text in batch]))


def counted(batch: list[Row]) -> Aggregate:
    """Pane 0, as one batch makes it."""
    panes = Panes()
    take(panes, batch)
    return panes.aggregate(key(0)) if key(0) in panes else Aggregate.zero(LAYOUT)


@given(rows, st.lists(st.integers(0, 200), max_size=5))
@law
def test_batches_in_panes_come_to_a_plain_recount(batch: list[Row], cuts: list[int]) -> None:
    panes, bounds = Panes(), sorted({0, len(batch), *cuts})
    for start, end in pairwise(bounds):
        take(panes, batch[start:end])
    for each in panes:
        held = panes.aggregate(each)
        assert held.unseen == recount(batch, each.group.start_ms)
        assert Aggregate.decode(LAYOUT, held.encode()).unseen == held.unseen
    held = [panes.aggregate(each) for each in panes]
    assert panes.nbytes == sum(LAYOUT.nbytes + unseen_nbytes(one.unseen) for one in held)


@given(st.lists(rows, min_size=1, max_size=6), st.randoms(use_true_random=False))
@law
def test_parts_merged_in_any_order_come_to_a_plain_recount(parts: list[list[Row]], random: Random) -> None:
    expected = recount([row for part in parts for row in part], 0)
    held = [counted(part) for part in parts]
    assert Aggregate.merge_all(held).unseen == expected
    while len(held) > 1:
        held.append(held.pop(random.randrange(len(held))).merge(held.pop(random.randrange(len(held)))))
    assert held[0].unseen == expected


def test_what_is_dropped_never_comes_back_with_less_than_its_count() -> None:
    """A value that many others push out is out for good, as those that pushed it out stay."""
    names = sorted((f"value {i}" for i in range(100)), key=lambda text: xxhash.xxh3_64(text.encode()).intdigest(), reverse=True)
    panes = Panes()
    for name in names + names:
        take(panes, [(0, 1, name)])
    assert panes.aggregate(key(0)).unseen == {1: dict.fromkeys(names[-KEPT:], 2)}


def test_a_forgotten_pane_leaves_nothing_to_the_next_one_in_its_place() -> None:
    panes = Panes()
    take(panes, [(0, 1, "x")])
    panes.take_dirty()
    assert panes.forget(lambda _: True)
    assert panes.nbytes == 0
    panes.number(key(1), LAYOUT)
    assert panes.aggregate(key(1)).unseen == {}


def test_panes_found_in_the_store_are_counted_on() -> None:
    panes = Panes()
    panes.hold(key(0), counted([(0, 1, "x"), (0, 1, "y")]))
    take(panes, [(0, 1, "x"), (0, 2, "x")])
    assert panes.aggregate(key(0)).unseen == {1: {"x": 2, "y": 1}, 2: {"x": 1}}


def test_an_aggregate_without_unseen_values_is_written_as_before_there_were_any() -> None:
    held = Aggregate(LAYOUT, np.array([1, 0, 2]), zero_moments(1))
    assert encoded_unseen(held.unseen) == b""
    assert decoded_unseen(b"") == merged_unseen([]) == {}
    more = Aggregate(LAYOUT, held.counts, held.moments, {1: {"x": 1}})
    assert more.encode().startswith(held.encode())


def test_bytes_are_bounded_whatever_the_values_are() -> None:
    unseen = counted([(0, 1, "\U0001f600" * 5_000 + str(i)) for i in range(50)] + [(0, 2, f"{i}" * 500) for i in range(50)]).unseen
    assert {position: len(values) for position, values in unseen.items()} == {1: 1, 2: KEPT}
    assert len(encoded_unseen(unseen)) < (1 + KEPT) * 420
    assert texts([True, -12, "a" * 101]) == ["true", "-12", "a" * 100]
