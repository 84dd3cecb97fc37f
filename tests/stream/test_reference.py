"""The reference's types and file: rules, labels, coarse counts, round trip, and what is said about a damaged file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.reference import CategoricalFeature, Counts, InvalidReferenceError, NumericFeature, Reference

AFTER_0 = float(np.nextafter(0.0, 1.0))


def numeric(edges: list[float], groups: list[int], **changes: Any) -> NumericFeature:
    """A feature with 0, 1, 2 ... rows in its fine bins."""
    moments = {"mean": 0.5, "std": 0.1, "minimum": 0.0, "maximum": 1.0}
    fields = {"name": "x", "edges": edges, "counts": range(len(edges) + 1), "missing": 0, "groups": groups} | moments | changes
    return NumericFeature(**fields)


def reference(**changes: Any) -> Reference:
    features = (
        numeric([0.1, 0.30000000000000004, 1e-300 + 1], [0, 0, 1, 1], missing=4, mean=1 / 3),
        CategoricalFeature(name="c", value_type="string", categories=("é", '"', "b"), counts=np.array([4, 3, 2, 0]), missing=1),
        NumericFeature(name="never", edges=np.zeros(1), counts=np.zeros(2, np.int64), groups=np.zeros(2, np.int64), missing=10),
    )
    fields = {"reference_id": "r", "model": "m", "version": "1", "rows": 10, "features": features}
    return Reference(**fields | {"classes": ("no", "yes"), "confusion": np.array([[4, 1], [2, 3]])} | changes)


def identified(reference: Reference) -> Reference:
    return Reference(**{key: getattr(reference, key) for key in reference.__struct_fields__} | {"reference_id": reference.content_id})


@pytest.mark.parametrize(
    ("edges", "groups", "labels"),
    [
        ([0.12, 0.2, 0.35, 812.5], [0, 1, 1, 2, 3], ["< 0.12", "[0.12, 0.35)", "[0.35, 812.5)", ">= 812.5"]),
        ([0.0, AFTER_0], [0, 1, 2], ["< 0", "= 0", "> 0"]),
        ([-1.0, 0.0, AFTER_0, 2.0], [0, 0, 1, 2, 2], ["< 0", "= 0", "> 0"]),
        ([-1.0, 0.0, AFTER_0, 2.0], [0, 1, 1, 2, 3], ["< -1", "[-1, 0]", "(0, 2)", ">= 2"]),
        ([-1.0, 0.0, AFTER_0, 2.0], [0, 0, 0, 1, 1], ["<= 0", "> 0"]),
        ([1.00001, 1.00002], [0, 1, 2], ["< 1.00001", "[1.00001, 1.00002)", ">= 1.00002"]),
        ([1.5], [0, 0], ["any"]),
    ],
)
def test_label_names_the_bounds_of_its_group(edges: list[float], groups: list[int], labels: list[str]) -> None:
    assert numeric(edges, groups).bin_labels() == (*labels, "(missing)")


def test_edges_may_be_as_far_apart_as_doubles_are() -> None:
    assert numeric([-1.7e308, 1.7e308], [0, 1, 2]).bin_labels() == ("< -1.7e+308", "[-1.7e+308, 1.7e+308)", ">= 1.7e+308", "(missing)")


def test_a_range_of_groups_is_said_in_words() -> None:
    amount = numeric([0.0, 5.0, float(np.nextafter(5.0, 6)), 812.5], [0, 1, 2, 3, 4])
    name = amount.range_namer()
    said = [name(*bins) for bins in [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (1, 3), (3, 3), (3, 4), (4, 4), (0, 4)]]
    assert said == [
        "below 0",
        "below 5",
        "up to 5",
        "at or above 0 and up to 5",
        "at 5",
        "at or above 0 and below 812.5",
        "above 5 and below 812.5",
        "above 5",
        "at or above 812.5",
        "anywhere",
    ]


def test_neighbouring_floats_get_different_labels() -> None:
    edges = [0.1, *(float(x) for x in (np.nextafter(0.1, 1), np.nextafter(np.nextafter(0.1, 1), 1)))]
    labels = numeric(edges, [0, 1, 2, 3]).bin_labels()
    assert len(set(labels)) == 5


def test_coarse_counts_are_sums_of_fine_counts_and_then_missing() -> None:
    feature = numeric([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1, 2], missing=7)
    assert feature.coarse_counts().tolist() == [0 + 1, 2 + 3, 4, 7]
    assert feature.coarsen(np.array([5, 0, 0, 1, 0]), 2).tolist() == [5, 1, 0, 2]
    assert feature.bins == 5


def test_categories_are_not_grouped() -> None:
    feature = CategoricalFeature(name="c", value_type="boolean", categories=("true", "false"), counts=np.array([5, 3, 0]), missing=2)
    assert feature.coarse_counts().tolist() == [5, 3, 0, 2]
    assert feature.bin_labels() == ("true", "false", "(other)", "(missing)")
    assert feature.bins == 3


def test_arrays_are_copies_that_cannot_be_written() -> None:
    counts = np.array([1, 2, 3])
    feature = numeric([0.0, 1.0], [0, 1, 1], counts=counts)
    counts[0] = 99
    assert feature.counts.tolist() == [1, 2, 3]
    for array in (feature.edges, feature.counts, feature.groups, reference().confusion):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_file_gives_back_every_number_exactly(tmp_path: Path) -> None:
    written = identified(reference())
    written.save(tmp_path / "r.json")
    read = Reference.load(tmp_path / "r.json")
    assert read.content_id == read.reference_id == written.reference_id
    assert read.features[0].edges.tolist() == [0.1, 0.30000000000000004, 1.0]
    assert read.features[0].mean == 1 / 3
    assert np.isnan(read.features[2].mean)
    read.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20, unique_by=lambda x: x + 0.0))
def test_any_edges_survive_the_file(tmp_path_factory: pytest.TempPathFactory, edges: list[float]) -> None:
    path = tmp_path_factory.mktemp("reference") / "r.json"
    k = len(edges)
    feature = numeric(sorted(edges), [0] * (k + 1), counts=[0] * (k + 1), missing=10)
    identified(reference(features=(feature,))).save(path)
    read = Reference.load(path).features[0]
    assert isinstance(read, NumericFeature)
    assert read.edges.tolist() == sorted(edges)


def test_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    identified(reference()).save(path)
    before = path.read_bytes()

    def no_space(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        identified(reference(version="2")).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_id_names_model_and_version_and_follows_the_content() -> None:
    assert reference(model="a b/c", version="1.0").content_id.startswith("a-b-c-1.0-")
    assert reference().content_id == reference(reference_id="other").content_id
    others = [
        reference(version="2"),
        reference(classes=("a", "b")),
        reference(confusion=None),
        reference(features=reference().features[:1]),
    ]
    assert len({reference().content_id, *(other.content_id for other in others)}) == 5


Tree = dict[str, Any]


def drop(*keys: str | int) -> Callable[[Tree], None]:
    def change(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        del tree[keys[-1]]

    return change


def put(value: object, *keys: str | int) -> Callable[[Tree], None]:
    def change(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("driftstream-reference/2", "format"), ["driftstream-reference/2", "$.format"]),
        (drop("format"), ["format"]),
        (drop("rows"), ["rows"]),
        (put(1, "extra"), ["unknown field", "extra"]),
        (put(2**53 + 1, "rows"), ["rows: expected 0 to 9007199254740992"]),
        (put(-1, "rows"), ["rows: expected 0 to 9007199254740992"]),
        (put("ten", "rows"), ["Expected `int`", "$.rows"]),
        (put(11, "rows"), ["feature 'x'", "counts: expected a sum of rows - missing = 7"]),
        (put("ordinal", "features", 0, "kind"), ["'ordinal'", "$.features[0].kind"]),
        (put([0.1, 0.1, 1.0], "features", 0, "edges"), ["feature 'x'", "edges: expected finite, strictly increasing", "$.features[0]"]),
        (put([], "features", 0, "edges"), ["edges: expected finite, strictly increasing numbers, at least one"]),
        (put([0.1, "a", 1.0], "features", 0, "edges"), ["expected a list of numbers", "$.features[0].edges"]),
        (put(0.1, "features", 0, "edges"), ["expected a list of numbers", "$.features[0].edges"]),
        (put([0, 1, 2], "features", 0, "counts"), ["feature 'x'", "counts: expected one more than edges"]),
        (put([-1, 2, 2, 3], "features", 0, "counts"), ["counts", ">= 0"]),
        (put([0, 1, 2, 3.0], "features", 0, "counts"), ["expected a list of integers", "$.features[0].counts"]),
        (put([0, 1, 2, True], "features", 0, "counts"), ["expected a list of integers"]),
        (put([0, 1, 2, 2**63], "features", 0, "counts"), ["64 bits"]),
        (put([0, 0, 2, 2], "features", 0, "groups"), ["groups: expected one more than edges, from 0 in steps of 0 or 1"]),
        (put([1, 1, 2, 2], "features", 0, "groups"), ["groups: expected"]),
        (put([2**63 - 1, 2**63 - 1, 2, 6], "features", 0, "counts"), ["counts: expected a sum of rows - missing = 6"]),
        (put(-1, "features", 0, "missing"), ["missing: expected >= 0"]),
        (put(-0.1, "features", 0, "std"), ["mean, std, minimum, maximum: expected"]),
        (drop("features", 0, "mean"), ["mean, std, minimum, maximum: expected all absent"]),
        (put(9.0, "features", 0, "mean"), ["minimum <= mean <= maximum"]),
        (put(["a", "a", "b"], "features", 1, "categories"), ["feature 'c'", "categories: expected different texts"]),
        (put("integer", "features", 1, "value_type"), ["categories: expected canonical texts of value_type 'integer'"]),
        (put("float", "features", 1, "value_type"), ["'float'", "$.features[1].value_type"]),
        (put("x", "features", 1, "name"), ["features: expected different names"]),
        (put(["a"], "classes"), ["confusion: expected 1 rows of 1 counts"]),
        (put(["a", "a"], "classes"), ["classes: expected different texts"]),
        (put([[1, 2], [3]], "confusion"), ["rows of equal length", "$.confusion"]),
        (put([[2**63 - 1, 2**63 - 1], [2, 4]], "confusion"), ["confusion: expected 2 rows of 2 counts"]),
        (put([[90, 2], [3, 4]], "confusion"), ["confusion: expected 2 rows of 2 counts"]),
        (put(0.2, "features", 0, "std"), ["the file was changed", "$.reference_id"]),
        (put("m-1-0000000000000000", "reference_id"), ["the id of this content", "$.reference_id"]),
    ],
)
def test_damaged_file_is_refused_with_file_key_and_rule(tmp_path: Path, change: Callable[[Tree], None], said: list[str]) -> None:
    path = tmp_path / "r.json"
    identified(reference()).save(path)
    tree = json.loads(path.read_text(encoding="utf-8"))
    change(tree)
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.load(path)
    message = str(caught.value)
    assert [part for part in (str(path), *said) if part not in message] == []


def test_example_of_the_format_description_is_a_reference(tmp_path: Path) -> None:
    description = (Path(__file__).parents[2] / "config/reference-format.md").read_text(encoding="utf-8")
    example = description.split("```json\n")[1].split("```")[0]
    (tmp_path / "example.json").write_text(example, encoding="utf-8")
    Reference.load(tmp_path / "example.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == example


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"PAR1", b"[" * 10_000, b'{"format":' + b"[" * 10_000])
def test_file_that_is_no_reference_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(InvalidReferenceError, match=r"r\.json"):
        Reference.load(tmp_path / "r.json")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidReferenceError, match=r"nothing\.json"):
        Reference.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("text", ["12", "-12", "0"])
def test_integer_categories_are_canonical(text: str) -> None:
    feature = CategoricalFeature(name="c", value_type="integer", categories=(text,), counts=np.array([1, 0]), missing=0)
    assert feature.categories == (text,)


@pytest.mark.parametrize(
    ("value_type", "text"), [("integer", "012"), ("integer", "1.0"), ("integer", "-0"), ("integer", "9" * 309), ("boolean", "True")]
)
def test_other_spellings_of_a_category_are_refused(value_type: Any, text: str) -> None:
    counts: Counts = np.array([1, 0])
    with pytest.raises(ValueError, match="canonical"):
        CategoricalFeature(name="c", value_type=value_type, categories=(text,), counts=counts, missing=0)
