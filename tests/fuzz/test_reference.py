"""Reference files, whatever they hold: InvalidReferenceError that names the file, or a reference that a model can be watched with.

A changed file is given the id of its new content, since all that was changed by hand is refused by its id already.
"""

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.reference import InvalidReferenceError, NumericFeature, Reference
from stream.schema import FieldMappingError
from tests.builders import MODEL, Monitor, numeric, prediction, reference, settings, small_reference
from tests.fuzz import hostile
from tests.fuzz.effort import examples

NUMBERS = [0, -1, 1, 10**6, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(2**63), 0.0, -0.0, 0.5, 5e-324, 1.7e308, -1.7e308]
LISTS: list[Any] = [
    [],
    [0],
    [[]],
    [[0]],
    [[[0]]],
    [1, "a"],
    [None],
    [True],
    [0, 1],
    [-1.7e308, 1.7e308],
    [2**63 - 1] * 2,
    [0.0, 5e-324],
    [1e300] * 3,
]
TEXTS = [
    "",
    "\0",
    "\n",
    "a" * 300,
    "x|y",
    "(other)",
    "(missing)",
    "é",
    "e\u0301",
    "0",
    "-0",
    "9" * 5000,
    "true",
    "numeric",
    "integer",
    "boolean",
]
VALUES: list[Any] = [*NUMBERS, *LISTS, *TEXTS, None, True, {}, {"a": 1}]
numbers = st.sampled_from(NUMBERS) | st.integers(-5, 100) | st.floats(allow_nan=False, allow_infinity=False)
values = st.sampled_from(VALUES) | numbers | st.lists(numbers, max_size=6) | st.text(max_size=4)

Path_ = tuple[str | int, ...]


def tree() -> dict[str, Any]:
    """A reference with a feature of each kind, and moments, as JSON."""
    made = small_reference()
    amount = made.features[0]
    assert isinstance(amount, NumericFeature)
    moments = {"mean": 20.0, "std": 5.0, "minimum": 0.0, "maximum": 99.0}
    return {
        "format": "driftstream-reference/1",
        **{name: getattr(made, name) for name in ("reference_id", "model", "version", "rows")},
        "classes": list(made.classes),
        "confusion": [[70, 10], [5, 15]],
        "features": [
            {"kind": "numeric", "name": "amount", "missing": 5, **moments}
            | {name: getattr(amount, name).tolist() for name in ("edges", "counts", "groups")},
            *(
                {"kind": "categorical", "name": feature.name, "value_type": feature.value_type, "missing": 0}
                | {"categories": list(feature.categories), "counts": feature.counts.tolist()}
                for feature in made.features[1:]
                if not isinstance(feature, NumericFeature)
            ),
        ],
    }


TREE = tree()


def paths(node: Any, path: Path_ = ()) -> list[Path_]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


def changed(path: Path_, change: str, value: Any, node: Any = TREE) -> Any:
    """The tree with the value at the path replaced, dropped, or given another neighbour."""
    if not path:
        return value
    node = copy.copy(node)
    if len(path) > 1:
        node[path[0]] = changed(path[1:], change, value, node[path[0]])
    elif change == "drop":
        del node[path[0]]
    elif change == "insert" and isinstance(node, list):
        node.insert(path[0], value)
    else:
        node[path[0]] = value
    return node


def balanced(node: dict[str, Any]) -> dict[str, Any]:
    """The tree with `rows` and each `missing` such that the sums are right again, where they can be."""
    try:
        features = node["features"]
        rows = max(int(node["rows"]), *(sum(feature["counts"]) for feature in features))
        return node | {"rows": rows, "features": [feature | {"missing": rows - sum(feature["counts"])} for feature in features]}
    except (KeyError, TypeError, ValueError, OverflowError):
        return node


def signed(node: Any) -> Any:
    """The tree with the id of its content."""
    if not isinstance(node, dict):
        return node
    content = {key: value for key, value in node.items() if key != "reference_id"}
    try:
        digest = hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]
    except ValueError:
        return node
    return {**node, "reference_id": re.sub(r"[^A-Za-z0-9._-]+", "-", f"{node.get('model')}-{node.get('version')}-{digest}")}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "reference.json"


def load(file: Path, content: bytes) -> Reference | None:
    """The reference in the file, if it is one."""
    file.write_bytes(content)
    try:
        return Reference.load(file)
    except InvalidReferenceError as error:
        message = str(error)
    assert str(file) in message
    return None


def watch(made_from: Reference) -> None:
    """A model with this reference counts events, closes a window and scores it; what it says fits the published schemas."""
    for feature in made_from.features:
        assert feature.coarse_counts().dtype == np.int64
        assert len(feature.bin_labels()) == feature.coarse_counts().size
        assert feature.coarse_counts().sum() == made_from.rows
    if any(re.search(r'["\\\x00-\x1f]', feature.name) for feature in made_from.features):
        with pytest.raises(FieldMappingError):  # such a feature must be mapped to another place
            Monitor(settings(), {MODEL: made_from})
        return
    chosen = ["ks", "chi2", "wasserstein", "hellinger", "total_variation", "kl", "mean_std_drift"]
    drift = {"minimum_sample": 1} | {method: {"warning": "off"} for method in chosen}
    watched = Monitor(settings({MODEL: {"classes": ["0", "1"], "drift": drift}}), {MODEL: made_from})
    features = [
        {},
        {"amount": 15.0, "country": "DE", "channel": 1, "new": True},
        {"amount": -1.7e308},
        {"amount": 1.7e308, "channel": 2**62},
    ]
    watched.run(*(prediction(f"id {i}", i, features=values) for i, values in enumerate(features)))
    watched.quiet()
    watched.start()
    (result,) = [result for result in watched.said("results") if result["subject"] == "traffic"]
    assert result["counts"]["predictions"] == len(features)
    assert set(result.get("drift", {})) == {feature.name for feature in made_from.features}
    watched.validate()


def test_the_file_that_is_changed_is_a_reference(file: Path) -> None:
    found = load(file, json.dumps(signed(TREE)).encode())
    assert found is not None
    watch(found)


@examples(60)
@given(
    st.lists(
        st.tuples(st.sampled_from(paths(TREE)[1:]), st.sampled_from(("put", "put", "drop", "insert")), values), min_size=1, max_size=3
    ),
    st.booleans(),
)
def test_a_changed_reference_is_refused_or_can_be_used(file: Path, changes: list[tuple[Path_, str, Any]], balance: bool) -> None:
    node: Any = TREE
    for path, change, value in changes:
        if path in paths(node):
            node = changed(path, change, value, node)
    found = load(file, json.dumps(signed(balanced(node) if balance else node)).encode())
    if found is not None:
        watch(found)


PLACES = [path for path in paths(TREE)[1:] if path[-1] != "format" and not (isinstance(path[-1], int) and path[-1] > 1)]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_every_hostile_value_at_every_place_is_refused_or_can_be_used(file: Path, path: Path_) -> None:
    for value in VALUES:
        node = changed(path, "put", value)
        for tried in (node, balanced(node)):
            found = load(file, json.dumps(signed(tried)).encode())
            if found is not None:
                watch(found)


@examples(70)
@given(st.binary(max_size=60) | hostile.plain_values | st.tuples(st.integers(0, 1500), hostile.values, st.integers(0, 5)))
def test_any_bytes_are_refused_or_can_be_used(file: Path, content: bytes | tuple[int, bytes, int]) -> None:
    whole = json.dumps(signed(TREE)).encode()
    if isinstance(content, tuple):
        at, put, gone = content
        content = whole[:at] + put + whole[at + gone :]
    found = load(file, content)
    if found is not None:
        watch(found)


@pytest.mark.parametrize("value", [value for value in hostile.EVERY_VALUE if len(value) > 1000])
def test_no_depth_and_no_length_stops_the_reader(file: Path, value: bytes) -> None:
    for member in (b"rows", b"features", b"unknown"):
        assert load(file, json.dumps(TREE).encode().replace(b'"format"', b'"' + member + b'":' + value + b',"format"', 1)) is None
        assert load(file, b'{"' + member + b'":' + value + b"}") is None


def test_ten_thousand_features_are_loaded(tmp_path: Path) -> None:
    many = reference(*(numeric(f"x{i}", [0.0, 1.0], [1, 1, 1], [0, 0, 1]) for i in range(10_000)))
    many.save(tmp_path / "many.json")
    assert len(Reference.load(tmp_path / "many.json").features) == 10_000
