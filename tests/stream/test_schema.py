"""Bytes to records: the fast and the slow path agree, and what is refused says why."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.schema import CHUNK, DETAIL_MAX, FieldMappingError, Leaf, Reason, Records, Rejected, Schema, _Refused

LEAVES = {
    "id": Leaf(("id",), str | int, required=True),
    "at": Leaf(("meta", "at"), int | float, required=True),
    "version": Leaf(("meta", "version"), str | int | float),
    "score": Leaf(("score",), float | dict[str, float]),
    "class": Leaf(("class",), str | int | float | bool),
    "x": Leaf(("features", "x"), float, feature="x"),
    "n": Leaf(("features", "n"), int, feature="n"),
    "flag": Leaf(("features", "flag"), bool, feature="flag"),
    "text": Leaf(("features", "text"), str, feature="text"),
}
SCHEMA = Schema(LEAVES, max_bytes=4000)
EVENT: dict[str, Any] = {"id": "a", "meta": {"at": 1}, "features": {"x": 1.5, "n": 3, "flag": True, "text": "t"}}


def columns(schema: Schema, value: bytes) -> dict[str, Any]:
    """The record of one usable message, by leaf, and which features were invalid."""
    index, records, rejected = schema.decode([value])
    assert (index.tolist(), rejected) == ([0], [])
    found = dict(zip(LEAVES, record(records, 0), strict=True))
    return found | {"invalid": {leaf.feature for leaf in LEAVES.values() if leaf.feature and records.invalid(leaf.feature, index)}}


def record(records: Records, position: int) -> list[Any]:
    """The values of one record, in the order of the leaves; None for the NaN of a column of numbers, as in a list."""
    values = (column[position] for column in records.columns(list(LEAVES)))
    return [None if value != value else value for value in values]


def rejection(value: bytes | None) -> Rejected:
    index, _, rejected = SCHEMA.decode([value])
    assert index.size == 0
    return rejected[0]


def merged(event: dict[str, Any], **changes: Any) -> bytes:
    return orjson.dumps(event | changes)


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.sampled_from(["1", "true", "2026-01-01T00:00:00Z"])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2), max_leaves=4
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=3) | st.integers(0, 9) | ANYTHING,
        "meta": st.fixed_dictionaries({}, optional={"at": NUMBERS | ANYTHING, "version": ANYTHING}) | ANYTHING,
        "score": st.floats(0, 1) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=2) | ANYTHING,
        "class": ANYTHING,
        "features": st.fixed_dictionaries({}, optional=dict.fromkeys(("x", "n", "flag", "text", "other"), ANYTHING)) | ANYTHING,
        "ignored": ANYTHING,
    },
)
USABLE = st.builds(
    lambda id_, at, event: {**event, "id": id_, "meta": {"at": at}}, st.text(max_size=3) | st.integers(0, 9), NUMBERS, DOCUMENTS
)


def slowly(value: bytes) -> tuple[Any, list[str]] | None:
    try:
        return SCHEMA._decode_slowly(value)
    except _Refused:
        return None


@given(DOCUMENTS | USABLE)
def test_the_fast_path_accepts_what_the_slow_one_finds_nothing_wrong_with(document: dict[str, Any]) -> None:
    value = orjson.dumps(document)
    try:
        fast = SCHEMA._decode(value)
    except Exception:
        fast = None
    slow = slowly(value)
    if document.get("features", {}) is not None:  # null for an object is missing, which only the slow path knows
        assert (fast is not None) == (slow is not None and not slow[1])
    if fast is not None:
        assert slow is not None
        assert slow[1] == []
        assert repr(fast) == repr(slow[0])  # repr tells 1, 1.0 and True apart


@given(st.lists(DOCUMENTS | USABLE, max_size=4), st.data())
def test_a_message_is_decoded_alike_whatever_else_is_in_the_batch(documents: list[dict[str, Any]], data: st.DataObject) -> None:
    values: list[bytes | None] = [orjson.dumps(document) for document in documents]
    values.insert(data.draw(st.integers(0, len(values))), data.draw(st.sampled_from([None, b"{", orjson.dumps(EVENT)])))
    index, records, rejected = SCHEMA.decode(values)
    assert sorted([*index.tolist(), *(one.index for one in rejected)]) == list(range(len(values)))
    for position, i in enumerate(index.tolist()):
        alone, only, _ = SCHEMA.decode([values[i]])
        assert alone.size == 1
        assert repr(record(only, 0)) == repr(record(records, position))
        for feature in ("x", "n", "flag", "text"):
            assert records.invalid(feature, np.array([position])) == only.invalid(feature, np.array([0]))


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        pytest.param(None, "malformed_json", "the message has no value", id="tombstone"),
        pytest.param(b"", "malformed_json", "", id="empty"),
        pytest.param(b"{", "malformed_json", "", id="cut off"),
        pytest.param(b'{"id":"a","meta":{"at":1}}x', "malformed_json", "", id="trailing"),
        pytest.param(b"\xef\xbb\xbf{}", "malformed_json", "BOM", id="byte order mark"),
        pytest.param(b'{"id":"\xff","meta":{"at":1}}', "malformed_json", "UTF-8", id="invalid utf-8"),
        pytest.param(b'{"id":"\\ud83d","meta":{"at":1}}', "malformed_json", "surrogate", id="lone surrogate"),
        pytest.param(b'{"id":"a","meta":{"at":1},"x":' + b"[" * 1500 + b"]" * 1500 + b"}", "malformed_json", "depth", id="deep in a field"),
        pytest.param(b"[" * 1900, "malformed_json", "depth", id="deep"),
        pytest.param(b'{"id":"a","meta":{"at":NaN}}', "not_finite", "NaN is not JSON; send null for a missing value", id="nan"),
        pytest.param(b'{"id":"a","x":-Infinity}', "not_finite", "-Infinity is not JSON", id="infinity"),
        pytest.param(b'{"id":"a","meta":{"at":1e999}}', "not_finite", "1e999 is beyond the range of a double", id="1e999"),
        pytest.param(
            b'{"id":1' + b"0" * 400 + b',"meta":{"at":"x"}}', "not_finite", "1" + "0" * 29 + " is beyond the range", id="huge integer"
        ),
        pytest.param(b'["id"]', "wrong_type", "the event is a JSON array, expected an object", id="array"),
        pytest.param(b"null", "wrong_type", "the event is a JSON null, expected an object", id="null"),
        pytest.param(b"12", "wrong_type", "the event is a JSON number, expected an object", id="number"),
        pytest.param(b'"{}"', "wrong_type", "the event is a JSON string, expected an object", id="string"),
        pytest.param(b"{}", "missing_field", "id is absent or null, expected a value", id="missing"),
        pytest.param(merged(EVENT, id=None), "missing_field", "id is absent or null, expected a value", id="null id"),
        pytest.param(merged(EVENT, meta={}), "missing_field", "meta.at is absent or null, expected a value", id="missing below"),
        pytest.param(merged(EVENT, meta=None), "missing_field", "meta.at is absent or null, expected a value", id="null above"),
        pytest.param(merged(EVENT, id=1.5), "wrong_type", "id: Expected", id="mistyped"),
        pytest.param(merged(EVENT, id=["a"]), "wrong_type", "id: Expected", id="list"),
        pytest.param(merged(EVENT, meta=3), "wrong_type", "meta is a JSON number, expected an object", id="mistyped above"),
        pytest.param(merged(EVENT, meta={"at": True}), "wrong_type", "meta.at: Expected", id="boolean time"),
        pytest.param(merged(EVENT, score="high"), "wrong_type", "score: Expected", id="optional but mistyped"),
        pytest.param(merged(EVENT, score={"a": None}), "wrong_type", "score: Expected", id="null in an object"),
        pytest.param(merged(EVENT, pad="x" * 4000), "too_large", "4085 bytes, expected at most 4000", id="too large"),
    ],
)
def test_a_message_that_is_not_usable_says_why(value: bytes | None, reason: Reason, detail: str) -> None:
    refused = rejection(value)
    assert refused.reason == reason
    assert detail in refused.detail
    assert len(refused.detail) <= DETAIL_MAX


def test_size_counts_bytes_and_the_limit_itself_is_allowed() -> None:
    value = merged(EVENT)
    assert Schema(LEAVES, len(value)).decode([value])[0].size == 1
    assert Schema(LEAVES, len(value) - 1).decode([value])[2][0].reason == "too_large"


@pytest.mark.parametrize(
    ("feature", "value"),
    [("x", "1.5"), ("x", True), ("x", [1]), ("n", 1.5), ("n", "3"), ("n", True), ("flag", 1), ("flag", "true"), ("text", 1), ("text", {})],
)
def test_a_feature_of_the_wrong_type_costs_only_its_value(feature: str, value: Any) -> None:
    found = columns(SCHEMA, merged(EVENT, features=EVENT["features"] | {feature: value}))
    wanted = EVENT["features"] | {feature: None}
    assert {name: found[name] for name in wanted} == wanted
    assert found["invalid"] == {feature}


@pytest.mark.parametrize("features", [7, "none", [], True])
def test_features_that_are_no_object_are_all_invalid(features: Any) -> None:
    found = columns(SCHEMA, merged(EVENT, features=features))
    assert found["id"] == "a"
    assert [found[name] for name in ("x", "n", "flag", "text")] == [None] * 4
    assert found["invalid"] == {"x", "n", "flag", "text"}


@pytest.mark.parametrize("features", [None, {}, {"x": None, "other": []}])
def test_features_that_are_absent_or_null_are_missing_and_valid(features: Any) -> None:
    found = columns(SCHEMA, merged(EVENT, features=features))
    assert [found[name] for name in ("x", "n", "flag", "text")] == [None] * 4
    assert found["invalid"] == set()


def test_the_last_of_duplicate_keys_counts_on_either_path() -> None:
    assert columns(SCHEMA, b'{"id":"a","id":"b","meta":{"at":1}}')["id"] == "b"
    assert columns(SCHEMA, b'{"id":[],"id":"b","meta":{"at":1}}')["id"] == "b"
    assert rejection(b'{"id":"a","id":[],"meta":{"at":1}}').reason == "wrong_type"


def test_fields_that_are_not_mapped_may_hold_anything_that_is_json() -> None:
    assert columns(SCHEMA, b'{"id":"a","meta":{"at":1},"huge":1e999,"pair":"\\ud83d\\ude00","deep":[[[[]]]]}')["id"] == "a"


def test_two_fields_on_one_path_each_get_what_they_can_read() -> None:
    leaves = {"version": Leaf(("v",), str | int), "v": Leaf(("v",), str, feature="v"), "x": Leaf(("x",), float, feature="x")}
    _, records, rejected = Schema(leaves, 100).decode([b'{"v":3}', b'{"v":3,"x":"wrong"}', b'{"v":"a","x":"wrong"}'])
    assert rejected == []
    assert records.columns(["version"]) == [[3, 3, "a"]]


def test_a_path_cannot_be_both_a_value_and_an_object() -> None:
    with pytest.raises(ValueError, match=r"'a\.b' is read both as a value and as an object"):
        Schema({"one": Leaf(("a", "b"), str), "two": Leaf(("a", "b", "c"), str)}, 100)


@pytest.mark.parametrize("key", ['say "hi"', "a\\b", "line\n"])
def test_a_key_that_json_escapes_cannot_be_mapped(key: str) -> None:
    with pytest.raises(FieldMappingError, match="has a quote, a backslash or a control character"):
        Schema({"x": Leaf(("features", key), float, feature=key)}, 100)


@pytest.mark.parametrize("step", [1, 10])
def test_an_event_may_have_ten_thousand_features(step: int) -> None:
    leaves = {f"f{i}": Leaf(("features", f"f{i}"), float, feature=f"f{i}") for i in range(0, 10_000, step)}
    _, records, rejected = Schema(leaves, 1 << 20).decode([orjson.dumps({"features": {f"f{i}": i for i in range(10_000)}})])
    assert rejected == []
    assert [column[0] for column in records.columns(list(leaves))] == [float(i) for i in range(0, 10_000, step)]


@given(st.binary(max_size=60))
def test_random_bytes_never_raise(value: bytes) -> None:
    index, _, rejected = SCHEMA.decode([value])
    assert index.size + len(rejected) == 1


@given(USABLE, st.data())
def test_a_mutated_event_never_raises(document: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(orjson.dumps(document))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255) | st.sampled_from(b'{}[]",:eE.-+0\\\xff'))
    index, records, rejected = SCHEMA.decode([bytes(value)])
    assert index.size + len(rejected) == 1
    assert len(records.columns(["id"])[0]) == index.size


@pytest.mark.parametrize("n", [0, 1, CHUNK, 2 * CHUNK + 1])
@pytest.mark.parametrize("last", [orjson.dumps(EVENT), b"{"])
def test_a_batch_of_any_size_keeps_its_order(n: int, last: bytes) -> None:
    values = [merged(EVENT, id=str(i), features={"x": i if i % 3 else None}) for i in range(n)]
    index, records, rejected = SCHEMA.decode([*values, last])
    assert index.size + len(rejected) == n + 1
    ids, x = records.columns(["id", "x"])
    assert ids[:n] == [str(i) for i in range(n)]
    np.testing.assert_array_equal(x[:n], [i if i % 3 else np.nan for i in range(n)])
