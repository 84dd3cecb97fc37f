"""Building a reference: two passes over a file of scored rows, in bounded memory.

The first pass finds the type of every column and the values that edges are taken from; the second counts all rows on these edges.
Reading is in `reference_rows`, binning in `reference_bins`, the result in `reference`. Invariant: the same rows give the same
`reference_id`, in whatever format and order of columns they come.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import yaml

from stream.aggregates import M2, MEAN, N, grouped_moments, merge_moments, zero_moments
from stream.reference import CategoricalFeature, Counts, Feature, Floats, InvalidReferenceError, NumericFeature, Reference, ValueType
from stream.reference_bins import coarse_groups, fences, fine_edges
from stream.reference_calibration import ScoresByLabel
from stream.reference_rows import EVENT_FIELD, Block, Kind, blocks, is_textual, numbers, texts

SAMPLE_ROWS = 1_000_000  # edges are exact up to here, quantiles of a uniform sample of as many rows beyond; 8 MB per numeric column
SAMPLE_SEED = 0  # any, but fixed: the same rows give the same edges
DISTINCT_MAX = 100_000  # different values counted per column, about 10 MB; with more of them a count is low by at most rows / 100 000
TOP_CATEGORIES, CLASSES_MAX = 100, 100
TAIL_VALUES, TAIL_ONCE = 10, 5  # a long tail has more values than the one, and at least the other of them were seen once
TAIL_ROWS = 20  # of a value with a name in a long tail; simulated, 5 % of false alarms were 9 % and more with 10, and 5 to 7 % with 20
LARGEST = 1e150  # a greater number counts as infinite, in an end bin: squares of the others can be summed in float64
NOT_FEATURES = frozenset({"timestamp", "prediction_id", "model", "version", "latency_ms", "value", "variant", "segments"})
Task = Literal["classification", "regression"]
Value = TypeVar("Value")
_VALUE_TYPES: dict[Kind, ValueType] = {"text": "string", "integer": "integer", "boolean": "boolean"}

Progress = Callable[[Literal["survey", "count"], int, int | None], None]  # the pass, its rows so far, rows in all (None in the first pass)


def build_reference(
    data: Path,
    *,
    model: str,
    version: str,
    task: Task = "classification",
    classes: Sequence[str] | None = None,
    prediction_column: str = "prediction",
    label_column: str = "label",
    score_column: str = "score",
    ignore: Collection[str] = (),
    categorical: Collection[str] = (),
    bins: int = 256,
    coarse: int = 10,
    top_categories: int | None = None,
    feature_bins: Mapping[str, int] = MappingProxyType({}),
    importances: Mapping[str, float] = MappingProxyType({}),
    progress: Progress | None = None,
) -> Reference:
    """The reference of the rows in a file: .csv, .jsonl (either also with .gz) or .parquet.

    Features are all columns but the prediction, the label, the score, `NOT_FEATURES` and `ignore`; where rows are events, the fields of
    their struct `features`. Numbers are numeric features unless named in `categorical`; texts and booleans are categorical. A column
    without any value is a numeric feature with the single edge 0, which shows drift when values begin to come.

    Args:
        task: of a regression prediction and label are numbers, also where all of them are whole; it has no classes.
        classes: of prediction and label, canonical texts. None: those found, in order, at most the 100 most frequent; none if they are
            fractions, or more than 100 different integers, which are a quantity. Other rows stay out of the confusion matrix.
        ignore: columns, or fields of `features`, to leave out; prediction and label may be among them.
        categorical: features whose integers are names.
        bins, coarse: see `fine_edges` and `coarse_groups`.
        top_categories: how many of the most frequent values of a categorical feature have a name, ties by name; the rest is OTHER. None:
            100, but in a long tail only what was seen often enough, see `_CategoryCounter.named`.
        feature_bins: of single features, `coarse` of a number and `top_categories` of a category in place of these.
        importances: of features, any scale, >= 0; of those that are not named 0 if there are any.
    Raises:
        InvalidReferenceError: the file cannot be read, has no row or no feature, lacks a column that was named, or holds values that a
            column cannot have; the message says where.
        ValueError: an argument is out of range.
    """
    _check_arguments(task, classes, bins, coarse, top_categories, feature_bins)
    layout = _Layout(data, prediction_column, label_column, score_column, frozenset(ignore), frozenset(categorical))
    survey = _Survey(layout)
    for block in blocks(data):
        survey.add(block)
        if progress:
            progress("survey", survey.rows, None)
    counters = survey.counters(bins, coarse, top_categories, feature_bins)
    outcomes, outputs = _Outcomes(layout, survey.kinds, classes, task), _Outputs(survey, bins, coarse)
    by_label = outputs.scores_by_label(classes)
    rows, used = 0, {*counters, prediction_column, label_column, score_column}
    for block in blocks(data, used.__contains__):
        rows += block.rows
        for column in counters.keys() & block.columns.keys():
            counters[column].add(block.columns[column].cells)
        outcomes.add(block)
        outputs.add(block)
        if by_label and score_column in block.columns:
            by_label.add(outcomes.labels(block), numbers(block.columns[score_column].cells))
        if progress:
            progress("count", rows, survey.rows)
    found = outcomes.classes()
    features = sorted((counter.feature(rows) for counter in counters.values()), key=lambda feature: feature.name)
    reference = Reference(
        reference_id="",
        model=model,
        version=version,
        rows=rows,
        classes=found,
        confusion=outcomes.confusion(found),
        calibration=by_label.counts(found) if by_label else None,
        outputs=outputs.features(rows, found),
        features=layout.weighed(features, importances),
    )
    return msgspec.structs.replace(reference, reference_id=reference.content_id)


def read_importances(path: Path) -> dict[str, float]:
    """Importance by feature, of a .json or .yaml file that maps names to numbers. Raises InvalidReferenceError for any other file."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = msgspec.json.decode(text) if path.suffix == ".json" else yaml.safe_load(text)
        return msgspec.convert(tree, dict[str, float], strict=False)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError, yaml.YAMLError) as error:
        raise InvalidReferenceError(f"cannot read importances: path={str(path)!r}: {error}; expected feature names and numbers") from None


def _check_arguments(
    task: Task, classes: Sequence[str] | None, bins: int, coarse: int, top: int | None, feature_bins: Mapping[str, int]
) -> None:
    numbers = [("bins", bins, 2), ("coarse", coarse, 2), ("top_categories", 1 if top is None else top, 1)]
    for name, value, least in (*numbers, *((f"feature_bins of {name!r}", value, 2) for name, value in feature_bins.items())):
        if value < least:
            raise ValueError(f"cannot build a reference: {name}={value!r}, expected >= {least}")
    if classes is not None and task == "regression":
        raise ValueError(f"cannot build a reference: classes={classes!r}, expected none; a regression has no classes")
    if classes is not None and not 0 < len(set(classes)) == len(classes):
        raise ValueError(f"cannot build a reference: classes={classes!r}, expected at least one, all different")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which column is what."""

    path: Path
    prediction: str
    label: str
    score: str
    ignore: frozenset[str]
    categorical: frozenset[str]

    def may_be_feature(self, column: str) -> bool:
        roles = {self.prediction, self.label, self.score} | NOT_FEATURES
        return column not in roles and column.removeprefix(EVENT_FIELD) not in self.ignore

    def may_be_number(self, column: str) -> bool:
        may_be = self.may_be_feature(column) or column in self.outputs()
        return may_be and column.removeprefix(EVENT_FIELD) not in self.categorical

    def outputs(self) -> dict[str, str]:
        """The columns of the model's outputs and the label, with their names."""
        columns = {self.prediction: "prediction", self.score: "score", self.label: "label"}
        return {column: name for column, name in columns.items() if column not in self.ignore}

    def features(self, columns: Iterable[str]) -> dict[str, str]:
        """The columns that are features, with the features' names. Raises if a column that was named is absent, or none is left."""
        names = {column: column.removeprefix(EVENT_FIELD) for column in columns}
        events = any(column.startswith(EVENT_FIELD) for column in names)
        found = {
            column: name
            for column, name in names.items()
            if self.may_be_feature(column) and column.startswith(EVENT_FIELD if events else "")
        }
        if absent := (self.ignore - set(names.values())) | (self.categorical - set(found.values())) | (self._renamed() - set(names)):
            raise self.refused(f"columns {sorted(absent)}", f"expected to be there; features are {sorted(found.values())}")
        if not found:
            raise self.refused(f"columns {sorted(names)}", "expected at least one feature besides prediction, label, score and identifiers")
        return found

    def weighed(self, features: Sequence[Feature], importances: Mapping[str, float]) -> tuple[Feature, ...]:
        """The features with their importances. Raises for one of no feature, or one that is no weight."""
        self.check_names("importances", importances, [feature.name for feature in features])
        if not importances:
            return tuple(features)
        try:
            return tuple(msgspec.structs.replace(feature, importance=importances.get(feature.name, 0.0)) for feature in features)
        except ValueError as error:
            raise self.refused("importances", str(error)) from None

    def check_names(self, what: str, given: Iterable[str], features: Iterable[str]) -> None:
        """Raise for names that are of no feature."""
        if unknown := sorted(set(given) - set(features)):
            raise self.refused(f"{what} of {unknown}", f"expected only those of features, which are {sorted(features)}")

    def refused(self, what: str, rule: str) -> InvalidReferenceError:
        return InvalidReferenceError(f"cannot build a reference: path={str(self.path)!r}, {what}: {rule}")

    def refused_kinds(self, column: str, kinds: Collection[str], rule: str) -> InvalidReferenceError:
        return self.refused(f"column {column!r}", f"found {' and '.join(sorted(kinds))}, expected {rule}; or leave it out with ignore")

    def _renamed(self) -> set[str]:
        return {self.prediction, self.label, self.score} - {"prediction", "label", "score"}


class _Sample:
    """A uniform sample of rows, without replacement, the same rows for every column (algorithm R of Vitter 1985); all rows, if they fit."""

    def __init__(self, size: int) -> None:
        self._size, self._seen = size, 0
        self._rng = np.random.default_rng(SAMPLE_SEED)
        self._columns: dict[str, Floats] = {}

    def add(self, rows: int, columns: dict[str, Floats]) -> None:
        """Take in the next rows; a column that they lack is NaN in them, one that is new was NaN before."""
        numbers = np.arange(self._seen, self._seen + rows)
        places = np.where(numbers < self._size, numbers, (self._rng.random(rows) * (numbers + 1)).astype(np.int64))
        kept = places < self._size
        for name in columns.keys() - self._columns.keys():
            self._columns[name] = np.empty(self._size)  # memory that is not written yet is not used yet
            self._columns[name][: self._seen] = np.nan
        for name, sample in self._columns.items():
            sample[places[kept]] = columns[name][kept] if name in columns else np.nan  # a place given twice keeps the later row
        self._seen += rows

    def values(self, name: str) -> Floats:
        """The column's finite values in the sample."""
        return _finite(self._columns[name][: self._seen])


class _Bounds(NamedTuple):
    low: float = np.inf
    high: float = -np.inf


@dataclass(slots=True)
class _Survey:
    """The first pass: what stands in each column, and the values to take edges from."""

    layout: _Layout
    rows: int = 0
    kinds: dict[str, set[str]] = field(default_factory=dict)
    sample: _Sample = field(default_factory=lambda: _Sample(SAMPLE_ROWS))
    bounds: dict[str, _Bounds] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        columns: dict[str, Floats] = {}
        for name, column in block.columns.items():
            kinds = self.kinds.setdefault(name, set())
            kinds |= column.kinds
            if self.layout.may_be_number(name) and kinds <= {"integer", "number"}:
                columns[name] = numbers(column.cells)
                finite, bounds = _finite(columns[name]), self.bounds.get(name, _Bounds())
                self.bounds[name] = _Bounds(float(finite.min(initial=bounds.low)), float(finite.max(initial=bounds.high)))
        self.sample.add(block.rows, columns)
        self.rows += block.rows

    def counters(
        self, bins: int, coarse: int, top_categories: int | None, feature_bins: Mapping[str, int]
    ) -> "dict[str, _NumberCounter | _CategoryCounter]":
        """What counts each feature in the second pass, by column."""
        if self.rows == 0:
            raise self.layout.refused("rows=0", "expected at least one row")
        counters: dict[str, _NumberCounter | _CategoryCounter] = {}
        names = self.layout.features(self.kinds)
        self.layout.check_names("bins", feature_bins, names.values())
        for column, name in names.items():
            kind, wanted = _kind(self.kinds[column], is_textual(self.layout.path)), name in self.layout.categorical
            if kind == "unusable" or (wanted and kind == "number"):
                rule = "texts, booleans or integers" if wanted else "numbers, texts or booleans"
                raise self.layout.refused_kinds(name, self.kinds[column], rule + ", one of them")
            if kind in ("text", "boolean") or wanted:
                counters[column] = _CategoryCounter(name, "text" if kind == "none" else kind, feature_bins.get(name, top_categories))
            else:
                counters[column] = self.number_counter(column, name, bins, feature_bins.get(name, coarse))
        return counters

    def number_counter(self, column: str, name: str, bins: int, coarse: int) -> "_NumberCounter":
        """What counts a column of numbers in the second pass."""
        bounds = self.bounds[column]
        edges, between = np.zeros(1), None
        if bounds.low <= bounds.high:
            values = self.sample.values(column)
            edges, between = fine_edges(values, *bounds, bins), fences(values, *bounds)
        return _NumberCounter(name, bounds, edges, between, coarse)


@dataclass(slots=True)
class _NumberCounter:
    """Counts of one numeric feature on its quantiles and fences, and moments about the least value: so those of a constant are exact."""

    name: str
    bounds: _Bounds
    quantiles: Floats
    fences: tuple[float, float] | None
    coarse: int
    edges: Floats = field(init=False)
    counts: Counts = field(init=False)
    moments: Floats = field(default_factory=lambda: zero_moments(1))

    def __post_init__(self) -> None:
        between = (self.fences[0], np.nextafter(self.fences[1], np.inf)) if self.fences else ()
        self.edges = np.union1d(self.quantiles, between)
        self.counts = np.zeros(self.edges.size + 1, np.int64)

    def add(self, cells: pa.Array) -> None:
        values = numbers(cells)
        present = values[~np.isnan(values)]
        self.counts += np.bincount(np.searchsorted(self.edges, present, side="right"), minlength=self.counts.size)
        finite = _finite(present) - self.bounds.low
        self.moments = merge_moments(self.moments, grouped_moments(np.zeros(finite.size, np.int64), 1, finite[None])[0])

    def feature(self, rows: int) -> NumericFeature:
        n, mean, m2 = (float(self.moments[0, column]) for column in (N, MEAN, M2))
        low, high = self.bounds
        moments = {"mean": min(low + mean, high), "std": math.sqrt(m2 / n), "minimum": low, "maximum": high} if n else {}
        return NumericFeature(
            name=self.name,
            missing=rows - int(self.counts.sum()),
            fences=self.fences if n else None,
            edges=self.edges,
            counts=self.counts,
            groups=self._groups(),
            **moments,
        )

    def _groups(self) -> Counts:
        """The coarse groups as they are without the fences, which do not change what drift is scored on."""
        of_bin = np.searchsorted(self.quantiles, np.concatenate(([-np.inf], self.edges)), side="right")
        return coarse_groups(self.quantiles, np.bincount(of_bin, self.counts).astype(np.int64), self.coarse)[of_bin]


@dataclass(slots=True)
class _CategoryCounter:
    """Counts of one categorical feature's values."""

    name: str
    kind: Kind
    top: int | None  # how many have a name, however rare; None: see `named`
    counts: Counter[str] = field(default_factory=Counter)
    present: int = 0

    def add(self, cells: pa.Array) -> None:
        values = texts(cells, self.kind)
        self.present += len(values) - values.null_count
        _count(self.counts, {item["values"]: item["counts"] for item in values.drop_null().value_counts().to_pylist()})

    def named(self) -> list[str]:
        """The values that are not OTHER, most frequent first.

        Where some values were seen once, about as many of so many rows are of values that were never seen (Good 1953), and those that were
        seen a few times are rarer than they look. Taken together their share is known.

        References:
            I. J. Good, The Population Frequencies of Species and the Estimation of Population Parameters, Biometrika 40(3/4), 1953.
        """
        top, once = _most_frequent(self.counts, self.top or TOP_CATEGORIES), sum(count == 1 for count in self.counts.values())
        if self.top or len(self.counts) <= TAIL_VALUES or once < TAIL_ONCE:
            return top
        return [value for value in top if self.counts[value] >= TAIL_ROWS]

    def feature(self, rows: int) -> CategoricalFeature:
        top = self.named()
        counts = [self.counts[category] for category in top]
        return CategoricalFeature(
            name=self.name,
            value_type=_VALUE_TYPES[self.kind],
            missing=rows - self.present,
            categories=tuple(top),
            counts=np.array([*counts, self.present - sum(counts)]),
        )


class _Outputs:
    """Counts of the prediction, the score and the label; a column that is absent or empty is not among them."""

    def __init__(self, survey: _Survey, bins: int, coarse: int) -> None:
        self._numbers: dict[str, _NumberCounter] = {}
        self._classes: dict[str, _CategoryCounter] = {}
        for column, name in survey.layout.outputs().items():
            kind = _kind(survey.kinds.get(column, ()), is_textual(survey.layout.path))
            if kind in ("integer", "number"):
                self._numbers[column] = survey.number_counter(column, name, bins, coarse)
            if kind in ("integer", "text", "boolean") and name != "score":
                self._classes[column] = _CategoryCounter(name, kind, CLASSES_MAX)

    def add(self, block: Block) -> None:
        for counters in (self._numbers, self._classes):
            for column in counters.keys() & block.columns.keys():
                counters[column].add(block.columns[column].cells)

    def scores_by_label(self, classes: Sequence[str] | None) -> ScoresByLabel | None:
        """What counts the scores of each label on the bins of the score, if there is one."""
        return next((ScoresByLabel(counter.edges, classes) for counter in self._numbers.values() if counter.name == "score"), None)

    def features(self, rows: int, classes: Sequence[str]) -> tuple[Feature, ...]:
        """By name; whole numbers are names if the model has classes, else a quantity."""
        scores = {column: counter for column, counter in self._numbers.items() if counter.name == "score"}
        counters = (scores | self._classes) if classes else (self._classes | self._numbers)
        return tuple(sorted((counter.feature(rows) for counter in counters.values()), key=lambda feature: feature.name))


class _Outcomes:
    """How often each label was predicted as what; a column that is absent, empty or fractions is null throughout."""

    def __init__(self, layout: _Layout, kinds: Mapping[str, Collection[str]], classes: Sequence[str] | None, task: Task) -> None:
        self._layout, self._given = layout, classes
        self._kinds: dict[str, Kind] = {}
        self._pairs: Counter[tuple[str | None, str | None]] = Counter()
        for column in sorted({layout.label, layout.prediction} - layout.ignore):
            kind = _kind(kinds.get(column, ()), is_textual(layout.path))
            if task == "regression":
                if kind not in ("number", "integer", "none"):
                    raise layout.refused_kinds(column, kinds[column], "numbers")
                continue
            if kind == "unusable" or (kind == "number" and classes):
                raise layout.refused_kinds(column, kinds[column], "texts, booleans or integers, one of them")
            if kind != "number" and kind != "none":
                self._kinds[column] = kind

    def add(self, block: Block) -> None:
        prediction = self._texts(block, self._layout.prediction)
        pairs = (
            pa.table({"label": self.labels(block), "prediction": prediction})
            .group_by(["label", "prediction"])
            .aggregate([([], "count_all")])
        )
        _count(self._pairs, {(row["label"], row["prediction"]): row["count_all"] for row in pairs.to_pylist()})

    def labels(self, block: Block) -> pa.Array:
        """The labels as texts, null where there is none."""
        return self._texts(block, self._layout.label)

    def classes(self) -> tuple[str, ...]:
        """The classes given, else those found: at most `CLASSES_MAX`, none if they are a quantity."""
        values = self._values()
        if self._given:
            if values and not values.keys() & set(self._given):
                found = _most_frequent(values, 10)
                raise self._layout.refused(f"classes={tuple(self._given)!r}", f"expected those of {sorted(self._kinds)}, which are {found}")
            return tuple(self._given)
        quantity = len(values) > CLASSES_MAX and set(self._kinds.values()) == {"integer"}
        return () if quantity else tuple(sorted(_most_frequent(values, CLASSES_MAX)))

    def confusion(self, classes: Sequence[str]) -> Counts | None:
        """Rows by [label, prediction]; None if there is no row with both."""
        place = {name: index for index, name in enumerate(classes)}
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        for (label, prediction), count in self._pairs.items():
            if label in place and prediction in place:
                matrix[place[label], place[prediction]] += count
        return matrix if matrix.any() else None

    def _texts(self, block: Block, column: str) -> pa.Array:
        if column not in self._kinds or column not in block.columns:
            return pa.nulls(block.rows, pa.string())
        return texts(block.columns[column].cells, self._kinds[column])

    def _values(self) -> Counter[str]:
        values: Counter[str] = Counter()
        for pair, count in self._pairs.items():
            for value in pair:
                if value is not None:
                    values[value] += count
        return values


def _kind(kinds: Collection[str], textual: bool) -> Kind | Literal["none", "unusable"]:
    """What a column is, from what stands in its blocks; several kinds are all texts where cells have no type."""
    match sorted(kinds):
        case []:
            return "none"
        case ["boolean" | "integer" | "number" | "text" as kind]:
            return kind
        case ["integer", "number"]:
            return "number"
    return "text" if textual else "unusable"


def _finite(values: Floats) -> Floats:
    finite: Floats = values[np.abs(values) < LARGEST]
    return finite


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    """The most frequent values first; equally frequent ones by name."""
    return sorted(counts, key=lambda value: (-counts[value], value))[:most]


def _count(counts: Counter[Value], more: Mapping[Value, int]) -> None:
    """Add counts in place. Of more than `DISTINCT_MAX` values the most frequent stay, each count lowered alike (Misra & Gries 1982)."""
    counts.update(more)
    if len(counts) > DISTINCT_MAX:
        loss = sorted(counts.values())[-DISTINCT_MAX - 1]  # so many rows of each of DISTINCT_MAX + 1 values go: Agarwal et al. 2013
        kept = {value: count - loss for value, count in counts.items() if count > loss}
        counts.clear()
        counts.update(kept)
