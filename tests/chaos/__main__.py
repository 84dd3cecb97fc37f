"""`make chaos`: the faults of `faults.py` under load, on a real Kafka and a real Redis, judged by the oracle. Exit code 1: it went red."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tests.chaos.faults import DEFAULT, FAULTS
from tests.chaos.scenario import Plan, run


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the messages and of the faults.")
@click.option(
    "--minutes", type=click.FloatRange(min=0.5), default=10.0, show_default=True, help="Each fault is done once, however long it takes."
)
@click.option("--events", type=click.IntRange(min=10_000), default=300_000, show_default=True, help="Predictions, at least.")
@click.option("--fault", "faults", type=click.Choice(list(FAULTS)), multiple=True, default=DEFAULT, help="Only this; may be given again.")
def main(seed: int, minutes: float, events: int, faults: Sequence[str]) -> None:
    """Kill, freeze, cut off and restart everything under load, and have an oracle count again what had to come out.

    One line a fault: when, what, the seconds until every unit was counted on (from when the process was dead or frozen, or the service was
    back), and whom it hit. The order of the faults, and the point of a worker's work that each hits, follow from the seed.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # everything that was started ends, in whatever way this is asked to
    folder = Path(tempfile.mkdtemp(prefix="driftstream-chaos-"))
    passed = False
    try:
        verdict = run(Plan(seed, minutes, events, tuple(faults)), folder, click.echo)
        passed = verdict.passed
        for line in verdict.lines():
            click.echo(line)
    finally:
        if passed:
            shutil.rmtree(folder)
        else:
            click.echo(f"logs and data are in {folder}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
