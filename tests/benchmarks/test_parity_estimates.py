"""The parity page on estimated performance is what the code gives: ours, and NannyML's by its rules; it is asked where it is installed."""

import re
from pathlib import Path

import pytest

from benchmarks.parity import EXPLAINED, OUT, PYTHON
from benchmarks.parity_estimates import ELECTRICITY, METRICS, Scored, compare, data, ours, realised, ruled

Key = tuple[str, str]


def published() -> dict[Key, list[float]]:
    """By rows and metric: ours and theirs, six digits each, the four ends of both bands and what was realised."""
    section = OUT.read_text("utf-8").split("## Performance before labels come")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {(row[0], row[1]): [float(n) for cell in (*row[2:4], *row[5:]) for n in re.split(" to ", cell)] for row in rows[1:]}


@pytest.fixture(scope="module")
def sets() -> dict[str, tuple[Scored, Scored]]:
    return data()


def test_page_has_our_estimates_and_those_of_the_peer_follow_from_its_rules(sets: dict[str, tuple[Scored, Scored]], tmp_path: Path) -> None:
    page = published()
    assert {key for key in page if key[0] != ELECTRICITY} == {(name, metric) for name in sets for metric in METRICS if name != ELECTRICITY}
    assert {metric for name, metric in page if name == ELECTRICITY} == set(METRICS)
    for i, (name, (before, now)) in enumerate(sets.items()):
        (folder := tmp_path / str(i)).mkdir()
        own, by_rules, truth = ours(before, now, folder), ruled(before, now), realised(now)
        for metric in METRICS:
            value, theirs, low, high, _, _, said = page[name, metric]
            assert (value, low, high) == pytest.approx(own[metric], abs=6e-5), (name, metric)
            assert value == pytest.approx(own[metric][0], rel=1e-5, abs=0)
            assert theirs == pytest.approx(by_rules[metric], rel=1e-5, abs=0), (name, metric)
            assert said == pytest.approx(truth[metric], abs=6e-5)


def test_peer_says_what_its_rules_give() -> None:
    if not PYTHON.exists():
        pytest.skip("no environment of the peers: make parity makes it")
    rows = list(compare())
    assert len(rows) >= 20
    assert [row for row in rows if not row.unexplained() <= EXPLAINED] == []
