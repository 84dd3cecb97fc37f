"""The bins named are those that move the PSI, in order, with the shares a reader would compute."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.chi_square import chi2
from detectors.counts import Counts, shares
from detectors.explain import categorical_direction, comes_from, numeric_direction, top_bins
from detectors.psi import psi
from tests.detectors.histograms import Pair, pairs


@given(pairs(), st.integers(0, 40))
def test_top_bins_come_largest_first_and_name_the_bin_they_describe(pair: Pair, most: int) -> None:
    reference, current = pair
    bins = top_bins(reference, current, [str(i) for i in range(reference.size)], most=most)
    contributions = [moved.contribution for moved in bins]
    assert len(bins) <= most
    assert contributions == sorted(contributions, reverse=True)
    assert all(moved.contribution > 0 for moved in bins)
    for moved in bins:
        assert moved.reference == reference[int(moved.label)] / reference.sum()
        assert moved.current == current[int(moved.label)] / current.sum()


@given(pairs())
def test_all_bins_together_explain_the_whole_psi(pair: Pair) -> None:
    bins = top_bins(*pair, [""] * pair[0].size, most=pair[0].size)
    assert sum(moved.contribution for moved in bins) == pytest.approx(psi(*pair), rel=1e-12)


def test_bins_that_did_not_move_are_left_out() -> None:
    bins = top_bins(np.array([50, 20, 30]), np.array([50, 10, 40]), ["same", "down", "up"])
    assert [moved.label for moved in bins] == ["down", "up"]


def test_ties_keep_bin_order() -> None:
    bins = top_bins(np.full(40, 10), np.array([2, 18] * 20), [str(i) for i in range(40)], most=40)
    assert [moved.label for moved in bins] == [
        str(i) for i in (*range(0, 40, 2), *range(1, 40, 2))
    ]  # a fall to 2 weighs more than a rise to 18


def test_shares_are_those_observed_while_the_contribution_is_smoothed() -> None:
    (moved,) = top_bins(np.array([30, 70]), np.array([0, 10]), ["low", "high"], most=1)
    p, q = 30.5 / 101, 0.5 / 11
    assert (moved.label, moved.reference, moved.current) == ("low", 0.3, 0.0)
    assert moved.contribution == pytest.approx((q - p) * math.log(q / p))


def test_no_drift_has_no_top_bins() -> None:
    assert top_bins(np.array([50, 50]), np.array([50, 50]), ["a", "b"]) == ()


def test_labels_that_do_not_fit_the_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot name bins: len\(labels\)=1, expected n_bins=2; "):
        top_bins(np.array([1, 2]), np.array([2, 1]), ["a"])


def between(first: int, last: int) -> str:
    return f"in {first} to {last}"


# numbers: bins 0 to 4, then missing


def number(reference: list[int], current: list[int]) -> str:
    return numeric_direction(shares(np.array(reference), np.array(current)), between)


def test_neighbouring_bins_that_gained_are_one_range() -> None:
    assert number([20, 20, 20, 20, 20, 0], [10, 10, 20, 25, 35, 0]) == "more mass in 3 to 4 (40.0% -> 60.0%)"


def test_both_ends_that_gained_are_named() -> None:
    assert (
        number([10, 20, 40, 20, 10, 0], [30, 10, 10, 20, 30, 0])
        == "more mass in 0 to 0 (10.0% -> 30.0%); more mass in 4 to 4 (10.0% -> 30.0%)"
    )


def test_a_movement_less_than_half_as_large_is_left_out() -> None:
    assert number([10, 20, 40, 20, 10, 0], [17, 10, 10, 38, 25, 0]) == "more mass in 3 to 4 (30.0% -> 63.0%)"


def test_values_that_go_missing_or_come_back_are_told_as_such() -> None:
    assert number([20, 20, 20, 20, 19, 1], [16, 16, 16, 15, 15, 22]) == "missing 1.0% -> 22.0%"
    assert number([16, 16, 16, 15, 15, 22], [20, 20, 20, 20, 19, 1]) == "missing 22.0% -> 1.0%"


@given(pairs())
def test_the_range_named_first_holds_the_rows_it_says(pair: Pair) -> None:
    """Recounted from the words: at least as many percent went there as into any other run of bins that gained."""
    reference, current = (np.append(counts, 0) for counts in pair)
    said = numeric_direction(shares(reference, current), lambda first, last: f"{first}:{last + 1}", most=1)
    if not said:
        assert np.array_equal(pair[0] * pair[1].sum(), pair[1] * pair[0].sum())
        return
    first, last = map(int, said.split()[2].split(":"))
    p, q = (counts[first:last].sum() / counts.sum() for counts in pair)
    assert said == f"more mass {first}:{last} ({p:.1%} -> {q:.1%})"
    assert q - p >= max(pair[1] / pair[1].sum() - pair[0] / pair[0].sum()) - 1e-12


# categories: a, b, the others, missing


def category(reference: list[int], current: list[int], names: tuple[str, ...] = ("a", "b")) -> str:
    return categorical_direction(shares(np.array(reference), np.array(current)), names)


def test_categories_are_named_with_what_became_of_them() -> None:
    assert category([50, 50, 0, 0], [30, 70, 0, 0]) == "less 'a' (50.0% -> 30.0%); more 'b' (50.0% -> 70.0%)"
    assert category([50, 50, 0, 0], [0, 100, 0, 0]) == "no 'a' (50.0% -> 0.0%); more 'b' (50.0% -> 100.0%)"
    assert category([100, 0, 0, 0], [93, 7, 0, 0]) == "less 'a' (100.0% -> 93.0%); category 'b' unseen in the reference 0.0% -> 7.0%"
    assert category([90, 10, 0, 0], [90, 10, 20, 0]).startswith("categories unseen in the reference 0.0% -> 16.7%")
    assert category([80, 10, 10, 0], [80, 10, 40, 0]).startswith("rare and unseen categories 10.0% -> 30.8%")
    assert category([99, 0, 0, 1], [78, 0, 0, 22]) == "less 'a' (99.0% -> 78.0%); missing 1.0% -> 22.0%"


@pytest.mark.parametrize(
    ("unseen", "words"),
    [
        ({"c": 0.2}, "category 'c' unseen in the reference 0.0% -> 20.0%"),
        ({"c": 0.1}, "categories 'c' (10.0%) and others unseen in the reference 0.0% -> 20.0%"),
        ({"c": 0.15, "d": 0.05}, "categories 'c' (15.0%), 'd' (5.0%) unseen in the reference 0.0% -> 20.0%"),
        (
            {"c": 0.05, "d": 0.05, "e": 0.05, "f": 0.05},
            "categories 'c' (5.0%), 'd' (5.0%), 'e' (5.0%) and others unseen in the reference 0.0% -> 20.0%",
        ),
    ],
)
def test_categories_that_were_not_there_before_are_named_as_far_as_they_are_known(unseen: dict[str, float], words: str) -> None:
    pair = shares(np.array([50, 50, 0, 0]), np.array([40, 40, 20, 0]))
    assert categorical_direction(pair, ["a", "b"], unseen=unseen).split("; ")[0] == words


def test_what_a_category_is_called_cannot_break_the_line() -> None:
    said = category([50, 50, 0, 0], [0, 100, 0, 0], ("x\n\u202e'", "y" * 1000))
    assert said.isprintable()
    assert "'" + "y" * 60 + "...'" in said
    assert len(said) < 200
    said = categorical_direction(np.array([[1, 0, 0], [0.8, 0.2, 0]]), ["a"], unseen={"x\n\u202e'": 0.1, "y" * 100: 0.1})
    assert said.isprintable()
    assert "'" + "y" * 60 + "...'" in said


def test_nothing_moved_nothing_said() -> None:
    assert number([20, 20, 20, 20, 20, 0], [2, 2, 2, 2, 2, 0]) == category([2, 4, 0, 0], [1, 2, 0, 0]) == ""


# where drift comes from


def part(*rows: int) -> Counts:
    """The number of rows, then the counts of the bins."""
    return np.array([sum(rows), *rows])


def half(counts: Counts) -> float:
    """PSI of two bins that have half of the reference each."""
    return psi(np.array([500, 500]), counts[1:])


HEALTHY = {"DE": part(50, 50), "FR": part(40, 40)}


def test_drift_of_one_part_comes_from_it() -> None:
    parts = HEALTHY | {"BR": part(60, 0)}
    whole = sum(parts.values(), part(0, 0))
    assert half(whole) > 0.05
    assert comes_from(whole, parts, half, 0.05, minimum_sample=100) == "BR"


def test_the_smallest_part_that_explains_the_drift_is_named() -> None:
    parts = {"DE": part(50, 50), "BR": part(70, 10), "BR,web": part(60, 0), "BR,app": part(10, 10)}
    assert comes_from(part(120, 60), parts, half, 0.1, minimum_sample=50) == "BR,web"


def test_a_part_of_what_drifted_is_not_named_though_the_rest_is_below_the_threshold_without_it() -> None:
    """Most of Brazil is web, and all of Brazil has drifted: without its web the little that is left looks harmless."""
    parts = HEALTHY | {"BR": part(60, 0), "BR,web": part(36, 0), "BR,app": part(24, 0)}
    whole = part(150, 90)
    assert half(whole - parts["BR,web"]) < half(whole) / 2 < 0.1
    assert comes_from(whole, parts, half, half(whole), minimum_sample=50) == "BR"


def test_a_part_that_has_not_drifted_more_than_the_whole_is_not_named() -> None:
    """A quarter of the rows is new everywhere. What is left without half of them is so few that chi-square pools the new ones away."""

    def cramers_v(counts: Counts) -> float:
        return chi2(np.array([10_000, 6_000, 4_000, 0]), counts[1:]).cramers_v

    parts = {"US": part(222, 134, 90, 148), "DE": part(229, 137, 92, 148)}
    whole = parts["US"] + parts["DE"]
    assert cramers_v(whole) > 0.4
    assert max(map(cramers_v, parts.values())) < 0.1
    assert comes_from(whole, parts, cramers_v, 0.1, minimum_sample=200) is None


def test_drift_that_is_everywhere_comes_from_nowhere() -> None:
    parts = {"DE": part(70, 30), "FR": part(56, 24), "BR": part(42, 18)}
    assert comes_from(part(168, 72), parts, half, 0.1, minimum_sample=10) is None


def test_a_score_that_falls_only_a_little_below_the_threshold_names_nobody() -> None:
    parts = {"DE": part(70, 30), "FR": part(68, 32)}
    whole = part(138, 62)
    assert half(parts["FR"]) < (threshold := half(whole) - 0.001)
    assert comes_from(whole, parts, half, threshold, minimum_sample=10) is None


def test_what_is_left_must_be_enough_to_tell() -> None:
    parts = {"BR": part(60, 0), "DE": part(10, 10)}
    assert comes_from(part(70, 10), parts, half, 0.1, minimum_sample=20) == "BR"
    assert comes_from(part(70, 10), parts, half, 0.1, minimum_sample=21) is None
    assert comes_from(part(60, 0), {"BR": part(60, 0)}, half, 0.1, minimum_sample=0) is None
