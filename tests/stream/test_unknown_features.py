"""Features that no reference has are noticed, named once, and never more than a bounded number of them."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.model import Model
from stream.reference import Reference
from stream.unknown_features import EVERY, NAMES_MAX, UnknownFeatures, looked_at
from tests.builders import MODEL, Monitor, categorical, prediction, reference, settings, small_reference

Watch = Callable[..., Monitor]
KNOWN = {"amount": 20.0, "country": "DE", "channel": 1, "new": False}


def unknown_of(known: Reference | None = None, path: tuple[str, ...] = ("features",), *others: tuple[str, ...]) -> UnknownFeatures:
    model = Model.build(settings().model(MODEL), known or small_reference())
    return UnknownFeatures({MODEL: model}, path, others)


def event(features: Any) -> bytes:
    return orjson.dumps(prediction("a", 0, features=features))


def found(monitor: Monitor) -> dict[str, int]:
    return monitor.pipeline.take_tally().unknown_features


def test_a_new_feature_is_counted_and_logged_once(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    monitor = watch(settings(), {MODEL: small_reference()})
    monitor.log(*(prediction(str(i), i / 100, features=KNOWN | {"age": 31}) for i in range(3 * EVERY)))
    with caplog.at_level(logging.WARNING, "stream.unknown_features"):
        monitor.read()
    assert found(monitor) == {MODEL: 1}
    assert [record.getMessage() for record in caplog.records] == [
        "model fraud: predictions have features that its reference does not have: 'age'"
    ]
    assert monitor.counters()["counted"] == 3 * EVERY


def test_known_features_and_fields_in_their_object_are_not_unknown(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    fields = {"predictions": {"features": "f", "segments": "f", "score": "f.score", "version": "f.meta.version"}}
    segments = {MODEL: {"classes": ["0", "1"], "segments": ["region"]}}
    monitor = watch(settings(segments, events=fields), {MODEL: small_reference()})
    monitor.run(prediction("a", 0, f=KNOWN | {"score": 0.5, "region": "north", "meta": {"version": "1"}}))
    assert monitor.counters()["counted"] == 1
    assert found(monitor) == {}
    assert caplog.records == []


def test_a_feature_of_the_reference_of_another_version_is_known(watch: Watch) -> None:
    own = reference(categorical("colour", ["red"], [90, 10]))
    monitor = watch(settings(), {MODEL: small_reference()}, versions={MODEL: {"2": own}})
    monitor.run(prediction("a", 0, version="1", features=KNOWN | {"colour": "red", "size": 3}))
    assert found(monitor) == {MODEL: 1}


def test_a_model_without_a_reference_and_features_mapped_one_by_one_have_no_unknown_ones(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(prediction("a", 0, features=KNOWN))
    assert found(monitor) == {}
    monitor = watch(settings(events={"predictions": {"features": {"amount": "x.amount"}}}), {MODEL: small_reference()})
    monitor.run(prediction("a", 0, x={"amount": 3.0, "age": 31}))
    assert found(monitor) == {}


def test_names_are_bounded_in_number_and_length_and_escaped(caplog: pytest.LogCaptureFixture) -> None:
    unknown = unknown_of()
    assert unknown.look(MODEL, event({"\x1b[2J\n": 1, "x" * 5_000: 2})) == 2
    assert "'\\x1b[2J\\n'" in caplog.text
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 500
    assert unknown.look(MODEL, event({f"f{i}": i for i in range(100)})) == NAMES_MAX - 2
    assert unknown.look(MODEL, event({"one more": 1})) == 0


@pytest.mark.parametrize(
    "value", [b'{"features": 3}', b'{"features": null}', b"{}", b'{"features": [1]}', b'{"a": "\xff", "features": {"age": 1}}']
)
def test_an_event_that_has_no_features_to_read_has_no_unknown_ones(value: bytes) -> None:
    assert unknown_of().look(MODEL, value) == 0


@given(st.integers(0, 10**12), st.lists(st.integers(1, 3_000), max_size=8))
def test_which_messages_are_looked_at_does_not_depend_on_the_batches(first: int, sizes: list[int]) -> None:
    offsets = np.arange(first, first + sum(sizes))
    parts = np.split(offsets, np.cumsum(sizes)[:-1]) if sizes else []
    by_part = [offset for part in parts for offset in part[looked_at(part)].tolist()]
    assert by_part == [offset for offset in range(first, first + sum(sizes)) if offset % EVERY == 0]


def test_models_that_take_turns_in_a_partition_are_all_looked_at() -> None:
    for models in (2, 4, 10, 256, 1_000):
        assert {offset % models for offset in range(0, EVERY * models, EVERY)} == set(range(models))
