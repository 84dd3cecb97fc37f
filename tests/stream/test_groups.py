"""Groups are the same for every worker and after every restart, their number is bounded, and past the bound events are "(other)"."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.groups import Groups
from stream.model import OTHER, UNVERSIONED, Model
from stream.settings import Settings
from stream.store import NameStore
from tests.stream.stores import Backend, MemoryBackend

Key = tuple[Any, ...]
Named = tuple[str, str, tuple[str, ...]]


def groups(
    store: NameStore,
    *,
    segments: Sequence[str | list[str]] = ("country",),
    versions: int = 20,
    values: int = 50,
    models: str = "fraud,churn",
) -> Groups:
    """The groups of a worker that has just started."""
    limits = {"versions_max": versions, "segment_values_max": values}
    sections = {name: {"classes": ["0", "1"], "segments": list(segments), **limits} for name in models.split(",")}
    tree = Settings.model_validate({"models": sections})
    keys = dict.fromkeys(key for names in segments for key in ([names] if isinstance(names, str) else names))
    return Groups({name: Model.build(tree.model(name), None) for name in sections}, [("segments", key) for key in keys], store)


def indices(held: Groups, *keys: Key) -> list[int]:
    """The index of each event's group."""
    return held.of_events(list(zip(*keys, strict=True))).tolist()


def named(held: Groups, *keys: Key) -> list[Named | None]:
    """Model, version and segments of each event; None where the model is not configured."""
    return [name_of(held, index) for index in indices(held, *keys)]


def name_of(held: Groups, index: int) -> Named | None:
    return None if index < 0 else (held[index].model.settings.name, held[index].version, held[index].segments)


def test_a_group_is_model_version_and_segments(backend: Backend) -> None:
    held = groups(backend.store, segments=("country", "tier"))
    assert named(held, ("fraud", "v1", "DE", "gold"), ("churn", None, None, ""), ("unknown", "v1", "DE", "gold")) == [
        ("fraud", "v1", ("", "country=DE", "tier=gold")),
        ("churn", UNVERSIONED, ("", "country=(none)", "tier=")),
        None,
    ]


def test_a_version_that_looks_like_none_is_not_taken_for_a_segment(backend: Backend) -> None:
    held = groups(backend.store)
    assert indices(held, ("fraud", "", "DE"), ("fraud", "", "DE"), ("fraud", "DE", "")) == [0, 0, 1]


def test_numbers_and_booleans_read_as_in_json_whichever_comes_first() -> None:
    values = [1, 1.0, True, "1", 0, False, "false", None]
    expected = ["1", "1.0", "true", "1", "0", "false", "false", "(none)"]
    for order in (list(range(8)), list(range(7, -1, -1)), [2, 0, 1, 5, 4, 3, 7, 6]):
        for at_once in (True, False):
            held = groups(MemoryBackend().store)
            keys = [("fraud", None, values[i]) for i in order]
            found = named(held, *keys) if at_once else [named(held, key)[0] for key in keys]
            assert [group and group[2][1] for group in found] == [f"country={expected[i]}" for i in order]


def test_versions_that_python_holds_equal_are_kept_apart() -> None:
    held = groups(MemoryBackend().store)
    assert [group and group[1] for group in named(held, ("fraud", 1, "DE"), ("fraud", 1.0, "DE"), ("fraud", "1", "DE"))] == [
        "1",
        "1.0",
        "1",
    ]


def test_past_the_limit_a_value_is_other(backend: Backend) -> None:
    held = groups(backend.store, versions=2, values=3)
    found = named(held, *[("fraud", f"v{i}", f"c{i}") for i in range(5)])
    assert [group and group[1] for group in found] == ["v0", "v1", OTHER, OTHER, OTHER]
    assert [group and group[2][1] for group in found] == ["country=c0", "country=c1", "country=c2", f"country={OTHER}", f"country={OTHER}"]
    assert named(held, ("churn", "v9", "c9")) == [("churn", "v9", ("", "country=c9"))]  # each model has limits of its own


def test_text_that_is_too_long_or_cannot_be_shown_is_other(backend: Backend) -> None:
    held = groups(backend.store)
    values = ["x" * 200, "x" * 201, "line\nbreak", "\x00", "\ud800", "ü|%{}* "]
    found = [group and group[1] for group in named(held, *[("fraud", value, None) for value in values])]
    assert found == ["x" * 200, OTHER, OTHER, OTHER, OTHER, "ü|%{}* "]


def test_two_workers_give_the_same_numbers(backend: Backend) -> None:
    first, second = groups(backend.client(), versions=3, values=3), groups(backend.client(), versions=3, values=3)
    keys = [("fraud", f"v{i % 5}", f"c{i % 4}") for i in range(20)]
    for key in keys:  # they take turns, so that each finds some values first
        named(first if len(key[1] + key[2]) % 2 else second, key)
    assert named(first, *keys) == named(second, *keys[::-1])[::-1]
    numbers = [[held[index].number for index in indices(held, *keys)] for held in (first, second)]
    assert numbers[0] == numbers[1]


def test_a_restart_changes_nothing(backend: Backend) -> None:
    keys = [("fraud", f"v{i}", f"c{i}") for i in range(6)]
    before = groups(backend.client(), versions=4, values=4)
    held = named(before, *keys)
    after = groups(backend.client(), versions=4, values=4)
    assert named(after, *keys[::-1]) == held[::-1]
    numbers = np.array([before[index].number for index in indices(before, *keys)], np.uint32)
    assert [name_of(after, index) for index in after.of_numbers(numbers).tolist()] == held
    unread = groups(backend.client(), versions=4, values=4)  # knows the numbers of pending rows before it has seen an event
    assert [name_of(unread, index) for index in unread.of_numbers(numbers).tolist()] == held


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=40), st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_whoever_sees_a_value_when_it_counts_for_the_same_group_ever_after(seen: list[tuple[bool, int]], limit: int) -> None:
    store = MemoryBackend().store
    held = {False: groups(store, versions=limit), True: groups(store, versions=limit)}
    first: dict[int, Named | None] = {}
    for worker, value in seen:
        [group] = named(held[worker], ("fraud", f"v{value}", None))
        assert first.setdefault(value, group) == group
    assert len({group[1] for group in first.values() if group and group[1] != OTHER}) <= limit


def test_a_lower_limit_keeps_the_first_values_for_every_worker(backend: Backend) -> None:
    keys = [("fraud", f"v{i}", None) for i in range(6)]
    named(groups(backend.client(), versions=5), *keys)
    for order in (keys, keys[::-1]):
        lowered = groups(backend.client(), versions=2)
        found = {key[1]: group and group[1] for key, group in zip(order, named(lowered, *order), strict=True)}
        assert found == {"v0": "v0", "v1": "v1", "v2": OTHER, "v3": OTHER, "v4": OTHER, "v5": OTHER}


def test_a_stored_number_outlives_a_change_of_the_segments(backend: Backend) -> None:
    old = groups(backend.client(), segments=("country", "tier"))
    number = np.array([old[indices(old, ("fraud", "v1", "DE", "gold"))[0]].number], np.uint32)
    for segments, expected in [
        (("tier", "country"), ("", "tier=gold", "country=DE")),
        (("tier",), ("", "tier=gold")),
        ((), ("",)),
        (("country", "channel"), ("", "country=DE", f"channel={OTHER}")),
        (("tier", ["country", "tier"]), ("", "tier=gold", f"country={OTHER},tier={OTHER}")),
    ]:
        new = groups(backend.client(), segments=segments)
        assert [name_of(new, index) for index in new.of_numbers(number).tolist()] == [("fraud", "v1", expected)]


CROSSES: list[str | list[str]] = ["country", ["country", "tier"]]


def test_a_cross_is_a_segment_of_each_combination(backend: Backend) -> None:
    held = groups(backend.store, segments=CROSSES)
    found = named(held, ("fraud", "v", "DE", "gold"), ("fraud", "v", "DE", None), ("fraud", "v", "FR", True))
    assert [group and group[2] for group in found] == [
        ("", "country=DE", "country=DE,tier=gold"),
        ("", "country=DE", "country=DE,tier=(none)"),
        ("", "country=FR", "country=FR,tier=true"),
    ]


def test_combinations_past_the_limit_are_other_while_their_values_are_not(backend: Backend) -> None:
    held = groups(backend.store, segments=CROSSES, values=2)
    found = named(held, *[("fraud", "v", country, tier) for country in ("DE", "FR") for tier in ("gold", "tin")])
    assert [group and group[2][1:] for group in found] == [
        ("country=DE", "country=DE,tier=gold"),
        ("country=DE", "country=DE,tier=tin"),
        ("country=FR", f"country={OTHER},tier={OTHER}"),
        ("country=FR", f"country={OTHER},tier={OTHER}"),
    ]


def test_commas_in_values_do_not_make_two_segments_one(backend: Backend) -> None:
    held = groups(backend.store, segments=CROSSES)
    keys = [
        ("fraud", "v", "a,b", "c"),
        ("fraud", "v", "a", "b,c"),
        ("fraud", "v", "a,tier=c", "d"),
        ("fraud", "v", "a\\", "b"),
        ("fraud", "v", "a", "c"),
    ]
    names = [name for group in named(held, *keys) if group for name in group[2][1:]]
    assert names[::2] == ["country=a\\,b", "country=a", "country=a\\,tier=c", "country=a\\\\", "country=a"]
    assert len(set(names)) == 4 + 5
    numbers = np.array([held[index].number for index in indices(held, *keys)], np.uint32)
    again = groups(backend.client(), segments=CROSSES)
    assert [name_of(again, index) for index in again.of_numbers(numbers).tolist()] == named(held, *keys)


def test_a_stored_number_of_a_model_that_left_has_no_group(backend: Backend) -> None:
    old = groups(backend.client())
    number = old[indices(old, ("fraud", "v1", "DE"))[0]].number
    assert groups(backend.client(), models="churn").of_numbers(np.array([number, 999, number], np.uint32)).tolist() == [-1, -1, -1]
