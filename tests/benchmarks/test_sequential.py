"""The benchmark of the sequential detectors, in miniature: its baselines by arithmetic, and the published document's words."""

import numpy as np
import pytest

from benchmarks.sequential import OUT, RIVER, Plan, contenders, delay, document, errors, false_alarms, preface

SMALL = Plan(before=1_000, after=1_000, width=200, seeds=range(2))


def cells(text: str, title: str) -> list[list[str]]:
    """The cells of all rows with this title."""
    return [line.strip("| ").split(" | ")[1:] for line in text.splitlines() if line.startswith(f"| {title} |")]


def test_baselines_come_out_as_arithmetic_says() -> None:
    text = document(SMALL, ("hddm_a",))
    assert cells(text, "always fires") == [["0 (100%)"] * 6, ["10,000.0"] * 3]
    assert cells(text, "never fires") == [["never (0%)"] * 6, ["0.0"] * 3]


def test_delays_and_false_alarms_are_counted_from_the_change_on() -> None:
    runs = [[10, 99, 130], [100], [], [5]]
    assert delay(runs, 100) == "15 (50%)"
    assert false_alarms(runs, 100) == "75.0"


@pytest.mark.parametrize("kind", ["abrupt", "gradual"])
def test_errors_become_more_frequent_at_the_change_at_once_or_by_degrees(kind: str) -> None:
    values = errors("STAGGER", 0, SMALL.kinds[kind], SMALL)
    assert set(np.unique(values)) <= {0.0, 1.0}
    assert values[: SMALL.before].mean() < 0.1
    begin, settled = values[SMALL.before : SMALL.before + SMALL.width // 4].mean(), values[SMALL.before + SMALL.width :].mean()
    assert settled > 0.4
    assert (begin < 0.6 * settled) == (kind == "gradual")


def test_both_notice_a_change_that_anybody_sees() -> None:
    values = errors("STAGGER", 0, 1, SMALL)
    for title in ("`hddm_a`, driftstream", "`hddm_a`, river"):
        (first, *_) = contenders(["hddm_a"])[title](values)
        assert SMALL.before <= first < SMALL.before + 100


def test_the_published_document_is_of_this_plan_and_these_detectors() -> None:
    text = OUT.read_text(encoding="utf-8")
    assert text.startswith("\n".join(preface(Plan())))
    for title in contenders(tuple(RIVER)):
        assert len(cells(text, title)) == 2
