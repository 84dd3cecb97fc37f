"""Our scores beside those of Evidently and NannyML on the same rows, and why they differ: `python -m benchmarks.parity` writes PARITY.md.

Ours come from `driftstream reference build` and `replay`, as files of events; theirs from their public interfaces, in an environment of
their own (`make parity` makes it). Each of theirs is computed once more from the raw rows by its rules (`parity_rules`): where the two
agree, the rules are the whole difference.
"""

import csv
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from benchmarks.parity_rules import RULES
from stream.app import build_models
from stream.reference_build import build_reference
from stream.replay import replay
from stream.settings import load_settings

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = ROOT / ".venv-parity" / "bin" / "python"
OUT: Final = ROOT / "benchmarks" / "PARITY.md"
PINS: Final = ROOT / "benchmarks" / "requirements-parity.txt"
SIZES: Final = ((1_000, 500), (20_000, 5_000))  # rows of reference and current; from 10 000 on NannyML bins for KS and Wasserstein
START_MS: Final = 1_767_225_600_000  # 2026-01-01
EXPLAINED: Final = 1e-9
QUIET: Final = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}  # the peers report their use over the network otherwise
CONFIG: Final = """\
windows: [{size: 1d}]
models:
  parity:
    reference: reference.json
    classes: ["0", "1"]
    labels: false
    drift: {minimum_sample: 1, ks: {warning: off}, chi2: {warning: off}, wasserstein: {warning: off}, hellinger: {warning: off}}
"""
HEAD: Final = """\
# Our scores beside those of Evidently and NannyML

`make parity` makes this page: the same rows through driftstream (`reference build`, `replay`), Evidently {evidently} and NannyML {nannyml}.
Every score of theirs is computed once more from the raw rows by its rules as its source has them (`benchmarks/parity_rules.py`: their bins,
zeros and units, and our detectors on those; the p-values are scipy's on both sides). The two agree to rounding, so the rules are the whole
difference.

Both leave out missing values first; we count them as a bin (`gaps`, `absent`), but for `ks` and `wasserstein`. The columns: `same` normal,
no drift; `shifted` by 0.3 standard deviations; `wider` by half; `skewed` lognormal, shifted by 0.3 in its logarithm; `zeros` 60 % to 40 %
zeros, else exponential; `counts` Poisson, 3 to 3.3; `outlier` one value of 50 in the current rows; `gaps` 5 % to 15 % missing; `weekday`,
`two` shares of five and of two values; `unseen` 3 % of a new value; `rare` three values of 0.13 % each, no drift; `absent` 4 % to 12 %
missing.
"""
Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A peer's score and ours: the drift method, the field of it, and why they differ."""

    method: str
    field: str
    why: str


PAIRS: Final = {
    ("evidently", "psi"): Pair(
        "psi",
        "score",
        "equal widths over both sides together (Sturges), so a window's outlier changes all bins; values singly if the reference has 20 or "
        "fewer; an empty bin's share is 0.0001. Ours: tenths of the reference, frozen; half a row added to each bin in use",
    ),
    ("evidently", "jensenshannon"): Pair("js_distance", "score", "base e (at most 0.833), ours base 2 (at most 1); bins as for PSI"),
    ("evidently", "hellinger"): Pair("hellinger", "score", "equal widths over the distinct values of both sides (Sturges)"),
    ("evidently", "wasserstein"): Pair("wasserstein", "score", "raw rows, ours from up to 256 bins, with bounds; same unit, floor 0.001"),
    ("evidently", "ks"): Pair(
        "ks", "p_value", "raw rows, the exact law up to 10 000 rows; ours D over fine bins, which is less or equal, and the asymptotic law"
    ),
    ("evidently", "chisquare"): Pair(
        "chi2",
        "p_value",
        "the reference is taken for the truth, not for a sample, so p is far too small where it is not much larger than the window; "
        "a value it lacks gives 0. Ours: two samples, small cells pooled",
    ),
    ("nannyml", "jensen_shannon"): Pair(
        "js_distance", "score", "equal widths over the reference (Doane), what lies outside one bin more; base 2 as ours"
    ),
    ("nannyml", "hellinger"): Pair("hellinger", "score", "the same bins"),
    ("nannyml", "wasserstein"): Pair(
        "wasserstein", "raw", "raw rows, or 10 000 equal widths from 10 000 reference rows on, tails weighing a row too much"
    ),
    ("nannyml", "kolmogorov_smirnov"): Pair("ks", "score", "raw rows, or right edges of 10 000 equal widths from 10 000 reference rows on"),
    ("nannyml", "chi2"): Pair(
        "chi2", "statistic", "no pooling of small cells; Yates' correction for two values. Ours: pooled, no correction"
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: `ruled` is the peer's score by its rules on the raw rows, `theirs` what it said."""

    size: tuple[int, int]
    column: str
    pair: tuple[str, str]
    ours: float
    ruled: float
    theirs: float

    def unexplained(self) -> float:
        """The relative difference that the rules leave."""
        return abs(self.ruled - self.theirs) / max(abs(self.ruled), abs(self.theirs)) if self.ruled != self.theirs else 0.0


def columns(n: int, rng: np.random.Generator, *, drifted: bool) -> Columns:
    """Rows of each kind of drift, (n,) each: floats, NaN where missing, and texts, "" where missing."""
    normal, coin = rng.normal(size=n), rng.random(n)
    moved = 0.3 if drifted else 0.0
    days = rng.choice(["mo", "tu", "we", "th", "fr"], n, p=[0.3, 0.3, 0.2, 0.1, 0.1] if drifted else [0.2] * 5)
    return {
        "same": normal,
        "shifted": normal * 5 + 20 + 5 * moved,
        "wider": rng.normal(size=n) * (1.5 if drifted else 1.0),
        "skewed": rng.lognormal(moved, 1.0, n),
        "zeros": np.where(coin < (0.4 if drifted else 0.6), 0.0, rng.exponential(10, n)),
        "counts": rng.poisson(3 + moved, n).astype(float),
        "outlier": np.append(rng.normal(size=n - 1), 50.0 if drifted else 0.0),
        "gaps": np.where(coin < (0.15 if drifted else 0.05), np.nan, rng.normal(size=n)),
        "weekday": days,
        "two": rng.choice(["no", "yes"], n, p=[0.7, 0.3] if drifted else [0.75, 0.25]),
        "unseen": np.where(drifted & (coin < 0.03), "new", rng.choice(["a", "b", "c"], n)),
        "rare": np.where(coin < 0.004, rng.choice(["r1", "r2", "r3"], n), rng.choice(["a", "b"], n)),
        "absent": np.where(coin < (0.12 if drifted else 0.04), "", rng.choice(["a", "b", "c"], n)),
    }


def data(size: tuple[int, int]) -> tuple[Columns, Columns]:
    """Reference and current rows of a size, the same in every run."""
    rng = np.random.default_rng(sum(size))
    return columns(size[0], rng, drifted=False), columns(size[1], rng, drifted=True)


def present(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows that are not missing."""
    found: npt.NDArray[Any] = rows[~np.isnan(rows)] if rows.dtype.kind == "f" else rows[rows != ""]
    return found


def write_csv(path: Path, table: Columns) -> None:
    """A file that both we and pandas read back exactly; missing is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(
            ["" if value != value else value for value in row] for row in zip(*(c.tolist() for c in table.values()), strict=True)
        )


def ours(before: Columns, now: Columns, folder: Path) -> dict[str, Any]:
    """What a replay says of one window with all current rows: drift by column. `folder` gets the files."""
    write_csv(folder / "reference.csv", before)
    write_csv(folder / "current.csv", now)
    build_reference(folder / "reference.csv", model="parity", version="1").save(folder / "reference.json")
    (folder / "config.yaml").write_text(CONFIG, "utf-8")
    (folder / "events.jsonl").write_bytes(b"\n".join(map(orjson.dumps, events(now))))
    settings = load_settings(folder / "config.yaml", {})
    replay(settings, build_models(settings), folder / "events.jsonl", None, folder / "out", now_ms=START_MS)
    results = map(orjson.loads, (folder / "out" / "results.jsonl").read_bytes().splitlines())
    (drift,) = (result["drift"] for result in results if result["subject"] == "traffic")
    return dict(drift)


def events(table: Columns) -> Iterator[dict[str, Any]]:
    """The rows as predictions; NaN becomes null, and so does an empty text."""
    for i, row in enumerate(zip(*(column.tolist() for column in table.values()), strict=True)):
        features = {name: None if value == "" else value for name, value in zip(table, row, strict=True)}
        yield {"prediction_id": str(i), "timestamp": START_MS + i, "model": "parity", "prediction": "0", "features": features}


def theirs(reference: Path, current: Path, out: Path) -> dict[str, dict[str, dict[str, float]]]:
    """What the peers say: peer -> score -> column -> value."""
    return msgspec.json.decode(ask("parity_scores", reference, current, out), type=dict[str, dict[str, dict[str, float]]])


def ask(peer: str, reference: Path, current: Path, out: Path) -> bytes:
    """The answer of a script of `benchmarks/peers`, run in the environment of the peers."""
    command = [str(PYTHON), "-W", "ignore", "-m", f"benchmarks.peers.{peer}", str(reference), str(current), str(out)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)})
    return out.read_bytes()


def compared(before: Columns, now: Columns, drift: Mapping[str, Any]) -> dict[tuple[str, tuple[str, str]], tuple[float, float]]:
    """By column and pair: our score, and the peer's by its rules."""
    return {
        (column, key): (float(drift[column][pair.method][pair.field]), RULES[key](present(before[column]), present(now[column])))
        for key, pair in PAIRS.items()
        for column in before
        if pair.method in drift[column]
    }


def compare(size: tuple[int, int]) -> Iterator[Row]:
    """All comparisons of one size."""
    before, now = data(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drift = ours(before, now, folder)
        said = theirs(folder / "reference.csv", folder / "current.csv", folder / "theirs.json")
    for (column, (peer, score)), (own, ruled) in compared(before, now, drift).items():
        yield Row(size, column, (peer, score), own, ruled, said[peer][score][column])


def report(rows: Sequence[Row], estimates: str) -> str:
    """PARITY.md. `estimates`: its section on performance before labels come."""
    pins = dict(re.findall(r"^(evidently|nannyml)==(\S+)", PINS.read_text("utf-8"), re.MULTILINE))
    lines = [
        HEAD.format(**pins),
        "| score | of columns | equal to ours | largest relative rest under their rules | their rule |",
        "|---|---:|---:|---:|---|",
    ]
    for key, pair in PAIRS.items():
        of_pair = [row for row in rows if row.pair == key]
        equal = sum(math.isclose(row.ours, row.theirs, rel_tol=EXPLAINED) for row in of_pair)
        rest = max(row.unexplained() for row in of_pair)
        lines.append(f"| {_name(key)} | {len(of_pair)} | {equal} | {rest:.0e} | {pair.why} |")
    lines.append(estimates)
    for size in SIZES:
        lines += [
            f"\n## {size[0]:,} reference rows, {size[1]:,} current rows\n",
            "| column | their score | ours | theirs | theirs - ours |",
            "|---|---|---:|---:|---:|",
            *(
                f"| {row.column} | {_name(row.pair)} | {row.ours:.6g} | {row.theirs:.6g} | {row.theirs - row.ours:.2g} |"
                for row in rows
                if row.size == size
            ),
        ]
    return "\n".join(lines) + "\n"


def _name(key: tuple[str, str]) -> str:
    return " ".join(key)


@click.command()
def main() -> None:
    """Compare, and write PARITY.md; exit code 1 if a difference is not explained."""
    if not PYTHON.exists():
        raise click.ClickException(f"no {PYTHON.relative_to(ROOT)}: make parity makes it")
    from benchmarks import parity_estimates  # here, as it is made of parts of this

    rows = [row for size in SIZES for row in compare(size)]
    estimates = list(parity_estimates.compare())
    unexplained = [
        *(row for row in rows if not row.unexplained() <= EXPLAINED),
        *(row for row in estimates if not row.unexplained() <= EXPLAINED),
    ]
    for row in unexplained:
        click.echo(f"not explained: {row}")
    OUT.write_text(report(rows, parity_estimates.section(estimates)), "utf-8")
    click.echo(f"{len(rows) + len(estimates)} scores compared, {len(unexplained)} not explained; wrote {OUT.relative_to(ROOT)}")
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
