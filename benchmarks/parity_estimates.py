"""Our estimates of performance before labels come beside those of NannyML's CBPE on the same rows: a section of PARITY.md.

Ours come from `driftstream reference build` and `replay`, as events without labels; theirs are computed once more from the raw rows by
their rules: where the two agree, the rules are the whole difference.
"""

import csv
import gzip
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, auc, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit

from benchmarks.electricity import DATA
from benchmarks.parity import SIZES, START_MS, ask, write_csv
from stream.app import build_models
from stream.reference_build import build_reference
from stream.replay import replay
from stream.settings import load_settings

METRICS: Final = ("accuracy", "precision", "recall", "f1", "roc_auc")
SHIFT: Final = 0.7  # of the log-odds in current rows; labels follow
ELECTRICITY: Final = "electricity"
CONFIG: Final = """\
windows: [{size: 1d}]
models: {parity: {reference: reference.json, classes: ["0", "1"], positive: "1", labels: false}}
"""
HEAD: Final = """
## Performance before labels come

Accuracy, precision, recall, F1 and ROC AUC as NannyML's CBPE estimates them, all current rows one chunk, and as driftstream does from a
replay of the same rows without labels. `calibrated` scores are the probability of a positive, `distorted` ones its square; the log-odds of
the current rows have shifted by 0.7, and their labels follow. `electricity` is the data set of the README: its reference, and those
predictions that have labels; there the concept drifts as well, which no estimate can see.

Their rules, computed once more from the raw rows with scikit-learn, give their values with a largest relative rest of {rest:.0e}:

- They calibrate by isotonic regression on the raw scores, with straight lines between these, and only where that makes the calibration
  error smaller on ten random tenths of the reference; else scores stay as they are. That was so for {calibrated}.
  We always calibrate, by the same regression on up to 256 bins of the score.
- Values are then the same sums; their curve for the AUC is rounded to five digits.
- Their band is the estimate and three standard errors that a sample of so many rows of the reference would have: neither the window's own
  scores nor what the calibration learnt from few rows has a part in it. Ours is of 95 %, with both.

| rows | metric | ours | theirs | theirs - ours | our band | their band | realised |
|---|---|---:|---:|---:|---|---|---:|
"""
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Scored(NamedTuple):
    """Rows of a binary classifier, (n,) each."""

    scores: Floats
    predicted: Flags
    labels: Flags


class Estimated(NamedTuple):
    """One metric of one set of rows. `ruled` is theirs by their rules; the last two are value, lower and upper."""

    rows: str
    metric: str
    ruled: float
    realised: float
    ours: tuple[float, float, float]
    theirs: tuple[float, float, float]

    def unexplained(self) -> float:
        """The relative difference that the rules leave."""
        return abs(self.ruled - self.theirs[0]) / abs(self.ruled)


def data() -> dict[str, tuple[Scored, Scored]]:
    """Reference and current rows of each set, the same in every run; electricity where there is its folder."""
    sets = {}
    for kind in ("calibrated", "distorted"):
        for size in SIZES:
            rng = np.random.default_rng(sum(size))
            sets[f"{kind}, {size[0]:,} and {size[1]:,}"] = _simulated(rng, size[0], 0.0, kind), _simulated(rng, size[1], SHIFT, kind)
    if DATA.is_dir():
        sets[ELECTRICITY] = _electricity(DATA)
    return sets


def _simulated(rng: np.random.Generator, n: int, shift: float, kind: str) -> Scored:
    chance = expit(1.5 * rng.normal(size=n) - 0.5 + shift)
    return Scored(chance**2 if kind == "distorted" else chance, chance >= 0.5, rng.random(n) < chance)


def _electricity(folder: Path) -> tuple[Scored, Scored]:
    with (folder / "reference.csv").open(encoding="utf-8", newline="") as lines:
        before = _scored(list(csv.DictReader(lines)))
    with gzip.open(folder / "labels.jsonl.gz") as lines:
        labels = {row["prediction_id"]: row["label"] for row in map(orjson.loads, lines)}
    with gzip.open(folder / "predictions.jsonl.gz") as lines:
        rows = [row | {"label": labels[row["prediction_id"]]} for row in map(orjson.loads, lines) if row["prediction_id"] in labels]
    return before, _scored(rows)


def _scored(rows: Sequence[Mapping[str, Any]]) -> Scored:
    predicted, labels = (np.array([row[name] == "UP" for row in rows]) for name in ("prediction", "label"))
    return Scored(np.array([float(row["score"]) for row in rows]), predicted, labels)


def ours(before: Scored, now: Scored, folder: Path) -> dict[str, tuple[float, float, float]]:
    """What a replay says of one window with all current rows. `folder` gets the files, those of the peers among them."""
    for name, rows in (("reference", before), ("current", now)):
        columns = {"score": rows.scores, "prediction": rows.predicted.astype(int), "label": rows.labels.astype(int)}
        write_csv(folder / f"{name}.csv", {**columns, "x": np.zeros(rows.scores.size)})  # a reference has a feature
    build_reference(folder / "reference.csv", model="parity", version="1").save(folder / "reference.json")
    (folder / "config.yaml").write_text(CONFIG, "utf-8")
    (folder / "events.jsonl").write_bytes(b"\n".join(map(orjson.dumps, _events(now))))
    settings = load_settings(folder / "config.yaml", {})
    replay(settings, build_models(settings), folder / "events.jsonl", None, folder / "out", now_ms=START_MS)
    (result,) = map(orjson.loads, (folder / "out" / "results.jsonl").read_bytes().splitlines())
    found = result["estimated"]
    return {name: (found[name]["value"], found[name]["lower"], found[name]["upper"]) for name in METRICS}


def _events(rows: Scored) -> Iterator[dict[str, Any]]:
    for i, (score, said) in enumerate(zip(rows.scores.tolist(), rows.predicted.tolist(), strict=True)):
        yield {"prediction_id": str(i), "timestamp": START_MS + i, "model": "parity", "prediction": str(int(said)), "score": score}


def ruled(before: Scored, now: Scored) -> dict[str, float]:
    """NannyML's estimates by its rules, from the raw rows."""
    p = _isotonic(before.scores, before.labels, now.scores) if needs_calibration(before) else now.scores
    tp, fp = p[now.predicted].sum(), (1 - p)[now.predicted].sum()
    fn, tn = p[~now.predicted].sum(), (1 - p)[~now.predicted].sum()
    hits = np.cumsum(p[np.argsort(now.scores)[::-1]])
    false = np.arange(1, p.size + 1) - hits
    curve = [np.append(0, np.round(side, 5)) for side in (false, hits)]
    values = ((tp + tn) / p.size, tp / (tp + fp), tp / (tp + fn), tp / (tp + (fp + fn) / 2), auc(*(side / side[-1] for side in curve)))
    return dict(zip(METRICS, map(float, values), strict=True))


def needs_calibration(rows: Scored) -> bool:
    """Whether their calibration makes the calibration error smaller, on the last tenths of ten shuffles together."""
    if roc_auc_score(rows.labels, rows.scores) > 0.999:
        return False
    tested: list[Floats] = []
    for train, test in StratifiedShuffleSplit(n_splits=10, test_size=0.1, random_state=42).split(rows.scores, rows.labels):
        scores = rows.scores[test]
        tested.append(np.stack((rows.labels[test], scores, _isotonic(rows.scores[train], rows.labels[train], scores))))
    labels, plain, calibrated = np.concatenate(tested, axis=1)
    return _calibration_error(labels, plain) > _calibration_error(labels, calibrated)


def _isotonic(scores: Floats, labels: Flags, now: Floats) -> Floats:
    found: Floats = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(now)
    return found


def _calibration_error(labels: Floats, p: Floats) -> float:
    """Over ten groups of as many rows in the order of p; the last one has what is left."""
    order = np.argsort(p)
    ends = [*np.arange(1, 10) * (p.size // 10), p.size]
    groups = np.split(order, ends[:-1])
    return float(sum(group.size * abs(p[group].mean() - labels[group].mean()) for group in groups) / p.size)


def realised(rows: Scored) -> dict[str, float]:
    """What the labels say, by scikit-learn."""
    of = {"accuracy": accuracy_score, "precision": precision_score, "recall": recall_score, "f1": f1_score}
    found = {name: float(metric(rows.labels, rows.predicted)) for name, metric in of.items()}
    return found | {"roc_auc": float(roc_auc_score(rows.labels, rows.scores))}


def compare() -> Iterator[Estimated]:
    """All comparisons."""
    for name, (before, now) in data().items():
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            own = ours(before, now, folder)
            said = ask("parity_estimates", folder / "reference.csv", folder / "current.csv", folder / "theirs.json")
        theirs = msgspec.json.decode(said, type=dict[str, tuple[float, float, float]])
        by_rules, truth = ruled(before, now), realised(now)
        for metric in METRICS:
            yield Estimated(name, metric, by_rules[metric], truth[metric], own[metric], theirs[metric])


def section(found: Sequence[Estimated]) -> str:
    """The section of PARITY.md."""
    calibrated = "; ".join(f"`{name}`" for name, (before, _) in data().items() if needs_calibration(before)) or "none"
    head = HEAD.format(rest=max(row.unexplained() for row in found), calibrated=calibrated)
    return head + "\n".join(
        f"| {row.rows} | {row.metric} | {row.ours[0]:.6g} | {row.theirs[0]:.6g} | {row.theirs[0] - row.ours[0]:.2g} "
        f"| {_band(row.ours)} | {_band(row.theirs)} | {row.realised:.4f} |"
        for row in found
    )


def _band(measured: tuple[float, float, float]) -> str:
    return f"{measured[1]:.4f} to {measured[2]:.4f}"
