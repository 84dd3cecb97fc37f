"""Categories with a long tail: what was seen a few times stands with what was never seen, so that the tail alone is no drift."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from detectors.chi_square import chi2
from detectors.psi_law import psi_p_values
from stream.reference import CategoricalFeature, Counts, Floats
from stream.reference_build import _CategoryCounter, build_reference
from tests.stream.reference_data import write

ALONE = np.zeros(1, np.int64)


def built(counts: dict[str, int], top: int | None = None) -> CategoricalFeature:
    """A reference's feature in which the values were seen so often."""
    counter = _CategoryCounter("x", "text", top)
    counter.add(pa.array([value for value, n in counts.items() for _ in range(n)]))
    return counter.feature(sum(counts.values()))


def singles(n: int) -> dict[str, int]:
    return {f"once{i}": 1 for i in range(n)}


def test_in_a_long_tail_what_was_seen_fewer_than_twenty_times_is_other() -> None:
    feature = built({"a": 500, "b": 20, "c": 19, "d": 2} | singles(7))
    assert feature.categories == ("a", "b")
    assert feature.counts.tolist() == [500, 20, 19 + 2 + 7]


@pytest.mark.parametrize("more", [{f"thrice{i}": 3 for i in range(20)} | singles(4), singles(8)])
def test_few_values_seen_once_or_few_values_at_all_are_no_long_tail(more: dict[str, int]) -> None:
    counts = {"a": 500, "b": 4} | more
    feature = built(counts)
    assert dict(zip((*feature.categories, "(other)"), feature.counts.tolist(), strict=True)) == counts | {"(other)": 0}


def test_of_an_identifier_nothing_is_named_unless_a_number_is_asked_for() -> None:
    feature = built(singles(1_000))
    assert (feature.categories, feature.counts.tolist(), feature.bin_labels()) == ((), [1_000], ("(other)", "(missing)"))
    assert built(singles(1_000), top=3).counts.tolist() == [1, 1, 1, 997]


def test_classes_stay_however_rare(tmp_path: Path) -> None:
    rows = [{"x": 1.0, "prediction": value, "label": value} for value in ["a"] * 50 + [f"rare{i}" for i in range(12)]]
    reference = build_reference(write(tmp_path, ".jsonl", rows), model="m", version="1")
    assert len(reference.classes) == 13
    assert {len(output.categories) for output in reference.outputs if isinstance(output, CategoricalFeature)} == {13}


def on_bins_of(feature: CategoricalFeature, counts: Counts) -> Counts:
    """The window's rows of each value, v0 first, as the stream counts them."""
    named = [int(category[1:]) for category in feature.categories]
    return np.append(counts[named], counts.sum() - counts[named].sum())


@pytest.mark.parametrize(
    ("exponent", "m", "n", "new"),
    [(1.0, 2_000, 200, 0.3), (1.0, 2_000, 2_000, 0.15), (1.5, 10_000, 1_000, 0.05), (1.5, 10_000, 10_000, 0.02)],
)
def test_a_long_tail_alarms_as_often_as_said_and_a_new_value_is_found(exponent: float, m: int, n: int, new: float) -> None:
    """The k-th of 300 values in proportion to a power of 1/k, with one reference for each window. One more value has a share of `new`."""
    rng, shares = np.random.default_rng(8), np.arange(1, 301) ** -exponent
    shares /= shares.sum()
    p_values = np.empty((2, 600, 2))  # of windows without drift and with it, by psi and by chi2
    for i in range(600):
        feature = built({f"v{j}": count for j, count in enumerate(rng.multinomial(m, shares).tolist()) if count})
        for drifted, share in enumerate((0.0, new)):
            now = on_bins_of(feature, rng.multinomial(n, np.append(shares * (1 - share), share)))
            psi = psi_p_values(feature.counts, now, ALONE, np.zeros(1, np.bool_))[0]
            p_values[drifted, i] = psi, chi2(feature.counts, now).p_value
    assert (rate(p_values[0] <= 0.05) <= 1.5 * 0.05 + 3 * math.sqrt(0.05 / 600)).all()
    assert (rate(p_values[1] <= 0.01) > 0.5).all()


def rate(alarms: NDArray[np.bool_]) -> Floats:
    """Share of the windows, by method."""
    return alarms.mean(axis=0)
