"""How often p-values alarm without drift, nominal against measured, beside fixed thresholds; and what the same tests find.

`python -m benchmarks.false_alarms` simulates all of it with the product's own bins, tests and adjustment, and writes FALSE_ALARMS.md;
`--quick` simulates a part and prints it. A seed gives the same figures on every machine with these library versions.
"""

from pathlib import Path

import click

from benchmarks.alarms_report import rate_tables, summary, whole
from benchmarks.rates import quick as few


@click.command()
@click.option("--quick", is_flag=True, help="A few sizes with 10 bins, printed and not written; some seconds.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--pairs", type=click.IntRange(min=100), default=10_000, show_default=True, help="Windows for each figure.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True)
def main(quick: bool, seed: int, pairs: int, processes: int) -> None:
    """Measure the rate of false alarms, and the power at the same rate."""
    if quick:
        measured = few(seed)
        click.echo("\n".join([*summary(measured), "", *rate_tables(measured)]))
        return
    command = f"python -m benchmarks.false_alarms --seed {seed} --pairs {pairs}"
    (Path(__file__).parent / "FALSE_ALARMS.md").write_text(whole(command, seed, pairs, processes), encoding="utf-8")


if __name__ == "__main__":
    main()
