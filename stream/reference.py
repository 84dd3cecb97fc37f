"""The frozen reference of one model version: bins, their counts and the baseline, and the JSON file that holds them.

What is not here: how a reference is made (`reference_build`), and any score. Invariant: a value of these types satisfies every rule of
`config/reference-format.md`; edges and groups never depend on a current window. Arrays are read-only.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

FORMAT: Literal["driftstream-reference/1"] = "driftstream-reference/1"
_ROWS_MAX = 2**53  # a double holds every count, and int64 the sum of any thousand of them
OTHER, MISSING = "(other)", "(missing)"  # labels of the bins that are not a value
OUTPUTS = ("prediction", "score", "label")  # of a model, besides its features

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ValueType = Literal["string", "integer", "boolean"]


class InvalidReferenceError(ValueError):
    """A reference file, or the data for one, that cannot be used: which file, which key or column, which rule."""


class NumericFeature(Struct, frozen=True, kw_only=True, eq=False, tag="numeric", tag_field="kind", forbid_unknown_fields=True):
    """Fine reference-quantile bins of a number, and the coarse groups they form.

    Args:
        edges: (k,) finite, strictly increasing. The bin of x is `np.searchsorted(edges, x, side="right")`: bin i is
            [edges[i-1], edges[i]), bin 0 is below all edges, bin k at or above the last.
        counts: (k+1,) rows per bin. Infinities count in the end bins, NaN is missing.
        missing: rows without a number.
        groups: (k+1,) coarse group of each bin, from 0 in steps of 0 or 1.
        mean, std, minimum, maximum: of the finite values, std with divisor n; all NaN (absent in the file) if there is none.
        fences: (low, high) of Tukey's box plot: values below the one or above the other are outliers. `low` and the number after `high`
            are edges, so that outliers can be counted; None without values, and in a file made before there were fences.
        importance: weight of the feature in the model's drift, >= 0; NaN (absent in the file) if none was given.
    """

    name: str
    missing: int
    importance: float = math.nan
    mean: float = math.nan
    std: float = math.nan
    minimum: float = math.nan
    maximum: float = math.nan
    fences: tuple[float, float] | None = None
    edges: Floats
    counts: Counts
    groups: Counts

    def __post_init__(self) -> None:
        _freeze(self, edges=np.float64, counts=np.int64, groups=np.int64)
        edges, bins, name = self.edges, self.edges.size + 1, self.name
        increasing = edges.ndim == 1 and edges.size > 0 and np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
        _expect(increasing, name, "edges", "finite, strictly increasing numbers, at least one")
        _expect_counts(self.counts, bins, name, "one more than edges")
        steps = self.groups.shape == (bins,) and self.groups[0] == 0 and np.isin(np.diff(self.groups), (0, 1)).all()
        _expect(steps, name, "groups", "one more than edges, from 0 in steps of 0 or 1")
        _expect(self.missing >= 0, name, "missing", ">= 0")
        moments = (self.mean, self.std, self.minimum, self.maximum)
        absent = all(map(math.isnan, moments))
        ordered = all(map(math.isfinite, moments)) and self.std >= 0 and self.minimum <= self.mean <= self.maximum
        _expect(absent or ordered, name, "mean, std, minimum, maximum", "all absent, or minimum <= mean <= maximum and std >= 0")
        if self.fences:
            low, high = self.fences
            fenced = low <= high and np.isin([low, np.nextafter(high, np.inf)], edges).all()
            _expect(fenced, name, "fences", "low <= high, with low and the number after high among the edges")
        _expect_importance(self.importance, name)

    @property
    def bins(self) -> int:
        """Number of fine bins, k+1."""
        return self.counts.size

    def range_cut(self) -> tuple[int, int]:
        """The fine bins before the first number and from the second on hold what is out of the reference's range."""
        return (1, self.bins - 1) if math.isnan(self.minimum) else self._cut(self.minimum, self.maximum)

    def fences_cut(self) -> tuple[int, int] | None:
        """The same of what is beyond the fences; None without fences."""
        return self._cut(*self.fences) if self.fences else None

    def _cut(self, low: float, high: float) -> tuple[int, int]:
        """Of what is below `low` or above `high`, of which the first and the number after the second are edges."""
        first, last = np.searchsorted(self.edges, (low, np.nextafter(high, np.inf)), side="right").tolist()
        return first, last

    def coarsen(self, counts: Counts, missing: int) -> Counts:
        """Counts per coarse group, then MISSING, (groups + 1,), of fine counts (k+1,)."""
        return np.append(np.add.reduceat(counts, self._starts()), missing)

    def coarse_counts(self) -> Counts:
        """The reference's own counts per coarse group, then MISSING."""
        return self.coarsen(self.counts, self.missing)

    def bin_labels(self) -> tuple[str, ...]:
        """A label for each of `coarse_counts`: "< 0.12", "[0.12, 0.35)", "= 0.0035", ">= 812.5", "(missing)".

        Rounded to the fewest digits, at least 4, that keep the bounds of the feature apart.
        """
        bounds = [self._bound(int(first) - 1) for first in self._starts()[1:]]
        if not bounds:
            return ("any", MISSING)
        text = _distinct({value for value, _ in bounds})
        (first, past_first), (last, past_last) = bounds[0], bounds[-1]
        between = [
            f"= {text[low]}" if low == high else f"{'(' if past_low else '['}{text[low]}, {text[high]}{']' if past_high else ')'}"
            for (low, past_low), (high, past_high) in pairwise(bounds)
        ]
        return (f"{'<=' if past_first else '<'} {text[first]}", *between, f"{'>' if past_last else '>='} {text[last]}", MISSING)

    def range_namer(self) -> Callable[[int, int], str]:
        """What says in words which numbers are in the coarse groups from the first to the last given: "at or above 812.5"."""
        bounds = [self._bound(int(first) - 1) for first in self._starts()[1:]]
        text = _distinct({value for value, _ in bounds})

        def name(first: int, last: int) -> str:
            low, high = bounds[first - 1] if first else None, bounds[last] if last < len(bounds) else None
            above = low and f"{'above' if low[1] else 'at or above'} {text[low[0]]}"
            below = high and f"{'up to' if high[1] else 'below'} {text[high[0]]}"
            if low and high and low[0] == high[0]:
                return f"at {text[low[0]]}"
            return " and ".join(side for side in (above, below) if side) or "anywhere"

        return name

    def _starts(self) -> npt.NDArray[np.intp]:
        """The first fine bin of each group."""
        return np.flatnonzero(np.diff(self.groups, prepend=-1))

    def _bound(self, edge: int) -> tuple[float, bool]:
        """An edge as people write it: the value, and whether the edge is the next number after it, i.e. ends the bin of one value."""
        after = edge > 0 and np.nextafter(self.edges[edge - 1], np.inf) == self.edges[edge]
        return float(self.edges[edge - after]), bool(after)


class CategoricalFeature(Struct, frozen=True, kw_only=True, eq=False, tag="categorical", tag_field="kind", forbid_unknown_fields=True):
    """The most frequent values of a feature, and OTHER for the rest.

    Args:
        categories: canonical texts: "true" and "false", integers as "-12"; most frequent first.
        counts: (len(categories) + 1,) rows per category, the last one OTHER.
        missing: rows without a value.
        importance: as of a number.
    """

    name: str
    value_type: ValueType
    missing: int
    importance: float = math.nan
    categories: tuple[str, ...]
    counts: Counts

    def __post_init__(self) -> None:
        _freeze(self, counts=np.int64)
        _expect(len(set(self.categories)) == len(self.categories), self.name, "categories", "different texts")
        texts = {"string": "", "integer": r"0|-?[1-9][0-9]{0,307}", "boolean": "true|false"}[self.value_type]
        canonical = not texts or all(re.fullmatch(texts, category) for category in self.categories)
        _expect(canonical, self.name, "categories", f"canonical texts of value_type {self.value_type!r}")
        _expect_counts(self.counts, len(self.categories) + 1, self.name, "one more than categories")
        _expect(self.missing >= 0, self.name, "missing", ">= 0")
        _expect_importance(self.importance, self.name)

    @property
    def bins(self) -> int:
        """Number of categories, with OTHER."""
        return self.counts.size

    def coarsen(self, counts: Counts, missing: int) -> Counts:
        """The counts (categories, OTHER), then MISSING: categories are not grouped."""
        return np.append(counts, missing)

    def coarse_counts(self) -> Counts:
        """The reference's own counts per category, OTHER, MISSING."""
        return self.coarsen(self.counts, self.missing)

    def bin_labels(self) -> tuple[str, ...]:
        """A label for each of `coarse_counts`."""
        return (*self.categories, OTHER, MISSING)


Feature = NumericFeature | CategoricalFeature


class Reference(Struct, frozen=True, kw_only=True, eq=False, tag=FORMAT, tag_field="format", forbid_unknown_fields=True):
    """What a model's inputs and performance are compared with.

    Args:
        reference_id: `content_id`, so that equal references have equal ids and every result can name the one it was scored with.
        rows: of the data it was built from; each feature's counts and missing sum to it.
        classes: of prediction and label, canonical texts; () for a regression.
        confusion: (c, c) rows with a label and a prediction among the classes, [label, prediction]; None without labels.
        outputs: what is known of "prediction", "score" and "label", as of features; files of older versions have none.
        calibration: (2, score bins) rows with a score and a label of two classes, [label, bin of the score]; None without rows of both.
    """

    reference_id: str
    model: str
    version: str
    rows: int
    classes: tuple[str, ...] = ()
    confusion: Counts | None = None
    calibration: Counts | None = None
    outputs: tuple[Feature, ...] = ()
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        _expect(0 <= self.rows <= _ROWS_MAX, None, "rows", f"0 to {_ROWS_MAX}")
        for key, found in (("features", self.features), ("outputs", self.outputs)):
            names = [feature.name for feature in found]
            _expect(len(set(names)) == len(names), None, key, "different names")
        _expect({feature.name for feature in self.outputs} <= set(OUTPUTS), None, "outputs", f"names among {', '.join(OUTPUTS)}")
        score = self.output("score")
        _expect(score is None or isinstance(score, NumericFeature), "score", "kind", "numeric")
        for feature in (*self.features, *self.outputs):
            total = sum(feature.counts.tolist()) + feature.missing  # not in numpy, where a sum beyond int64 comes round to any value
            _expect(total == self.rows, feature.name, "counts", f"a sum of rows - missing = {self.rows - feature.missing}")
        c = len(self.classes)
        _expect(len(set(self.classes)) == c, None, "classes", "different texts")
        if self.confusion is not None:
            _freeze(self, confusion=np.int64)
            square = (
                self.confusion.shape == (c, c) and self.confusion.min(initial=0) >= 0 and sum(self.confusion.ravel().tolist()) <= self.rows
            )
            _expect(square, None, "confusion", f"{c} rows of {c} counts >= 0, one per class, with a sum <= rows")
        if self.calibration is not None:
            _freeze(self, calibration=np.int64)
            of_score = score is not None and c == 2 and _are_some_of(score.counts, self.calibration)
            _expect(
                of_score, None, "calibration", "two rows of counts >= 0, one per class, none empty, with sums <= the counts of the score"
            )

    def output(self, name: str) -> Feature | None:
        """What is known of one of OUTPUTS."""
        return next((feature for feature in self.outputs if feature.name == name), None)

    @property
    def content_id(self) -> str:
        """Model, version and 16 hex digits of a SHA-256 over everything but the id itself."""
        content = {key: value for key, value in _builtins(self).items() if key != "reference_id"}
        digest = hashlib.sha256(_json(content).encode()).hexdigest()
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.model}-{self.version}-{digest[:16]}")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The reference in a file. Raises InvalidReferenceError, with the key and the rule, for a file that `save` did not write."""
        try:
            data = path.read_bytes()
            msgspec.json.decode(data, type=_Header)
            reference = msgspec.json.decode(data, type=cls, dec_hook=_array)
            if reference.reference_id != reference.content_id:
                raise ValueError(f"expected {reference.content_id!r}, the id of this content; the file was changed - at `$.reference_id`")
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise InvalidReferenceError(f"cannot load a reference: path={str(path)!r}: {error}; build it again from the data") from error
        return reference

    def save(self, path: Path) -> None:
        """Write the file: whole or not at all."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(_text(_builtins(self)))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


class _Header(Struct):
    """Read first: a file of another format is refused for that and nothing else."""

    format: Literal["driftstream-reference/1"]


def _expect(met: bool | np.bool, feature: str | None, key: str, rule: str) -> None:
    if not met:
        raise ValueError(f"{'' if feature is None else f'feature {feature!r}: '}{key}: expected {rule}")


def _are_some_of(scores: Counts, calibration: Counts) -> bool:
    """Whether the calibration counts some of the rows with a score, of both classes, in the bins of the score."""
    if calibration.shape != (2, scores.size) or calibration.min() < 0 or (calibration > scores).any():
        return False
    return bool((calibration.sum(axis=0) <= scores).all() and calibration.any(axis=1).all())


def _expect_counts(counts: Counts, size: int, feature: str, rule: str) -> None:
    _expect(counts.shape == (size,) and counts.min() >= 0, feature, "counts", f"{rule}, each >= 0")


def _expect_importance(importance: float, feature: str) -> None:
    _expect(math.isnan(importance) or 0 <= importance < math.inf, feature, "importance", "absent, or a finite number >= 0")


def _freeze(value: Struct, **dtypes: type[np.generic]) -> None:
    """Replace arrays by read-only copies of the given dtype."""
    for key, dtype in dtypes.items():
        array = np.array(getattr(value, key), dtype)
        array.flags.writeable = False
        msgspec.structs.force_setattr(value, key, array)


def _array(kind: type, value: object) -> npt.NDArray[Any]:
    """An array from a decoded JSON list; only integers where the field holds counts."""
    integers = kind == Counts
    items = value if isinstance(value, list) else [value]
    flat = [cell for item in items for cell in (item if isinstance(item, list) else [item])]
    if not isinstance(value, list) or not all(type(cell) is int or (type(cell) is float and not integers) for cell in flat):
        raise ValueError(f"expected a list of {'integers' if integers else 'numbers'}")
    try:
        return np.array(value, np.int64 if integers else np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError("expected rows of equal length, and integers of 64 bits") from error


def _builtins(reference: Reference) -> dict[str, Any]:
    """The reference as JSON types; what a feature has not is left out."""
    tree: dict[str, Any] = msgspec.to_builtins(reference, enc_hook=lambda array: array.tolist())
    for name in ("outputs", "features"):
        tree[name] = [{key: value for key, value in feature.items() if value is not None and value == value} for feature in tree[name]]
    for name in ("outputs", "calibration"):
        if not tree[name]:
            del tree[name]  # as in the files of older versions, whose ids so stay right
    return tree


def _text(tree: dict[str, Any]) -> str:
    """The file: one key a line, so that it reads well and compares well."""
    parts = [f"  {_json(key)}: {_features_text(value) if key in ('outputs', 'features') else _json(value)}" for key, value in tree.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _features_text(features: list[dict[str, Any]]) -> str:
    texts = [",\n".join(f"      {_json(key)}: {_json(value)}" for key, value in feature.items()) for feature in features]
    return "[\n" + ",\n".join(f"    {{\n{text}\n    }}" for text in texts) + "\n  ]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)  # floats by repr: they come back exactly


def _distinct(values: set[float]) -> dict[float, str]:
    """Each value as text, rounded alike, no two texts the same.

    >>> _distinct({0.5, 123456.0}), _distinct({0.100001, 0.1})
    ({0.5: '0.5', 123456.0: '1.235e+05'}, {0.1: '0.1', 0.100001: '0.100001'})
    """
    for digits in range(4, 17):
        texts = {value: f"{value:.{digits}g}" for value in sorted(values)}
        if len(set(texts.values())) == len(values):
            return texts
    return {value: repr(value) for value in values}
