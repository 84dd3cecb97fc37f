"""Building a reference: counts against numpy on the raw rows, the same id from every format, and what is said about unusable data."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import reference_build
from stream.reference import CategoricalFeature, Counts, InvalidReferenceError, NumericFeature, Reference
from stream.reference_bins import coarse_groups, fine_edges
from stream.reference_build import build_reference, read_importances
from tests.stream.reference_data import FORMATS, Row, write

ELECTRICITY = Path(__file__).parents[3] / "shared/data/electricity/reference.csv"


def build(path: Path, **options: Any) -> Reference:
    return build_reference(path, **{"model": "m", "version": "1"} | options)


def build_rows(folder: Path, rows: list[Row], **options: Any) -> Reference:
    return build(write(folder, ".jsonl", rows), **options)


def numeric(reference: Reference, name: str) -> NumericFeature:
    (feature,) = (feature for feature in reference.features if feature.name == name)
    assert isinstance(feature, NumericFeature)
    return feature


def categorical(reference: Reference, name: str) -> CategoricalFeature:
    (feature,) = (feature for feature in reference.features if feature.name == name)
    assert isinstance(feature, CategoricalFeature)
    return feature


def beyond(counts: Counts, cut: tuple[int, int]) -> int:
    """Rows in the bins before the first number and from the second on."""
    return int(counts[: cut[0]].sum() + counts[cut[1] :].sum())


def mixed_rows(n: int, seed: int = 0) -> list[Row]:
    """Rows with a missing cell now and then, of every kind of feature."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "timestamp": f"2024-05-01T00:00:{i % 60:02}Z",
            "amount": float(rng.lognormal()),
            "visits": int(rng.poisson(0.5)),
            "score": float(rng.random()),
            "country": str(rng.choice(["DE", "FR", "NA"])),
            "new": bool(rng.random() < 0.2),
            "zone": int(rng.integers(5)),
            "never": None,
            "prediction": str(rng.choice(["yes", "no"])),
            "label": str(rng.choice(["yes", "no"])),
        }
        for i in range(n)
    ]
    for name in ("amount", "visits", "country", "new", "zone", "label"):
        for i in rng.choice(n, n // 10, replace=False):
            rows[i][name] = None
    return rows


def as_events(rows: list[Row]) -> list[Row]:
    outside = ("timestamp", "score", "prediction", "label")
    return [
        {name: row[name] for name in outside} | {"features": {name: value for name, value in row.items() if name not in outside}}
        for row in rows
    ]


@st.composite
def columns(draw: st.DrawFn) -> list[float | None]:
    """Values with ties, atoms, zero inflation and gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 800))
    values = np.round(rng.normal(size=n) * 10.0 ** draw(st.integers(-3, 6)), draw(st.integers(0, 12)))
    values[rng.random(n) < draw(st.floats(0, 1))] = draw(st.sampled_from([0.0, -1.5, 1e9]))
    missing = rng.random(n) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    return [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]


@settings(max_examples=50)
@given(columns(), st.sampled_from([2, 10, 256]))
def test_counts_and_moments_are_those_of_the_raw_rows(
    tmp_path_factory: pytest.TempPathFactory, column: list[float | None], bins: int
) -> None:
    path = write(tmp_path_factory.mktemp("rows"), ".jsonl", [{"x": value} for value in column])
    reference = build(path, bins=bins)
    feature, values = numeric(reference, "x"), np.array([value for value in column if value is not None])
    assert reference.rows == len(column)
    assert feature.missing == len(column) - values.size
    assert feature.counts.tolist() == np.histogram(values, np.concatenate(([-np.inf], feature.edges, [np.inf])))[0].tolist()
    assert feature.coarse_counts().sum() == len(column)
    if values.size:
        assert (feature.minimum, feature.maximum) == (values.min(), values.max())
        assert feature.counts[0] == feature.counts[-1] == 0
        scale = np.abs(values).max() or 1.0
        assert feature.mean == pytest.approx(values.mean(), rel=0, abs=1e-12 * scale)
        assert feature.std == pytest.approx(values.std(), rel=1e-9, abs=1e-12 * scale)


@settings(max_examples=50)
@given(columns(), st.lists(st.floats(-1e9, 1e9) | st.sampled_from([np.inf, -np.inf, 0.0]), max_size=30))
def test_outliers_and_values_out_of_range_are_counted_exactly(
    tmp_path_factory: pytest.TempPathFactory, column: list[float | None], now: list[float]
) -> None:
    """Of the reference's own rows and of others, against numpy on the raw rows."""
    feature = numeric(build(write(tmp_path_factory.mktemp("rows"), ".jsonl", [{"x": value} for value in column]), bins=10), "x")
    values = np.array([value for value in column if value is not None])
    if not values.size:
        assert feature.fences is None
        assert feature.fences_cut() is None
        return
    q1, q3 = np.percentile(values, [25, 75])
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    assert feature.fences == (low, high)
    for rows in (values, np.array(now)):
        counts = np.bincount(np.searchsorted(feature.edges, rows, side="right"), minlength=feature.bins)
        cut = feature.fences_cut()
        assert cut is not None
        assert beyond(counts, cut) == ((rows < low) | (rows > high)).sum()
        assert beyond(counts, feature.range_cut()) == ((rows < values.min()) | (rows > values.max())).sum()


@settings(max_examples=30)
@given(columns(), st.sampled_from([2, 10, 256]))
def test_fences_do_not_change_the_coarse_bins(tmp_path_factory: pytest.TempPathFactory, column: list[float | None], bins: int) -> None:
    feature = numeric(build(write(tmp_path_factory.mktemp("rows"), ".jsonl", [{"x": value} for value in column]), bins=bins), "x")
    values = np.array([value for value in column if value is not None])
    if values.size:
        edges = fine_edges(values, values.min(), values.max(), bins)
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=edges.size + 1)
        groups = coarse_groups(edges, counts, 10)
        assert feature.coarse_counts().tolist() == [*np.bincount(groups, counts).tolist(), feature.missing]
        assert np.isin(feature.edges[np.flatnonzero(np.diff(feature.groups))], edges[np.flatnonzero(np.diff(groups))]).all()


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["a", "b", "c", "", "(other)", "é", None]), min_size=1, max_size=60), st.integers(1, 4))
def test_category_counts_are_those_of_the_raw_rows(tmp_path_factory: pytest.TempPathFactory, column: list[str | None], top: int) -> None:
    path = write(tmp_path_factory.mktemp("rows"), ".jsonl", [{"x": value, "y": 1} for value in column])
    reference = build(path, top_categories=top, categorical=["x"])
    feature, counts = categorical(reference, "x"), Counter(value for value in column if value is not None)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(feature.categories, feature.counts.tolist(), strict=False)) == expected[:top]
    assert feature.counts[-1] == sum(count for _, count in expected[top:])
    assert feature.missing == column.count(None)


@pytest.mark.parametrize("events", [False, True])
def test_same_rows_give_the_same_reference_from_every_format(tmp_path: Path, events: bool) -> None:
    rows = mixed_rows(10_000)  # more than one block
    shuffled = [dict(reversed(row.items())) for row in rows]
    references = [build(write(tmp_path, extension, as_events(rows) if events else rows), categorical=["zone"]) for extension in FORMATS]
    references.append(build(write(tmp_path, ".jsonl", shuffled), categorical=["zone"]))
    assert len({reference.reference_id for reference in references}) == 1
    assert [feature.name for feature in references[0].features] == ["amount", "country", "never", "new", "visits", "zone"]
    references[0].save(tmp_path / "reference.json")
    assert Reference.load(tmp_path / "reference.json").reference_id == references[0].reference_id


def test_other_rows_or_version_give_another_id(tmp_path: Path) -> None:
    rows = mixed_rows(200)
    ids = [build_rows(tmp_path, rows).reference_id, build_rows(tmp_path, rows, version="2").reference_id]
    ids.append(build_rows(tmp_path, rows[:-1]).reference_id)
    assert len(set(ids)) == 3
    assert [reference_id[:4] for reference_id in ids] == ["m-1-", "m-2-", "m-1-"]


def test_kinds_of_features(tmp_path: Path) -> None:
    reference = build_rows(tmp_path, mixed_rows(500), categorical=["zone", "never"])
    kinds = {feature.name: getattr(feature, "value_type", "numeric") for feature in reference.features}
    assert kinds == {
        "amount": "numeric", "country": "string", "never": "string", "new": "boolean", "visits": "numeric", "zone": "integer",
    }  # fmt: skip
    assert set(categorical(reference, "new").categories) == {"true", "false"}
    assert set(categorical(reference, "zone").categories) == {"0", "1", "2", "3", "4"}
    assert (categorical(reference, "never").categories, categorical(reference, "never").missing) == ((), 500)


def test_column_without_values_has_one_edge_and_shows_when_values_come(tmp_path: Path) -> None:
    feature = numeric(build_rows(tmp_path, mixed_rows(50)), "never")
    assert (feature.edges.tolist(), feature.groups.tolist(), feature.missing) == ([0.0], [0, 0], 50)
    assert feature.coarse_counts().tolist() == [0, 50]
    assert np.isnan([feature.mean, feature.std, feature.minimum, feature.maximum]).all()


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_infinities_count_in_the_end_bins_and_nan_is_missing(tmp_path: Path, extension: str) -> None:
    values = [-np.inf, 1.0, 2.0, np.inf, 1e200, np.nan]
    feature = numeric(build(write(tmp_path, extension, [{"x": value} for value in values])), "x")
    assert (feature.counts[0], feature.counts[-1], feature.missing) == (1, 2, 1)
    assert (feature.minimum, feature.maximum, feature.mean) == (1.0, 2.0, 1.5)
    only_infinite = numeric(build(write(tmp_path, extension, [{"x": np.inf}, {"x": -np.inf}])), "x")
    assert (only_infinite.edges.tolist(), only_infinite.counts.tolist()) == ([0.0], [1, 1])


def test_types_hold_for_the_whole_file(tmp_path: Path) -> None:
    late = [{"n": i + 1, "code": i, "gap": None} for i in range(20_000)] + [{"n": 0.5, "code": "A1", "gap": 3}]
    reference = build(write(tmp_path, ".csv", late))
    assert numeric(reference, "n").minimum == 0.5
    assert categorical(reference, "code").value_type == "string"
    assert numeric(reference, "gap").missing == 20_000


def test_field_that_comes_late_or_goes_is_missing_elsewhere(tmp_path: Path) -> None:
    rows: list[Row] = [{"features": {"old": 1.0}}] * 17_000 + [{"features": {"new": 2.0}}] * 17_000
    reference = build_rows(tmp_path, rows)
    assert [(feature.name, feature.missing) for feature in reference.features] == [("new", 17_000), ("old", 17_000)]
    assert numeric(reference, "new").mean == 2.0


def test_roles_and_ignored_columns_are_no_features(tmp_path: Path) -> None:
    roles = ["timestamp", "prediction_id", "model", "version", "latency_ms", "value", "variant", "segments", "prediction", "score", "label"]
    row = dict.fromkeys(roles, 1) | {"x": 1, "y": 1, "segments": {"a": "b"}, "label": [1]}
    reference = build_rows(tmp_path, [row], ignore=["y", "label"])
    assert (reference.classes, reference.confusion) == (("1",), None)
    assert [feature.name for feature in reference.features] == ["x"]


def test_fields_of_events_may_have_the_names_of_roles(tmp_path: Path) -> None:
    reference = build_rows(tmp_path, [{"prediction": "a", "customer": 7, "features": {"value": 1, "label": 2, "y": 3}}], ignore=["y"])
    assert [feature.name for feature in reference.features] == ["label", "value"]


def test_columns_of_other_names_can_have_the_roles(tmp_path: Path) -> None:
    rows = [{"x": 1, "guess": "a", "truth": "b", "p": 0.5}]
    reference = build_rows(tmp_path, rows, prediction_column="guess", label_column="truth", score_column="p")
    assert [feature.name for feature in reference.features] == ["x"]
    assert reference.classes == ("a", "b")
    assert reference.confusion is not None
    assert reference.confusion.tolist() == [[0, 0], [1, 0]]


def test_confusion_counts_rows_with_a_label_and_a_prediction(tmp_path: Path) -> None:
    rows = mixed_rows(1000)
    reference = build_rows(tmp_path, rows)
    assert reference.classes == ("no", "yes")
    assert reference.confusion is not None
    pairs = Counter((row["label"], row["prediction"]) for row in rows)
    assert reference.confusion.tolist() == [[pairs[label, prediction] for prediction in ("no", "yes")] for label in ("no", "yes")]


def test_outputs_are_counted_as_features_are(tmp_path: Path) -> None:
    rows = mixed_rows(300)
    made = build_rows(tmp_path, rows)
    assert [output.name for output in made.outputs] == ["label", "prediction", "score"]
    for name in ("label", "prediction"):
        output = made.output(name)
        assert isinstance(output, CategoricalFeature)
        found = Counter(row[name] for row in rows)
        assert dict(zip(output.categories, output.counts.tolist(), strict=False)) == {text: found[text] for text in output.categories}
        assert (output.missing, set(output.categories), int(output.counts[-1])) == (found[None], {"yes", "no"}, 0)
    score = made.output("score")
    assert isinstance(score, NumericFeature)
    scores = np.array([row["score"] for row in rows])
    assert score.counts.tolist() == np.histogram(scores, [-np.inf, *score.edges, np.inf])[0].tolist()
    assert (score.mean, score.std) == pytest.approx((scores.mean(), scores.std()), rel=1e-12)
    made.save(tmp_path / "made.json")
    assert Reference.load(tmp_path / "made.json").content_id == made.content_id


def test_outputs_of_a_regression_are_numbers(tmp_path: Path) -> None:
    made = build_rows(tmp_path, [{"x": 1, "prediction": i / 7, "label": i} for i in range(200)])
    assert made.classes == ()
    assert {output.name: type(output) for output in made.outputs} == {"prediction": NumericFeature, "label": NumericFeature}


def test_whole_numbers_of_a_regression_are_a_quantity(tmp_path: Path) -> None:
    made = build_rows(tmp_path, [{"x": 1, "prediction": i / 7, "label": i % 3} for i in range(30)], task="regression")
    outputs = {output.name: output for output in made.outputs}
    assert (made.classes, made.confusion, sorted(outputs)) == ((), None, ["label", "prediction"])
    label = outputs["label"]
    assert isinstance(label, NumericFeature)
    assert (label.mean, label.minimum, label.maximum) == (1.0, 0.0, 2.0)


def test_whole_numbers_that_are_classes_are_categories(tmp_path: Path) -> None:
    made = build_rows(tmp_path, [{"x": 1, "prediction": i % 2, "score": {"0": 0.5}} for i in range(20)])
    (output,) = made.outputs
    assert isinstance(output, CategoricalFeature)
    assert (output.name, output.value_type, output.categories, output.counts.tolist()) == ("prediction", "integer", ("0", "1"), [10, 10, 0])


def test_an_output_that_is_left_out_is_not_counted(tmp_path: Path) -> None:
    assert [output.name for output in build_rows(tmp_path, mixed_rows(50), ignore=("label", "score")).outputs] == ["prediction"]


def test_classes_can_be_given_and_other_rows_stay_out(tmp_path: Path) -> None:
    rows = [{"x": 1, "label": label, "prediction": prediction} for label in "abc" for prediction in "abc"]
    reference = build_rows(tmp_path, rows, classes=["c", "a", "z"])
    assert reference.classes == ("c", "a", "z")
    assert reference.confusion is not None
    assert reference.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        ([{"x": 1, "prediction": 1, "label": 0.0}], ("0", "1")),
        ([{"x": 1, "prediction": True, "label": False}], ("false", "true")),
        ([{"x": 1, "prediction": "a"}], ("a",)),
        ([{"x": 1, "prediction": 0.5, "label": 0.7}], ()),
        ([{"x": 1, "prediction": i, "label": i + 1} for i in range(200)], ()),
        ([{"x": 1}], ()),
    ],
)
def test_classes_are_what_was_found_unless_it_is_a_quantity(tmp_path: Path, rows: list[Row], classes: tuple[str, ...]) -> None:
    assert build_rows(tmp_path, rows).classes == classes


def test_most_frequent_hundred_classes_are_kept(tmp_path: Path) -> None:
    rows = [{"x": 1, "prediction": f"{i:03}", "label": f"{i:03}"} for i in range(150) for _ in range(1 + (i >= 50))]
    reference = build_rows(tmp_path, rows)
    assert reference.classes == tuple(f"{i:03}" for i in range(50, 150))


def test_beyond_the_sample_edges_are_approximate_and_counts_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_build, "SAMPLE_ROWS", 2_000)
    values = np.random.default_rng(4).normal(size=40_000)
    rows = [{"x": value} if i > 20_000 else {"x": value, "y": value} for i, value in enumerate(values.tolist())]
    references = [build(write(tmp_path, extension, rows)) for extension in FORMATS]
    assert len({reference.reference_id for reference in references}) == 1
    feature = numeric(references[0], "x")
    assert feature.counts.tolist() == np.histogram(values, np.concatenate(([-np.inf], feature.edges, [np.inf])))[0].tolist()
    assert feature.counts[0] == feature.counts[-1] == 0
    assert feature.fences is not None
    quantiles = np.setdiff1d(feature.edges, [feature.fences[0], np.nextafter(feature.fences[1], np.inf)])
    assert np.isin(quantiles[:-1], values).all()
    levels = np.searchsorted(np.sort(values), quantiles[:-1]) / values.size  # of all edges but the last
    assert np.abs(levels - np.linspace(0, 1, levels.size, endpoint=False)).max() < 0.05  # 1.63 / sqrt(2000): the 1 % bound of Kolmogorov
    assert numeric(references[0], "y").missing == 19_999


def test_sample_is_uniform_and_without_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = reference_build._Sample(1_000)
    for start in range(0, 100_000, 10_000):
        sample.add(10_000, {"row": np.arange(start, start + 10_000.0)})
    rows = sample.values("row")
    assert np.unique(rows).size == 1_000
    tenths = np.bincount((rows // 10_000).astype(int), minlength=10)
    assert ((tenths - 100) ** 2 / 100).sum() < 27.9  # chi2 with 9 degrees of freedom, p = 0.001


def test_identifiers_are_counted_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_build, "DISTINCT_MAX", 100)
    rows: list[Row] = [{"id": "often" if i % 4 == 0 else f"user{i}"} for i in range(40_000)]
    feature = categorical(build_rows(tmp_path, rows, top_categories=3), "id")
    assert feature.categories[0] == "often"
    assert 10_000 - 40_000 / 100 <= feature.counts[0] <= 10_000
    assert feature.counts.sum() == 40_000


def test_progress_tells_the_rows_of_both_passes(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    build_rows(tmp_path, [{"x": 1}] * 10_000, progress=lambda *call: calls.append(call))
    assert calls == [("survey", 8_192, None), ("survey", 10_000, None), ("count", 8_192, 10_000), ("count", 10_000, 10_000)]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([], {}, ["rows=0", "at least one row"]),
        ([{"prediction": "a", "score": 1}], {}, ["['prediction', 'score']", "at least one feature"]),
        ([{"x": 1}], {"ignore": ["x"]}, ["at least one feature"]),
        ([{"x": {"a": 1}}], {}, ["column 'x'", "found object", "leave it out with ignore"]),
        ([{"features": {"x": [1], "y": 1}}], {}, ["column 'x'", "found array"]),
        ([{"x": 1}, {"x": "a"}], {}, ["column 'x'", "found integer and text"]),
        ([{"x": 1}] * 20_000 + [{"x": True}], {}, ["column 'x'", "found boolean and integer"]),
        ([{"x": 0.5}], {"categorical": ["x"]}, ["column 'x'", "found number", "texts, booleans or integers"]),
        ([{"x": 1}], {"categorical": ["z"]}, ["['z']", "features are ['x']"]),
        ([{"x": 1}], {"ignore": ["z"]}, ["['z']"]),
        ([{"x": 1}], {"label_column": "truth"}, ["['truth']"]),
        ([{"x": 1, "prediction": "a", "label": "b"}], {"classes": ["A", "B"]}, ["classes=('A', 'B')", "['a', 'b']"]),
        ([{"x": 1, "prediction": 0.5, "label": 0.5}], {"classes": ["a"]}, ["column '", "found number", "texts, booleans or integers"]),
        ([{"x": 1, "prediction": 0.5, "label": "b"}], {"task": "regression"}, ["column 'label'", "found text, expected numbers"]),
        ([{"x": 1, "prediction": True, "label": 1}], {"task": "regression"}, ["column 'prediction'", "found boolean, expected numbers"]),
        ([{"x": 1, "prediction": {"a": 1}}], {}, ["column 'prediction'", "found object", "leave it out with ignore"]),
        ([{"x": 1, "label": 1}, {"x": 1, "label": "1"}], {}, ["column 'label'", "found integer and text"]),
    ],
)
def test_unusable_data_is_refused_with_file_column_and_rule(
    tmp_path: Path, rows: list[Row], options: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        build_rows(tmp_path, rows, **options)
    assert [part for part in ("rows.jsonl", *said) if part not in str(caught.value)] == []


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_file_with_columns_and_no_rows_is_refused(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path, extension, [{"x": 1}])
    if extension == ".csv":
        path.write_text("x\n")
    else:
        pa.parquet.write_table(pa.parquet.read_table(path).slice(1), path)
    with pytest.raises(InvalidReferenceError, match="at least one row"):
        build(path)


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 1},
        {"coarse": 1},
        {"top_categories": 0},
        {"feature_bins": {"x": 1}},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": ["a"], "task": "regression"},
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*=.*expected"):
        build_rows(tmp_path, [{"x": 1}], **options)


@pytest.mark.skipif(not ELECTRICITY.exists(), reason="the electricity data are not beside the repository")
def test_electricity_market() -> None:
    reference = build(ELECTRICITY, model="nsw-price")
    assert reference.rows == 10_000
    assert reference.confusion is not None
    assert reference.confusion.trace() / reference.confusion.sum() == 0.7208
    for name in ("vicprice", "vicdemand", "transfer"):
        feature = numeric(reference, name)
        assert feature.coarse_counts().tolist() == [0, 10_000, 0, 0]
        assert (feature.mean, feature.std) == (feature.minimum, 0.0)
    assert sorted(categorical(reference, "day").categories) == sorted(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    assert numeric(reference, "nswdemand").coarse_counts()[:-1].min() > 900


MEASURE = """
import re, sys
from pathlib import Path
from stream.reference_build import build_reference
def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak_kib()
assert build_reference(Path(sys.argv[1]), model="m", version="1").rows == int(sys.argv[2])
print(peak_kib() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is told by Linux only")
def test_memory_does_not_follow_the_number_of_rows(tmp_path: Path) -> None:
    n = 500_000
    comments = pa.array([f"{i} {'drift' * 300}" for i in range(7)])
    table = pa.table({"x": np.arange(n), "comment": pa.DictionaryArray.from_arrays(np.arange(n) % 7, comments)})
    pa.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100_000, store_schema=False)  # read back as plain texts
    command = [sys.executable, "-c", MEASURE, tmp_path / "rows.parquet", str(n)]
    measured = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(measured.stdout) < 300_000  # KiB; all comments together are 733 000


@pytest.mark.parametrize(("name", "text"), [("i.json", '{"x": 2, "c": 0.5}'), ("i.yaml", "x: 2\nc: 5e-1\n"), ("i.yml", "{x: 2, c: 0.5}")])
def test_importances_come_from_a_file_and_stay_with_the_features(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    rows = [{"x": 1, "c": "a", "y": 2}]
    reference = build_rows(tmp_path, rows, importances=read_importances(tmp_path / name))
    reference.save(tmp_path / "reference.json")
    read = Reference.load(tmp_path / "reference.json")
    assert {feature.name: feature.importance for feature in read.features} == {"x": 2.0, "c": 0.5, "y": 0.0}
    plain = build_rows(tmp_path, rows)
    assert all(np.isnan(feature.importance) for feature in plain.features)
    assert plain.reference_id != reference.reference_id


@pytest.mark.parametrize(
    ("importances", "said"),
    [
        ({"z": 1.0}, r"importances of \['z'\]: expected only those of features, which are \['x'\]"),
        ({"x": -1.0}, "feature 'x': importance: expected absent, or a finite number >= 0"),
        ({"x": np.inf}, "feature 'x': importance: expected absent, or a finite number >= 0"),
    ],
)
def test_importances_that_are_none_are_refused(tmp_path: Path, importances: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidReferenceError, match=said):
        build_rows(tmp_path, [{"x": 1}], importances=importances)


@pytest.mark.parametrize("text", ["", "[1]", "x: high", "x: [1]", "{", "1: {}", "x: true"])
def test_a_file_of_something_else_is_no_importances(tmp_path: Path, text: str) -> None:
    (tmp_path / "i.yaml").write_text(text)
    with pytest.raises(InvalidReferenceError, match=r"(?s)cannot read importances: path=.*i\.yaml.*expected feature names and numbers"):
        read_importances(tmp_path / "i.yaml")


def test_a_feature_may_have_a_number_of_bins_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [{"x": float(rng.normal()), "y": float(rng.normal()), "c": "abcde"[i % 5], "d": "abcde"[i % 5]} for i in range(500)]
    made = build_rows(tmp_path, rows, coarse=4, top_categories=4, feature_bins={"y": 20, "c": 2})
    assert {feature.name: len(feature.bin_labels()) for feature in made.features} == {"x": 4 + 1, "y": 20 + 1, "c": 2 + 2, "d": 4 + 2}
    with pytest.raises(InvalidReferenceError, match=r"bins of \['z'\]: expected only those of features, which are \['c', 'd', 'x', 'y'\]"):
        build_rows(tmp_path, rows, feature_bins={"z": 20})
