"""The electricity figures of the README: made again, and some months of them computed from the raw rows by scipy and scikit-learn."""

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance
from sklearn.metrics import accuracy_score

from benchmarks.electricity import DATA, MONTH_MS, PICTURE, picture, run, table
from stream.backtest import History, Outcome
from tests.oracle import milliseconds

ROOT = Path(__file__).parents[2]
NUMBERS = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
# ends of months: after Victoria joined, with prices far off, with high demand
MONTHS = ("1997-06-12T00:00:00.000Z", "1998-03-19T00:00:00.000Z", "1998-08-06T00:00:00.000Z")
JOINED_MS = milliseconds("1997-05-05T00:00:00Z")
Column = npt.NDArray[Any]


@pytest.fixture(scope="module", autouse=True)
def data() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no data: expected the folder {'/'.join(DATA.parts[-3:])} beside the repository")  # it is not ours to publish


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("electricity")


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[History, list[Outcome]]:
    return run(DATA, folder)


@pytest.fixture(scope="module")
def results(folder: Path, made: tuple[History, list[Outcome]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The results of the whole months by subject and end."""
    found = map(orjson.loads, (folder / "out" / "results.jsonl").read_bytes().splitlines())
    return {(result["subject"], result["window"]["end"]): result for result in found}


@pytest.fixture(scope="module")
def reference() -> dict[str, Column]:
    with (DATA / "reference.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def cuts(folder: Path, made: tuple[History, list[Outcome]]) -> dict[str, Column]:
    """Where the coarse bins of each number lie, as the reference file says."""
    numbers = [feature for feature in orjson.loads((folder / "nsw-price.json").read_bytes())["features"] if feature["kind"] == "numeric"]
    return {feature["name"]: np.array(feature["edges"])[np.diff(feature["groups"]) > 0] for feature in numbers}


def events(name: str) -> dict[str, dict[str, Any]]:
    """The first event of each id."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rb") as lines:
        found: dict[str, dict[str, Any]] = {}
        for event in map(orjson.loads, lines):
            found.setdefault(event["prediction_id"], event)
    return found


@pytest.fixture(scope="module")
def predictions() -> dict[str, dict[str, Any]]:
    return events("predictions")


def in_month(event: dict[str, Any], end: str) -> bool:
    return milliseconds(end) - MONTH_MS <= milliseconds(event["timestamp"]) < milliseconds(end)


@pytest.mark.parametrize("end", MONTHS)
def test_drift_of_a_month_is_what_scipy_says_of_its_rows(
    end: str, results: dict[tuple[str, str], Any], reference: dict[str, Column], predictions: dict[str, Any], cuts: dict[str, Column]
) -> None:
    found = [event for event in predictions.values() if in_month(event, end)]
    rows, drift, outputs = [event["features"] for event in found], results["traffic", end]["drift"], results["traffic", end]["outputs"]
    assert len(rows) == results["traffic", end]["counts"]["predictions"]
    for name in NUMBERS:
        before, now = reference[name].astype(float), np.array([row[name] for row in rows], float)
        low, high = drift[name]["ks"]["bounds"]
        assert low - 1e-12 <= ks_2samp(before, now).statistic <= high + 1e-12
        distance = wasserstein_distance(before, now)
        low, high = drift[name]["wasserstein"]["bounds"]
        assert low - 1e-9 <= distance / max(before.std(), 1e-6 * np.abs(before).max()) <= high + 1e-9
        assert drift[name]["psi"]["score"] == pytest.approx(psi(before, now, cuts[name]), abs=1e-9)
    low, high = outputs["score"]["ks"]["bounds"]
    scores = reference["score"].astype(float), np.array([event["score"] for event in found], float)
    assert low - 1e-12 <= ks_2samp(*scores).statistic <= high + 1e-12
    up = [np.array(side) == "UP" for side in (reference["prediction"], [event["prediction"] for event in found])]
    assert outputs["prediction"]["psi"]["score"] == pytest.approx(psi(*up, np.array([0.5])), abs=1e-9)
    days = (reference["day"], np.array([row["day"] for row in rows]))
    cells = np.array([[(side == day).sum() for day in np.unique(reference["day"])] for side in days])
    assert drift["day"]["chi2"]["statistic"] == pytest.approx(chi2_contingency(cells, correction=False).statistic, abs=1e-9)


def psi(before: Column, now: Column, cuts: Column) -> float:
    """Of the rows between the cuts, with half a row more in each bin that either side uses."""
    counts = np.array([np.bincount(np.digitize(side, cuts), minlength=cuts.size + 1) for side in (before, now)])
    used = counts[:, counts.any(axis=0)] + 0.5
    p, q = used / used.sum(axis=1, keepdims=True)
    return float(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize("end", MONTHS)
def test_accuracy_of_a_month_is_what_scikit_learn_says_of_its_labels(
    end: str, results: dict[tuple[str, str], Any], predictions: dict[str, Any]
) -> None:
    pairs = [(e["label"], predictions[id_]["prediction"]) for id_, e in events("labels").items() if id_ in predictions and in_month(e, end)]
    assert results["performance", end]["performance"]["accuracy"] == pytest.approx(accuracy_score(*zip(*pairs, strict=True)), abs=1e-12)


def test_features_of_victoria_alert_from_the_month_that_it_joined(made: tuple[History, list[Outcome]]) -> None:
    psi = {outcome.series.feature: outcome for outcome in made[1] if outcome.series.metric == "psi"}
    for name in ("vicprice", "vicdemand", "transfer"):
        (first,) = psi[name].fired
        assert first.end_ms - MONTH_MS <= JOINED_MS < first.end_ms
        assert psi[name].firing


def test_readme_has_the_table_and_the_picture(made: tuple[History, list[Outcome]]) -> None:
    assert "\n".join(table(*made)) in (ROOT / "README.md").read_text("utf-8")
    assert PICTURE.read_text("utf-8") == picture(*made)
    assert PICTURE.stat().st_size < 100_000
