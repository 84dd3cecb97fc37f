"""The decoder, whatever comes: nothing raises, and each message is decoded or rejected, exactly once and rightly.

What is decoded is compared with an independent reading of the JSON (`reading.py`), wherever the JSON has one meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from stream.class_scores import ClassScores
from stream.coding import ClassCodes
from stream.events import EventDecoder, Labels, Predictions
from stream.groups import Groups
from stream.model import Model
from stream.reference import Reference
from stream.schema import DETAIL_MAX, REASONS, Rejected
from stream.store_memory import MemoryStore
from tests.builders import BASE_MS, HOUR_MS, MODEL, categorical, coded, messages, numeric, reference, settings, small_reference
from tests.fuzz import hostile, reading
from tests.fuzz.effort import examples

LATEST_MS = BASE_MS + HOUR_MS
SLOW_MS = 1  # a double says microseconds at best


class Decoding:
    """A decoder of one model, which has a feature of each kind, a segment from the event and one from a feature."""

    def __init__(self, made_from: Reference, events: Mapping[str, Any]) -> None:
        model = {"classes": ["0", "1"], "segments": ["plan", "country"], "versions_max": 1000, "segment_values_max": 10_000}
        configured = settings({MODEL: model}, events=events)
        self.model = Model.build(configured.model(MODEL), made_from)
        self.classes = ClassCodes([self.model], {"0": 1, "1": 2})
        store, models = MemoryStore(HOUR_MS), {MODEL: self.model}
        self.decoder = EventDecoder(
            configured.events, models, lambda columns: Groups(models, columns, store), self.classes, ClassScores(models.values(), store)
        )

    def predictions(self, values: Sequence[bytes | None], **more: Any) -> tuple[Predictions, list[Rejected]]:
        """What becomes of these messages, each of them once."""
        found, rejected = self.decoder.predictions(messages(values, **more), LATEST_MS)
        assert_each_once(len(values), found, rejected)
        codes, numbers = coded(self.model, *self.features(found))
        assert codes.shape == (len(self.model.slots), found.index.size)
        assert all(slot.start <= code <= slot.invalid for slot, row in zip(self.model.slots, codes.tolist(), strict=True) for code in row)
        assert len(found.hashes) == found.scores.size == found.groups.size == found.index.size == numbers.shape[1]
        return found, rejected

    def labels(self, values: Sequence[bytes | None], **more: Any) -> tuple[Labels, list[Rejected]]:
        """What becomes of these messages as labels, each of them once."""
        found, rejected = self.decoder.labels(messages(values, side="labels", **more), LATEST_MS, by_arrival=False)
        assert_each_once(len(values), found, rejected)
        assert len(found.hashes) == found.values.size == found.index.size
        return found, rejected

    def features(self, found: Predictions) -> tuple[list[list[Any]], dict[str, list[int]]]:
        """The columns of the features, and where a value was of the wrong type."""
        columns, invalid = self.decoder.feature_columns(self.model.slots, found.records, np.arange(found.index.size))
        return [[None if value != value else value for value in column] for column in columns], invalid  # NaN is None of a number

    def read(self, found: Predictions, i: int) -> reading.Read:
        """One decoded prediction, as the independent reading has it; without its id, of which there is but the hash."""
        group = self.decoder.groups[int(found.groups[i])]
        columns, invalid = self.features(found)
        return reading.Read(
            id="",
            time_ms=int(found.times_ms[i]),
            said=int(self.classes.codes(0, found.classes[i : i + 1])[0]),
            score=float(found.scores[i]),
            version=group.version,
            plan=group.segments[1].removeprefix("plan="),
            features=tuple(column[i] for column in columns),
            invalid=tuple(name for name in reading.FEATURE_TYPES if i in invalid[name]),
        )


def assert_each_once(n: int, found: Predictions | Labels, rejected: Sequence[Rejected]) -> None:
    assert sorted([*found.index.tolist(), *(one.index for one in rejected)]) == list(range(n))
    assert all(one.reason in REASONS and len(one.detail) <= DETAIL_MAX for one in rejected)
    assert all(0 <= time <= LATEST_MS for time in found.times_ms.tolist())
    assert found.times_ms.size == found.classes.size == found.index.size


def assert_alike(decoded: reading.Read, expected: reading.Read) -> None:
    """repr tells 1, 1.0 and true apart, and NaN is NaN."""
    assert abs(decoded.time_ms - expected.time_ms) <= SLOW_MS
    assert (decoded.said, repr(decoded.score), decoded.invalid) == (expected.said, repr(expected.score), expected.invalid)
    assert [*map(repr, decoded.features[1:])] == [*map(repr, expected.features[1:])]
    assert (decoded.features[0] is None) == (expected.features[0] is None)
    assert float(decoded.features[0] or 0) == float(expected.features[0] or 0)  # a whole number may be that or a double
    assert decoded.version in (expected.version, "(other)")
    assert decoded.plan in (expected.plan, "(other)")


PLAIN = Decoding(small_reference(), {})
MAPPED = Decoding(
    small_reference(),
    {
        "predictions": {
            "prediction_id": "kafka:key",
            "timestamp": "kafka:header:time",
            "model": "kafka:header:model",
            "version": "kafka:header:version",
            "prediction": "kafka:header:said",
            "score": "kafka:header:score",
            "segments": {"plan": "features.amount"},
        },
        "labels": {"prediction_id": "kafka:key", "timestamp": "kafka:timestamp", "label": "kafka:header:said"},
    },
)


def assert_read_as_predictions(values: Sequence[bytes | None]) -> None:
    """Each message that has one meaning is decoded to that, or rejected if it must be."""
    found, rejected = PLAIN.predictions(values)
    refused = {one.index: one for one in rejected}
    for i, value in enumerate(values):
        try:
            expected = reading.prediction(value, LATEST_MS)
        except reading.NotPlain:
            continue
        assert (i in refused) == (expected is None), refused.get(i)
        if expected is not None:
            position = found.index.tolist().index(i)
            assert_alike(PLAIN.read(found, position), expected)
            assert found.hashes[position].tobytes() == xxhash.xxh3_128_digest(expected.id.encode())


def assert_read_as_labels(values: Sequence[bytes | None]) -> None:
    """Likewise."""
    found, rejected = PLAIN.labels(values)
    refused = {one.index: one for one in rejected}
    for i, value in enumerate(values):
        try:
            expected = reading.label(value, LATEST_MS)
        except reading.NotPlain:
            continue
        assert (i in refused) == (expected is None), refused.get(i)
        if expected is not None:
            position = found.index.tolist().index(i)
            assert abs(found.times_ms[position] - expected.time_ms) <= SLOW_MS
            assert PLAIN.classes.codes(0, found.classes[position : position + 1])[0] == expected.said
            assert found.hashes[position].tobytes() == xxhash.xxh3_128_digest(expected.id.encode())


@examples(200)
@given(st.lists(hostile.messages, max_size=4))
def test_each_prediction_is_decoded_or_rejected_as_another_reader_would(values: list[bytes | None]) -> None:
    assert_read_as_predictions(values)


@examples(60)
@given(st.lists(hostile.messages, max_size=4))
def test_each_label_is_decoded_or_rejected_as_another_reader_would(values: list[bytes | None]) -> None:
    assert_read_as_labels(values)


@examples(70)
@given(st.lists(hostile.messages, min_size=2, max_size=5))
def test_a_prediction_is_decoded_alike_alone_and_among_others(values: list[bytes | None]) -> None:
    found, rejected = PLAIN.predictions(values)
    for one in rejected:
        assert PLAIN.predictions([values[one.index]])[1] == [Rejected(0, one.reason, one.detail)]
    for position, i in enumerate(found.index.tolist()):
        alone, _ = PLAIN.predictions([values[i]])
        assert repr(PLAIN.read(alone, 0)) == repr(PLAIN.read(found, position))


@examples(70)
@given(hostile.events(), hostile.plain_values)
def test_what_is_not_read_of_an_event_changes_nothing(event: bytes, ignored: bytes) -> None:
    longer = event.replace(b'{"prediction_id":', b'{"nothing":' + ignored + b',"prediction_id":', 1)
    found, rejected = PLAIN.predictions([event, longer])
    assert [one.reason for one in rejected] == [one.reason for one in rejected[:1]] * (2 - found.index.size)
    assert found.index.size in (0, 2)
    if found.index.size == 2:
        assert repr(PLAIN.read(found, 0)) == repr(PLAIN.read(found, 1))


@pytest.mark.parametrize("field", [*hostile.FIELDS, b"features", b"segments"])
def test_every_hostile_value_in_every_field_stops_nothing(field: bytes) -> None:
    whole = [*hostile.whole("a", 0, "0"), (b"features", hostile.as_object(hostile.whole_features())), (b"segments", b'{"plan":"gold"}')]
    rest = [member for member in whole if member[0] != field]
    values: list[bytes | None] = [hostile.as_object([*rest, (field, value)]) for value in hostile.EVERY_VALUE]
    values += [hostile.as_object([*whole, (field, value)]) for value in hostile.EVERY_VALUE]  # given twice
    mistyped = [(key, b'{"amount":"x"}' if key == b"features" else value) for key, value in rest]  # which is read another way
    values += [hostile.as_object([*mistyped, (field, value)]) for value in hostile.EVERY_VALUE]
    assert_read_as_predictions(values)
    assert_read_as_labels(values)
    found, _ = PLAIN.predictions([*values, hostile.as_object(whole)])
    labels, _ = PLAIN.labels([*values, hostile.as_object(whole)])
    assert found.index[-1] == labels.index[-1] == len(values)


@pytest.mark.parametrize("feature", [*hostile.FEATURES, b"plan"])
def test_every_hostile_value_of_a_feature_or_segment_stops_nothing(feature: bytes) -> None:
    fields = hostile.whole("a", 0, "0")
    features = [member for member in hostile.whole_features() if member[0] != feature]
    values: list[bytes | None] = []
    for value in hostile.EVERY_VALUE:
        spoilt = [(feature, value)]
        values.append(hostile.as_event(fields, features, spoilt) if feature == b"plan" else hostile.as_event(fields, features + spoilt, []))
    assert_read_as_predictions(values)
    found, rejected = PLAIN.predictions(values)
    for value, at in ((value, values.index(event)) for value, event in zip(hostile.EVERY_VALUE, values, strict=True)):
        if value in (*hostile.NUMBERS, *hostile.STRINGS, *hostile.OTHERS[:3]):  # of any type, but JSON: it costs no more than itself
            assert at in found.index.tolist(), [one for one in rejected if one.index == at]


RAW_TEXTS = [None, b"", b"nan", b"-inf", b"null", b"high", b"0", b"1", b"1700000000", b"2023-11-14T22:13:20Z", b"\x00", b"\xed\xa0\x80"]
RAW_TEXTS += [b"\xff" * 1000, b"x" * (1 << 20), *hostile.NUMBERS, *hostile.BEYOND]
HEADERS: dict[str, bytes | None] = {"time": b"1700000000", "model": MODEL.encode(), "said": b"1"}
raw_texts = st.sampled_from(RAW_TEXTS) | st.binary(max_size=12) | st.text(max_size=12).map(str.encode)


@pytest.mark.parametrize("name", ["time", "version", "said", "score", "model"])
def test_every_hostile_value_of_a_header_costs_its_own_event_at_most(name: str) -> None:
    headers = [*(HEADERS | {name: text} for text in RAW_TEXTS), HEADERS]
    values, keys = [b"{}"] * len(headers), [b"a"] * len(headers)
    found, _ = MAPPED.predictions(values, keys=keys, headers=headers)
    labels, _ = MAPPED.labels(values, keys=keys, headers=headers)
    assert found.index[-1] == labels.index[-1] == len(RAW_TEXTS)


@examples(60)
@given(
    st.lists(
        st.tuples(
            st.just(b"{}") | hostile.messages,
            raw_texts,
            st.dictionaries(st.sampled_from(("time", "version", "said", "score", "model")), raw_texts).map(
                lambda headers: HEADERS | headers
            ),
            st.integers(-(2**63), 2**63 - 1) | st.integers(BASE_MS, LATEST_MS),
        ),
        max_size=4,
    )
)
def test_nothing_in_a_key_or_a_header_or_a_timestamp_stops_the_decoder(
    rows: list[tuple[bytes | None, bytes | None, dict[str, bytes | None], int]],
) -> None:
    values, keys, headers, timestamps = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    found, _ = MAPPED.predictions(values, keys=keys, headers=headers, timestamps=timestamps)
    labels, _ = MAPPED.labels(values, keys=keys, headers=headers, timestamps=timestamps)
    for decoded in (found, labels):
        for position, i in enumerate(decoded.index.tolist()):
            assert decoded.hashes[position].tobytes() == xxhash.xxh3_128_digest(keys[i])


@pytest.mark.parametrize("n", [10_000])
def test_ten_thousand_features_in_the_event_and_in_the_reference(n: int) -> None:
    features = [numeric(f"x{i}", [0.0, 1.0], [1, 1, 1], [0, 0, 1]) for i in range(n - 2)]
    made_from = reference(categorical("country", ["DE"], [3, 0]), *features, categorical("last", ["1"], [3, 0], "integer"))
    many = Decoding(made_from, {})
    event = {"prediction_id": "a", "timestamp": BASE_MS, "model": MODEL, "prediction": "0"}
    values = {f"x{i}": i / 2 for i in range(n)} | {"last": 1}
    raw = [orjson.dumps(event | {"features": x}) for x in (values, values | {"x5": "five"}, dict.fromkeys(values, "no"), [], {})]
    found, rejected = many.predictions(raw)
    assert rejected == []
    columns, invalid = many.features(found)
    assert columns[6] == [2.5, None, None, None, None]
    assert columns[-1] == [1, 1, None, None, None]
    assert [sum(i in wrong for wrong in invalid.values()) for i in range(5)] == [0, 1, n - 1, n, 0]  # the events have no country
