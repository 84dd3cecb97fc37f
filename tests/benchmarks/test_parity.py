"""The parity page is what the code gives: our scores, and the peers' by their rules; the peers are asked where they are installed."""

import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from benchmarks.parity import EXPLAINED, OUT, PAIRS, PINS, PYTHON, ROOT, SIZES, Columns, compare, compared, data, ours, present

Drifts = dict[tuple[int, int], tuple[Columns, Columns, dict[str, Any]]]


@pytest.fixture(scope="module")
def drifts(tmp_path_factory: pytest.TempPathFactory) -> Drifts:
    """By size: the rows of both sides, and what a replay says of them."""
    return {size: (*data(size), ours(*data(size), tmp_path_factory.mktemp("parity"))) for size in SIZES}


def published() -> dict[tuple[tuple[int, int], str, tuple[str, ...]], tuple[float, float]]:
    """(size, column, pair) -> ours and theirs, as PARITY.md has them, six digits each."""
    found = {}
    size = (0, 0)
    for line in OUT.read_text("utf-8").splitlines():
        if heading := re.match(r"## ([\d,]+) reference rows, ([\d,]+) current rows", line):
            size = (int(heading[1].replace(",", "")), int(heading[2].replace(",", "")))
        elif size != (0, 0) and line.startswith("| ") and not line.startswith("| column"):
            column, pair, own, their, _ = (cell.strip() for cell in line.strip("|").split("|"))
            found[size, column, tuple(pair.split())] = (float(own), float(their))
    return found


def test_page_has_our_scores_and_the_peers_scores_follow_from_their_rules(drifts: Drifts) -> None:
    page = published()
    found = {(size, *key): scores for size, drift in drifts.items() for key, scores in compared(*drift).items()}
    assert page.keys() == found.keys()
    for key, (own, ruled) in found.items():
        assert page[key] == (pytest.approx(own, rel=1e-5, abs=0), pytest.approx(ruled, rel=1e-5, abs=0)), key
    assert {pair for _, _, pair in page} == PAIRS.keys()


def test_scores_of_the_raw_rows_lie_within_the_bounds_that_ours_come_with(drifts: Drifts) -> None:
    for before, now, drift in drifts.values():
        for column in ("same", "shifted", "wider", "skewed", "zeros", "counts", "outlier", "gaps"):
            rows = present(before[column]), present(now[column])
            low, high = drift[column]["wasserstein"]["bounds"]
            assert low - EXPLAINED <= wasserstein_distance(*rows) / rows[0].std() <= high + EXPLAINED
            low, high = drift[column]["ks"]["bounds"]
            assert low - EXPLAINED <= ks_2samp(*rows).statistic <= high + EXPLAINED


def test_peers_say_what_their_rules_give() -> None:
    if not PYTHON.exists():
        pytest.skip("no environment of the peers: make parity makes it")
    rows = list(compare(SIZES[0]))
    assert len(rows) > 100
    assert [row for row in rows if not row.unexplained() <= EXPLAINED] == []


def test_pins_have_hashes_and_name_no_index() -> None:
    pins = PINS.read_text("utf-8")
    assert "://" not in pins
    assert "index-url" not in pins
    assert {"evidently", "nannyml"} <= set(re.findall(r"^([a-z][^\s=\[]*)\S*==", pins, re.MULTILINE))
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", pins.strip()))


def test_peers_are_no_dependency_of_ours() -> None:
    files = list(Path(ROOT / "requirements").glob("*.txt"))
    assert files
    for file in files:
        assert not re.search(r"^(evidently|nannyml)==", file.read_text("utf-8"), re.MULTILINE)
