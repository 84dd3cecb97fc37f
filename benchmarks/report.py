"""One table of all runs, for the terminal and for RESULTS.md."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import versus
from benchmarks.data import PARTITIONS, RATE, Produced
from benchmarks.measure import Measured

LIBRARIES = ("confluent-kafka", "faust-streaming", "msgspec", "numpy", "redis", "hiredis", "xxhash")
TARGET = 0.5  # prediction events per CPU second of the whole worker, of those that are only consumed and decoded, with their labels

CASES = {
    "consume": "the client alone, predictions only: `Consumer.consume` in batches of 10 000",
    "decode": "the same, and the values decoded to the product's structs",
    "decode-both": "predictions and labels consumed and decoded: the same bytes as in `worker`, and nothing done with them",
    "columns": "predictions consumed, decoded, and turned into columns and feature codes",
    "worker-unlabelled": "the whole worker, for a model without labels",
    "worker": "the whole worker, every prediction joined with its label",
    "pending": "the join alone: rows of predictions stored in Redis",
}
EXPLANATION = """\
An event is a prediction; in `worker` its cost includes that of its label. CPU seconds are those of all threads of the process, user and
system: for a worker from its assignment to the checkpoint of the last offset, so without its start. Medians of the runs; the peak RSS is
the largest. What else the machine does hardly changes CPU seconds, but it does change wall times, and broker, Redis and the measured
process share its cores.

Windows are 10 s tumbling and 1 m sliding by 10 s; no segments; a checkpoint every second. "Redis B / event" is the growth of Redis'
`used_memory` per prediction: in `pending` of a row that waits for its label, in `worker` of one that has it and stays until
`labels.max_delay` is over. A worker that does not count every prediction and match every label exactly once fails the benchmark."""

Runs = Mapping[str, Sequence[Measured]]


def table(runs: Runs, produced: Produced) -> list[str]:
    """Markdown rows: medians, with the range of the events per CPU second."""
    n = produced.predictions
    per_cpu = {case: median(n / run.cpu_s for run in found) for case, found in runs.items()}
    header = ("case", "events / CPU s", "min-max", "us CPU / event", "events / wall s", "of consume", "of decode", "peak RSS MB")
    rows: list[Sequence[str]] = [(*header, "Redis us / event", "Redis B / event", "results")]
    rows.append(["---", *["---:"] * (len(rows[0]) - 1)])
    for case, found in runs.items():
        rates = [n / run.cpu_s for run in found]
        redis = any(run.redis_cpu_s for run in found)
        rows.append(
            (
                case,
                f"{per_cpu[case]:,.0f}",
                f"{min(rates):,.0f}-{max(rates):,.0f}",
                f"{1e6 / per_cpu[case]:.2f}",
                f"{median(n / run.wall_s for run in found):,.0f}",
                *(f"{per_cpu[case] / per_cpu[base]:.2f}" if base in runs else "" for base in ("consume", "decode")),
                f"{max(run.peak_rss_bytes for run in found) / 1e6:.0f}",
                f"{median(run.redis_cpu_s for run in found) / n * 1e6:.2f}" if redis else "",
                f"{median(run.redis_bytes for run in found) / n:.0f}" if redis else "",
                f"{median(run.results for run in found):.0f}" if case.startswith("worker") else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]


def of_decode(runs: Runs) -> float:
    """Events per CPU second of the whole worker over those of the loop that consumes and decodes the same bytes; medians."""
    return median(run.cpu_s for run in runs["decode-both"]) / median(run.cpu_s for run in runs["worker"])


def verdict(runs: Runs) -> str:
    """The target, and what was reached."""
    reached = of_decode(runs)
    return f"Target: `worker` at {TARGET} of `decode-both`; {'reached' if reached >= TARGET else 'MISSED'}: {reached:.2f}."


def document(runs: Runs, produced: Produced, load: tuple[float, float], peers: Mapping[str, str], beside: Mapping[str, str]) -> str:
    """RESULTS.md. `load`: the load average before and after; `peers`: the versions of theirs; `beside`: more sections, by title."""
    n, labels = produced.predictions, produced.labels
    arguments = "".join(f" {argument}" for argument in sys.argv[1:])
    theirs = ", ".join(f"{name} {found}" for name, found in sorted(peers.items())) or "none"
    sections = [
        "# Benchmark",
        "\n".join(table({case: runs[case] for case in CASES}, produced)),
        verdict(runs),
        EXPLANATION,
        "\n".join(f"- `{case}`: {what}" for case, what in CASES.items()),
        "## Against others",
        "\n".join(versus.table(runs, n)),
        versus.EXPLANATION,
        "\n".join(f"- `{name}`: {case.what}" for name, case in (versus.OURS | versus.PEERS).items()),
        *(f"## {title}\n\n{text}" for title, text in beside.items()),
        "## How it was measured",
        "\n".join(
            (
                f"- command: `python -m benchmarks{arguments}`; {len(runs['worker'])} runs of each case, interleaved",
                f"- events: {n:,} predictions of {produced.prediction_bytes / n:.0f} bytes with 8 numeric and 2 categorical features, "
                f"{labels:,} labels of {produced.label_bytes / labels:.0f} bytes; {n // RATE} s of event time",
                f"- topics: {PARTITIONS} partitions each, lz4",
                f"- commit: {_commit()}",
                f"- machine: {os.cpu_count()} cores, {_cpu_model()}; load average {load[0]:.1f} before, {load[1]:.1f} after",
                f"- Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}",
                f"- peers, in an environment of their own: {theirs}",
            )
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _commit() -> str:
    def git(*command: str) -> str:
        return subprocess.run(["git", *command], check=False, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "stream", "sinks", "detectors", ":(glob)benchmarks/**/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with local changes" if changed else "")


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.processor())
