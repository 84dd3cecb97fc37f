"""Messages to columns: where fields may stand, which forms they may have, and that nothing a message holds stops the decoder."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.class_scores import ClassScores
from stream.coding import ClassCodes
from stream.events import EventDecoder, Labels, Messages, Predictions
from stream.groups import Groups
from stream.join import id_hashes
from stream.model import Model
from stream.reference import Feature, Reference
from stream.schema import Rejected
from stream.store_memory import MemoryStore
from tests.builders import (
    BASE_MS,
    HOUR_MS,
    MODEL,
    at,
    categorical,
    coded,
    label,
    messages,
    numeric,
    prediction,
    reference,
    settings,
    small_reference,
)

LATEST_MS = BASE_MS + HOUR_MS
CLASSES = {"no": 1, "yes": 2}


class Decoding:
    """A decoder for some configuration, and what it makes of events."""

    def __init__(self, references: Mapping[str, Reference] | None = None, models: Mapping[str, Any] | None = None, **events: Any) -> None:
        self.settings = settings(models, events=events)
        found = references or {}
        self.models = {name: Model.build(self.settings.model(name), found.get(name)) for name in self.settings.models}
        store = MemoryStore(HOUR_MS)
        texts = sorted({text for model in self.models.values() for text in model.settings.classes})
        self.classes = ClassCodes(self.models.values(), dict(zip(texts, store.intern("class", texts), strict=True)))
        self.decoder = EventDecoder(
            self.settings.events,
            self.models,
            lambda columns: Groups(self.models, columns, store),
            self.classes,
            ClassScores(self.models.values(), store),
        )

    def predictions(self, *events: Mapping[str, Any] | bytes | None, **more: Any) -> tuple[Predictions, list[Rejected]]:
        return self.decoder.predictions(packed(events, **more), LATEST_MS)

    def labels(self, *events: Mapping[str, Any] | bytes | None, by_arrival: bool = False, **more: Any) -> tuple[Labels, list[Rejected]]:
        return self.decoder.labels(packed(events, **more), LATEST_MS, by_arrival=by_arrival)

    def group(self, event: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
        """Model, version and segments that an event counts for."""
        found, rejected = self.predictions(event)
        assert rejected == []
        group = self.decoder.groups[int(found.groups[0])]
        return group.model.settings.name, group.version, group.segments[1:]

    def codes(self, events: Sequence[Mapping[str, Any]], model: str = MODEL) -> dict[str, list[int | str]]:
        """Per feature the bin of each event, counted from the feature's first, or "missing" or "invalid"."""
        found, rejected = self.predictions(*events)
        assert rejected == []
        where = np.flatnonzero([self.decoder.groups[g].model.settings.name == model for g in found.groups.tolist()])
        codes, _ = coded(self.models[model], *self.decoder.feature_columns(self.models[model].slots, found.records, where))
        named = {}
        for slot, row in zip(self.models[model].slots, codes.tolist(), strict=True):
            special = {slot.missing: "missing", slot.invalid: "invalid"}
            named[slot.feature.name] = [special.get(code, code - slot.start) for code in row]
        return named


def packed(events: Sequence[Mapping[str, Any] | bytes | None], **more: Any) -> Messages:
    return messages([orjson.dumps(event) if isinstance(event, Mapping) else event for event in events], **more)


PLAIN = Decoding({MODEL: small_reference()})


# times


@pytest.mark.parametrize("ms", [1_700_000_000_123, 1_699_999_999_777, 1_700_000_000_001, 1_700_000_000_999])
def test_every_way_to_write_a_time_gives_the_same_ms(ms: int) -> None:
    clock = f"{['22:13:20', '22:13:19'][ms < 1_700_000_000_000]}.{ms % 1000:03d}"
    times = [ms / 1000, ms, ms * 1000, ms * 10**6, float(ms), float(ms * 1000), float(ms * 10**6), ms * 1000 + 999, ms * 10**6 + 999_999]
    dates = [f"2023-11-14T{clock}Z", f"2023-11-14T{clock}+00:00", f"2023-11-14t{clock}z", f"2023-11-14 {clock}Z", f"2023-11-14T{clock}999Z"]
    found, rejected = PLAIN.predictions(*(prediction(str(i), 0) | {"timestamp": time} for i, time in enumerate([*times, *dates])))
    assert rejected == []
    assert found.times_ms.tolist() == [ms] * len([*times, *dates])


def test_offsets_of_a_date_are_taken_off() -> None:
    dates = ["2023-11-14T23:43:20+01:30", "2023-11-14T14:13:20-08:00", "2023-11-14T22:13:20Z"]
    found, _ = PLAIN.predictions(*(prediction(date, 0) | {"timestamp": date} for date in dates))
    assert found.times_ms.tolist() == [1_700_000_000_000] * 3


@given(st.integers(10**12, LATEST_MS), st.sampled_from([1, 1000, 10**6]))
def test_a_time_does_not_depend_on_the_rest_of_the_batch(ms: int, unit: int) -> None:
    event = prediction("a", 0) | {"timestamp": ms * unit}
    alone, _ = PLAIN.predictions(event)
    among, _ = PLAIN.predictions(event, prediction("b", 0) | {"timestamp": 1.5}, prediction("c", 0) | {"timestamp": "2020-01-01T00:00:00Z"})
    assert among.times_ms[0] == alone.times_ms[0]


@pytest.mark.parametrize(
    ("time", "reason", "detail"),
    [
        (-1, "bad_time", "timestamp=-1, expected 1970 to 9999"),
        (-0.5, "bad_time", "timestamp=-0.5, expected 1970 to 9999"),
        (2**63 - 1, "future_time", "timestamp=9223372036854775807 is further ahead than time.max_future_skew"),
        (10**19, "bad_time", "timestamp=10000000000000000000, expected 1970 to 9999"),
        (1e300, "bad_time", "timestamp=1e+300, expected 1970 to 9999"),
        (1.7e308, "bad_time", "timestamp=1.7e+308, expected 1970 to 9999"),
        (-1.7e308, "bad_time", "timestamp=-1.7e+308, expected 1970 to 9999"),
        ("1969-12-31T23:59:59Z", "bad_time", "expected 1970 to 9999"),
        ("0001-01-01T00:00:00+14:00", "bad_time", "expected 1970 to 9999"),
        ("9999-12-31T23:59:59-14:00", "bad_time", "expected 1970 to 9999"),
        ("9999-01-01T00:00:00Z", "future_time", "further ahead"),
        ("5138-11-17T00:00:00Z", "future_time", "further ahead"),
        (LATEST_MS + 1, "future_time", f"timestamp={LATEST_MS + 1} is further ahead than time.max_future_skew"),
        ("yesterday", "wrong_type", "timestamp: Invalid RFC3339"),
        ("2023-11-14T22:13:20", "wrong_type", "timestamp: Expected `datetime` with a timezone"),
        ("1700000000", "wrong_type", "timestamp: Invalid RFC3339"),
        (True, "wrong_type", "timestamp: Expected"),
        (None, "missing_field", "timestamp is absent or null, expected a value"),
        ([], "wrong_type", "timestamp: Expected"),
    ],
)
def test_a_time_that_cannot_be_says_why(time: Any, reason: str, detail: str) -> None:
    for decode, event in ((PLAIN.predictions, prediction("a", 0)), (PLAIN.labels, label("a", 0))):
        found, rejected = decode(event | {"timestamp": time}, event)
        assert [(one.index, one.reason) for one in rejected] == [(0, reason)]
        assert detail in rejected[0].detail
        assert found.index.tolist() == [1]


def test_the_latest_time_itself_is_usable() -> None:
    assert PLAIN.predictions(prediction("a", 0) | {"timestamp": LATEST_MS})[0].times_ms.tolist() == [LATEST_MS]


@pytest.mark.parametrize("digits", [20, 309, 400, 4299, 4300, 4301, 20_000])
@pytest.mark.parametrize("field", ["prediction_id", "timestamp", "version", "prediction", "score", "segments", "amount", "channel"])
def test_integers_of_any_length_stop_nothing(field: str, digits: int) -> None:
    decoding = Decoding({MODEL: small_reference()}, {MODEL: {"classes": ["0", "1"], "segments": ["plan"]}})
    event = prediction("a", 0, features={}) | {"segments": {}}
    target = {"segments": event["segments"], "amount": event["features"], "channel": event["features"]}.get(field, event)
    target["plan" if field == "segments" else field] = 123456
    found, rejected = decoding.predictions(orjson.dumps(event).replace(b"123456", b"9" * digits))
    assert len(found.index) + len(rejected) == 1
    if found.index.size:
        coded(decoding.models[MODEL], *decoding.decoder.feature_columns(decoding.models[MODEL].slots, found.records, np.arange(1)))


@pytest.mark.parametrize("digits", [20, 400, 4301])
def test_a_label_of_any_length_stops_nothing(digits: int) -> None:
    found, rejected = PLAIN.labels(b'{"prediction_id":"a","timestamp":1,"label":' + b"9" * digits + b"}")
    assert len(found.index) + len(rejected) == 1


# ids, classes, scores


def test_a_whole_number_beyond_64_bits_is_read_alike_beside_a_feature_of_the_wrong_type() -> None:
    id_ = "340282366920938463463374607431768211455"  # a UUID as a number
    raw = f'{{"prediction_id":{id_},"timestamp":{at(0)},"model":"{MODEL}","version":{id_},"prediction":0,"features":{{"amount":"x"}}}}'
    found, rejected = PLAIN.predictions(raw.encode(), raw.replace('"x"', "1").encode())
    assert rejected == []
    assert found.hashes.tolist() == id_hashes([id_, id_]).tolist()
    assert [PLAIN.decoder.groups[group].version for group in found.groups.tolist()] == [id_, id_]


def test_an_id_may_be_a_text_or_an_integer_of_the_same_digits() -> None:
    found, _ = PLAIN.predictions(prediction("17", 0), prediction(17, 0), prediction("017", 0))
    labels, _ = PLAIN.labels(label(17, 0), label("17", 0))
    assert found.hashes[0].tolist() == found.hashes[1].tolist() == labels.hashes[0].tolist() == labels.hashes[1].tolist()
    assert found.hashes[2].tolist() != found.hashes[0].tolist()
    assert found.hashes[:1].tolist() == id_hashes(["17"]).tolist()


@pytest.mark.parametrize("id_", ["", "ü", "\x00", "a\nb", "x" * 100_000, -1, 0])
def test_any_text_or_integer_is_an_id(id_: str | int) -> None:
    assert PLAIN.predictions(prediction(id_, 0))[0].index.size == 1


@pytest.mark.parametrize("id_", [1.5, True, None, [], {}])
def test_nothing_else_is_an_id(id_: Any) -> None:
    assert PLAIN.predictions({**prediction("a", 0), "prediction_id": id_})[1][0].reason in ("wrong_type", "missing_field")


@pytest.mark.parametrize(
    ("classes", "values", "expected"),
    [
        (["0", "1"], ["0", "1", 0, 1, False, True, 0.0, 1.0, "false", "true"], [0, 1, 0, 1, 0, 1, 0, 1, 2, 2]),
        (["false", "true"], ["false", "true", False, True, 0, 1, 1.0], [0, 1, 0, 1, 0, 1, 1]),
        (["a", "b"], ["a", "b", "c", "", "A", 0, True], [0, 1, 2, 2, 2, 2, 2]),
        (["-1", "10"], [-1, "-1", 10.0, "10", "-01", 1, 0.5], [0, 0, 1, 1, 2, 2, 2]),
        (["01", "1"], [1, "1", "01"], [1, 1, 0]),
    ],
)
def test_a_class_may_come_as_text_number_or_boolean(classes: list[str], values: list[Any], expected: list[int]) -> None:
    decoding = Decoding(models={MODEL: {"classes": classes}})
    found, rejected = decoding.predictions(*(prediction(str(i), 0, value) for i, value in enumerate(values)))
    labels, _ = decoding.labels(*(label(str(i), 0, value) for i, value in enumerate(values)))
    assert rejected == []
    assert decoding.classes.codes(0, found.classes).tolist() == expected
    assert decoding.classes.codes(0, labels.classes).tolist() == expected


def test_models_that_write_the_same_class_differently_do_not_disturb_each_other() -> None:
    decoding = Decoding(
        models={"digits": {"classes": ["0", "1"]}, "words": {"classes": ["false", "true"]}, "padded": {"classes": ["00", "01"]}}
    )
    found, _ = decoding.predictions(
        *(prediction(str(i), 0, value) | {"model": "digits"} for i, value in enumerate([1, True, "1", "true", "01"]))
    )
    codes = {name: decoding.classes.codes(i, found.classes).tolist() for i, name in enumerate(decoding.models)}
    assert codes["padded"] == [2, 2, 2, 2, 1]
    assert codes["digits"][:3] == [*codes["words"][:2], 1] == [1, 1, 1]


def test_a_score_is_a_number_or_that_of_the_predicted_class() -> None:
    said = [
        ("1", 0.25),
        ("1", 1),
        ("1", None),
        ("1", {"0": 0.9, "1": 0.1}),
        (0, {"0": 0.9}),
        (True, {"true": 0.7}),
        ("1", {"0": 1}),
        ("1", {}),
    ]
    found, rejected = PLAIN.predictions(*(prediction(str(i), 0, value, score=score) for i, (value, score) in enumerate(said)))
    assert rejected == []
    np.testing.assert_array_equal(found.scores, [0.25, 1.0, np.nan, 0.1, 0.9, 0.7, np.nan, np.nan])


def test_a_score_that_stands_where_something_else_does_is_refused_where_it_is_no_number() -> None:
    decoding = Decoding(predictions={"score": "prediction"})
    said = [0.5, 1, "1", "fraud", True, None]
    found, rejected = decoding.predictions(*(prediction(str(i), 0, value) for i, value in enumerate(said)))
    assert [(one.index, one.reason) for one in rejected if one.reason != "missing_field"] == [(i, "wrong_type") for i in (2, 3, 4)]
    np.testing.assert_array_equal(found.scores, [0.5, 1.0])


def test_the_number_of_a_label_is_kept_beside_its_class() -> None:
    labels, _ = PLAIN.labels(*(label(str(i), 0, value) for i, value in enumerate([1, 2.5, "1", True])))
    np.testing.assert_array_equal(labels.values, [1.0, 2.5, np.nan, np.nan])


def test_the_value_of_a_prediction_is_a_number_where_it_is_mapped() -> None:
    decoding = Decoding(predictions={"value": "stake"})
    stakes = [12.5, 3, None, 1e300, -0.1]
    found, rejected = decoding.predictions(
        *({**prediction(str(i), 0), "stake": stake} for i, stake in enumerate(stakes)), prediction("x", 0)
    )
    np.testing.assert_array_equal(found.values, np.array([12.5, 3, np.nan, np.nan, -0.1, np.nan], np.float32))
    assert rejected == []


@pytest.mark.parametrize("stake", ["much", "12.5", True, [1], {"amount": 3}])
def test_a_value_that_is_no_number_is_left_out_and_the_event_counts(stake: Any) -> None:
    decoding = Decoding(predictions={"value": "stake"})
    found, rejected = decoding.predictions({**prediction("a", 0), "stake": stake}, {**prediction("b", 0), "stake": 2})
    np.testing.assert_array_equal(found.values, np.array([np.nan, 2], np.float32))
    assert rejected == []


def test_a_value_that_is_not_mapped_is_not_read() -> None:
    found, rejected = PLAIN.predictions({**prediction("a", 0), "value": "anything"}, {**prediction("b", 0), "value": 1})
    assert rejected == []
    assert np.isnan(found.values).all()


def test_a_value_may_be_a_feature_too() -> None:
    decoding = Decoding({MODEL: small_reference()}, {MODEL: {"classes": ["0", "1"]}}, predictions={"value": "features.amount"})
    found, rejected = decoding.predictions(prediction("a", 0, features={"amount": 15}), prediction("b", 0))
    assert rejected == []
    np.testing.assert_array_equal(found.values, np.array([15, np.nan], np.float32))
    (slot,) = (slot for slot in decoding.models[MODEL].slots if slot.feature.name == "amount")
    (column,), _ = decoding.decoder.feature_columns([slot], found.records, np.arange(2))
    np.testing.assert_array_equal(np.array(column, np.float64), [15, np.nan])


# where fields stand


def test_fields_may_stand_anywhere_in_the_message() -> None:
    mapping = {
        "prediction_id": "kafka:key",
        "timestamp": "kafka:timestamp",
        "model": f"const:{MODEL}",
        "version": "kafka:header:version",
        "prediction": "payload.out.class",
        "score": "payload.out.p",
        "features": {"amount": "payload.tx.amount", "country": "geo"},
    }
    decoding = Decoding({MODEL: small_reference()}, {MODEL: {"classes": ["0", "1"]}}, predictions=mapping)
    event = {"payload": {"out": {"class": 1, "p": 0.5}, "tx": {"amount": 15}}, "geo": "FR", "features": {"amount": 1, "new": True}}
    more = {"keys": [b"id-1"], "timestamps": [at(3)], "headers": [{"version": b"7"}]}
    found, rejected = decoding.predictions(event, **more)
    assert rejected == []
    assert found.times_ms.tolist() == [at(3)]
    assert found.hashes.tolist() == id_hashes(["id-1"]).tolist()
    assert found.scores.tolist() == [0.5]
    assert decoding.decoder.groups[int(found.groups[0])].version == "7"
    codes, _ = coded(decoding.models[MODEL], *decoding.decoder.feature_columns(decoding.models[MODEL].slots, found.records, np.arange(1)))
    slots = decoding.models[MODEL].slots
    assert (codes[:, 0] - [slot.start for slot in slots]).tolist() == [2, 1, slots[2].bins, slots[3].bins]  # new is not mapped: missing


@pytest.mark.parametrize(
    ("more", "reason", "detail"),
    [
        ({"keys": [None], "headers": [{"at": b"1700000000"}]}, "missing_field", "prediction_id: absent in the message's key or headers"),
        ({"keys": [b"\xff"], "headers": [{"at": b"1700000000"}]}, "wrong_type", "prediction_id: 'utf-8' codec"),
        ({"keys": [b"a"], "headers": [{}]}, "missing_field", "timestamp: absent in the message's key or headers"),
        ({"keys": [b"a"], "headers": [{"at": None}]}, "missing_field", "timestamp: absent"),
        ({"keys": [b"a"], "headers": [{"at": b"soon"}]}, "wrong_type", "timestamp: "),
        ({"keys": [b"a"], "headers": [{"at": b"nan"}]}, "bad_time", "timestamp=nan"),
        ({"keys": [b"a"], "headers": [{"at": b"-inf"}]}, "bad_time", "timestamp=-inf"),
        ({"keys": [b"a"], "headers": [{"at": b"9" * 400}]}, "bad_time", "timestamp="),
    ],
)
def test_a_field_missing_in_key_or_headers_says_so(more: dict[str, Any], reason: str, detail: str) -> None:
    decoding = Decoding(predictions={"prediction_id": "kafka:key", "timestamp": "kafka:header:at"})
    found, rejected = decoding.predictions({"model": MODEL, "prediction": 1}, **more)
    assert found.index.size == 0
    assert [(one.reason, one.detail[: len(detail)]) for one in rejected] == [(reason, detail)]


@pytest.mark.parametrize("score", [b"", b"high", b"\xff", b"9" * 400])
def test_a_score_in_a_header_that_is_no_number_costs_its_event_and_no_other(score: bytes) -> None:
    decoding = Decoding(predictions={"score": "kafka:header:score"})
    found, rejected = decoding.predictions(*(prediction(id_, 0) for id_ in "abc"), headers=[{"score": score}, {"score": b"0.25"}, {}])
    assert [(one.index, one.reason) for one in rejected] == [(0, "wrong_type")]
    assert found.index.tolist() == [1, 2]
    np.testing.assert_array_equal(found.scores, [0.25, np.nan])


@pytest.mark.parametrize(("header", "ms"), [(b"1700000000", 0), (b"1700000000.25", 250), (b"2023-11-14T22:13:20.5Z", 500)])
def test_a_time_in_a_header_is_read_like_one_in_the_event(header: bytes, ms: int) -> None:
    decoding = Decoding(predictions={"timestamp": "kafka:header:at"})
    found, _ = decoding.predictions(prediction("a", 0), headers=[{"at": header}])
    assert found.times_ms.tolist() == [1_700_000_000_000 + ms]


def test_labels_run_by_their_arrival_if_so_configured_and_arrival_must_be_a_time_too() -> None:
    events = [label(str(i), 0) for i in range(3)]
    found, rejected = PLAIN.labels(*events, by_arrival=True, timestamps=[at(9), -1, LATEST_MS + 1])
    assert found.times_ms.tolist() == [at(9)]
    assert [(one.index, one.reason) for one in rejected] == [(1, "bad_time"), (2, "future_time")]


def test_a_segment_may_read_the_path_of_a_feature_of_another_type() -> None:
    models = {MODEL: {"classes": ["0", "1"], "segments": ["size"]}}
    decoding = Decoding({MODEL: small_reference()}, models, predictions={"segments": {"size": "features.amount"}})
    events = [prediction(str(i), 0, features={"amount": value}) for i, value in enumerate([15, "abc", "12", True, 2.5])]
    assert decoding.codes(events)["amount"] == [2, "invalid", "invalid", "invalid", 1]
    assert [decoding.group(event)[2] for event in events[:3]] == [("size=15",), ("size=abc",), ("size=12",)]


# models, versions, segments


def test_a_model_that_is_not_configured_is_named() -> None:
    found, rejected = PLAIN.predictions(prediction("a", 0), prediction("b", 0) | {"model": "fraud2"}, prediction("c", 0))
    assert found.index.tolist() == [0, 2]
    assert rejected == [Rejected(1, "unknown_model", "model='fraud2', expected one that is configured")]


@pytest.mark.parametrize(
    ("version", "text"), [("v1", "v1"), (2, "2"), (1.5, "1.5"), (None, "unversioned"), ("x" * 201, "(other)"), ("a\nb", "(other)")]
)
def test_a_version_is_a_text(version: Any, text: str) -> None:
    assert PLAIN.group(prediction("a", 0, version=version))[1] == text


def test_segments_come_from_the_event_and_from_categorical_features() -> None:
    decoding = Decoding({MODEL: small_reference()}, {MODEL: {"classes": ["0", "1"], "segments": ["country", "plan", "amount"]}})
    event = prediction("a", 0, features={"country": "FR", "amount": 5}, segments={"plan": True, "country": "XX", "amount": 7})
    assert decoding.group(event)[2] == ("country=FR", "plan=true", "amount=7")  # amount is no category, so it is an event's segment
    assert decoding.group(prediction("b", 0))[2] == ("country=(none)", "plan=(none)", "amount=(none)")


def test_segment_values_beyond_the_limit_are_counted_together() -> None:
    decoding = Decoding(models={MODEL: {"classes": ["0", "1"], "segments": ["plan"], "segment_values_max": 2}})
    values = ["a", "b", "c", "a", "d", "x" * 201, "\n"]
    found = [decoding.group(prediction("a", 0, segments={"plan": value}))[2] for value in values]
    assert found == [("plan=a",), ("plan=b",), ("plan=(other)",), ("plan=a",), ("plan=(other)",), ("plan=(other)",), ("plan=(other)",)]


def test_a_segment_of_the_wrong_type_is_refused() -> None:
    decoding = Decoding(models={MODEL: {"classes": ["0", "1"], "segments": ["plan"]}})
    assert decoding.predictions(prediction("a", 0, segments={"plan": ["gold"]}))[1][0].reason == "wrong_type"


# features


def test_every_form_of_a_feature_has_its_bin() -> None:
    values = [{"amount": 15, "country": "FR", "channel": 2, "new": True}, {"amount": None, "country": "ES", "channel": 9, "new": None}]
    values += [{"amount": "15", "country": 3, "channel": "2", "new": 1}, {}]
    events = [prediction(str(i), 0, features=features) for i, features in enumerate(values)]
    assert PLAIN.codes(events) == {
        "amount": [2, "missing", "invalid", "missing"],
        "country": [1, 2, "invalid", "missing"],
        "channel": [1, 2, "invalid", "missing"],
        "new": [1, "missing", "invalid", "missing"],
    }


@pytest.mark.parametrize("features", [3, "none", []])
def test_features_that_are_no_object_cost_all_values_and_not_the_event(features: Any) -> None:
    coded = PLAIN.codes([prediction("a", 0, features=features), prediction("b", 0, features={"amount": 15, "country": "DE"})])
    assert coded == {"amount": ["invalid", 2], "country": ["invalid", 0], "channel": ["invalid", "missing"], "new": ["invalid", "missing"]}


def test_models_may_disagree_about_the_type_of_a_feature() -> None:
    kinds: dict[str, Feature] = {
        "number": numeric("x", [0.0, 10.0], [0, 5, 0], [0, 0, 1]),
        "text": categorical("x", ["1", "a"], [3, 2, 0]),
        "whole": categorical("x", ["1", "7"], [3, 2, 0], "integer"),
        "flag": categorical("x", ["false", "true"], [3, 2, 0], "boolean"),
    }
    decoding = Decoding({name: reference(x, model=name) for name, x in kinds.items()}, {name: {"classes": ["0", "1"]} for name in kinds})
    values = [7, 1.5, "1", True, None, {}, "zz"]
    events = [{**prediction(f"{name}{i}", 0, features={"x": value}), "model": name} for name in kinds for i, value in enumerate(values)]
    assert {name: decoding.codes(events, name)["x"] for name in kinds} == {
        "number": [1, 1, "invalid", "invalid", "missing", "invalid", "invalid"],
        "text": ["invalid", "invalid", 0, "invalid", "missing", "invalid", 2],
        "whole": [1, "invalid", "invalid", "invalid", "missing", "invalid", "invalid"],
        "flag": ["invalid", "invalid", "invalid", 1, "missing", "invalid", "invalid"],
    }


def test_a_whole_number_too_large_for_a_double_is_invalid_where_models_disagree() -> None:
    kinds: dict[str, Feature] = {
        "number": numeric("x", [0.0, 10.0], [0, 5, 0], [0, 0, 1]),
        "whole": categorical("x", ["1"], [5, 0], "integer"),
    }
    decoding = Decoding({name: reference(x, model=name) for name, x in kinds.items()}, {name: {"classes": ["0", "1"]} for name in kinds})
    raw = b'{"prediction_id":"a","timestamp":1,"model":"number","prediction":0,"features":{"x":1' + b"0" * 400 + b"}}"
    found, _ = decoding.predictions(raw)
    model = decoding.models["number"]
    assert coded(model, *decoding.decoder.feature_columns(model.slots, found.records, np.arange(1)))[0][0, 0] == model.slots[0].invalid


# whatever comes


def test_strings_of_a_mebibyte_are_too_large_and_half_of_that_is_not() -> None:
    big = PLAIN.settings.events.max_bytes
    found, rejected = PLAIN.predictions(prediction("x" * (big - 200), 0), prediction("x" * (1 << 20), 0))
    assert found.index.tolist() == [0]
    assert [(one.index, one.reason) for one in rejected] == [(1, "too_large")]


def test_the_rest_of_a_batch_is_not_disturbed_by_what_is_rejected() -> None:
    events = [prediction(str(i), i, i % 2, score=i / 10, features={"amount": i}) for i in range(6)]
    spoiled: list[Any] = [
        events[0],
        None,
        events[1],
        events[2] | {"model": "x"},
        b"[]",
        events[3],
        events[4] | {"timestamp": -1},
        events[5],
    ]
    found, rejected = PLAIN.predictions(*spoiled)
    clean, _ = PLAIN.predictions(events[0], events[1], events[3], events[5])
    assert found.index.tolist() == [0, 2, 5, 7]
    assert sorted((one.index, one.reason) for one in rejected) == [
        (1, "malformed_json"),
        (3, "unknown_model"),
        (4, "wrong_type"),
        (6, "bad_time"),
    ]
    for name in ("times_ms", "hashes", "groups", "classes", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(clean, name))
    np.testing.assert_array_equal(found.records.columns(["features.amount"]), clean.records.columns(["features.amount"]))


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
FIELDS = st.dictionaries(
    st.sampled_from([*prediction("a", 0), "version", "score", "features", "segments", "label"]),
    VALUES | st.dictionaries(st.sampled_from(["amount", "country", "channel", "new", "plan"]), VALUES, max_size=5),
    max_size=4,
)
ROUGH = Decoding({MODEL: small_reference()}, {MODEL: {"classes": ["0", "1"], "segments": ["plan", "country"]}})


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An event that was valid once."""
    whole = prediction("a", 0, features={"amount": 1.5, "country": "DE", "channel": 1, "new": True}, label="1")
    value = bytearray(json.dumps(whole | draw(FIELDS)).encode())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(value) - 1))
        value[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b'"', b"}", b"1e999", b"\\ud800"]))
    return bytes(value)


@given(st.lists(damaged() | st.binary(max_size=30) | st.none(), max_size=5))
def test_every_message_is_either_usable_or_rejected_and_nothing_raises(values: list[bytes | None]) -> None:
    found, rejected = ROUGH.predictions(*values)
    assert sorted([*found.index.tolist(), *(one.index for one in rejected)]) == list(range(len(values)))
    n = found.index.size
    assert (found.times_ms.size, found.groups.size, found.classes.size, found.scores.size, len(found.hashes)) == (n,) * 5
    assert all(0 <= time <= LATEST_MS for time in found.times_ms.tolist())
    model = ROUGH.models[MODEL]
    codes, _ = coded(model, *ROUGH.decoder.feature_columns(model.slots, found.records, np.arange(n)))
    assert codes.shape == (4, n)
    labels, refused = ROUGH.labels(*values)
    assert sorted([*labels.index.tolist(), *(one.index for one in refused)]) == list(range(len(values)))


def test_a_latency_that_is_no_number_is_left_out_and_the_event_counts() -> None:
    said = [12.5, 3, None, "12.5", True, {"p50": 3}, [3], 10**400]
    events, rejected = Decoding().predictions(
        *(json.dumps(prediction(i, 1, latency_ms=latency)).encode() for i, latency in enumerate(said))
    )
    assert [found.reason for found in rejected] == ["not_finite"]  # no double holds it, so it is no JSON for anyone who reads doubles
    assert events.latencies_ms.tolist() == pytest.approx([12.5, 3.0, *[np.nan] * 5], nan_ok=True)


@pytest.mark.parametrize(("name", "column"), [("latency_ms", "latencies_ms"), ("value", "values")])
@pytest.mark.parametrize(
    ("place", "headers", "expected"),
    [
        ("took.total", {}, [7.5, 7.5]),
        ("features.amount", {}, [3.0, 3.0]),
        ("features.country", {}, [np.nan, np.nan]),
        ("version.ms", {}, [np.nan, np.nan]),
        ("v", {}, [np.nan, np.nan]),
        ("kafka:header:took", {"took": b"12.5"}, [12.5, 12.5]),
        ("kafka:header:took", {"took": b"soon"}, [np.nan, np.nan]),
        ("kafka:header:took", {"took": b"\xff"}, [np.nan, np.nan]),
        ("kafka:header:took", {"took": None}, [np.nan, np.nan]),
        ("kafka:header:took", {}, [np.nan, np.nan]),
    ],
)
def test_latency_and_value_may_stand_elsewhere_and_cost_no_event_there(
    name: str, column: str, place: str, headers: Mapping[str, bytes | None], expected: list[float]
) -> None:
    fields = {name: place, "version": "v"}
    decoding = Decoding({MODEL: small_reference()}, predictions=fields)
    event = {"took": {"total": 7.5}, "features": {"amount": 3.0, "country": "DE"}, "version": "2", "v": "12.5"}
    broken = {**event, "features": {**event["features"], "flag": "no flag"}}
    events, rejected = decoding.predictions(prediction(1, 1, **event), prediction(2, 1, **broken), headers=[headers, headers])
    assert rejected == []
    assert getattr(events, column).tolist() == pytest.approx(expected, nan_ok=True)


def test_latencies_stay_with_their_events_where_others_are_unusable() -> None:
    events, rejected = Decoding().predictions(
        prediction(1, 1, latency_ms=1.0), prediction(2, 1, latency_ms=2.0, model="unknown"), prediction(3, 1, latency_ms=3.0)
    )
    assert ([found.reason for found in rejected], events.latencies_ms.tolist()) == (["unknown_model"], [1.0, 3.0])
