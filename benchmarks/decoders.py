"""JSON to columns: the product's decoder beside Arrow's reader, on the same predictions, in batches as a worker has them.

`python -m benchmarks.decoders` prints the table. Arrow is spared what the product also does: rules, reasons, features of the wrong type.
"""

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import pyarrow as pa
import pyarrow.json

from benchmarks.baselines import decoder
from benchmarks.data import FAULTS, RATE, START_MS, configure, settings, write_reference
from stream.simulate import FraudScenario

BATCH: Final = 7_500  # of one partition, where a poll has four


def _schema(features: Sequence[tuple[str, bool]]) -> pa.Schema:
    """The fields that the product reads. `features`: their names, and whether they are numbers."""
    texts = ("prediction_id", "model", "version", "prediction")
    inner = pa.struct([(name, pa.float64() if number else pa.string()) for name, number in features])
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("timestamp", pa.int64()),
            ("score", pa.float64()),
            ("latency_ms", pa.float64()),
            ("features", inner),
        ]
    )


def _measure(read: Callable[[list[bytes]], Any], batches: Sequence[list[bytes]], repeat: int) -> float:
    """CPU microseconds an event: the median of so many passes over all batches."""
    found = []
    for _ in range(repeat):
        started = time.process_time()
        for batch in batches:
            read(batch)
        found.append((time.process_time() - started) / sum(map(len, batches)) * 1e6)
    return median(found)


@click.command()
@click.option("--predictions", type=click.IntRange(min=BATCH), default=60_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True)
def main(predictions: int, repeat: int) -> None:
    """Print what an event costs from bytes to columns, in turns on one core."""
    scenario = FraudScenario(START_MS, cycle_ms=predictions, faults=FAULTS)
    values: list[bytes] = []
    while len(values) < predictions:
        values += [message.value for message in scenario.advance(scenario.now_ms + 1_000, RATE).predictions]
    batches = [values[start : start + BATCH] for start in range(0, predictions, BATCH)]
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name:
        folder = Path(name)
        write_reference(FraudScenario(START_MS, cycle_ms=predictions, faults=FAULTS), folder)
        path = configure(folder, name="decoders", brokers="none:1", redis="redis://none", labels=True, topics=("predictions", "labels"))
        events, models = decoder(settings(path))
    (model,) = models.values()
    options = {
        "read_options": pyarrow.json.ReadOptions(use_threads=False, block_size=1 << 23),
        "parse_options": pyarrow.json.ParseOptions(
            explicit_schema=_schema([(slot.feature.name, slot.moments >= 0) for slot in model.slots]), unexpected_field_behavior="ignore"
        ),
    }
    ways: dict[str, Callable[[list[bytes]], Any]] = {
        "msgspec, and columns made of its structs (ours)": events._prediction_schema.decode,
        "pyarrow.json, one thread": lambda batch: pyarrow.json.read_json(io.BytesIO(b"\n".join(batch)), **options),
    }
    for read in ways.values():
        read(batches[0])
    found = {title: _measure(read, batches, repeat) for title, read in ways.items()}
    first = next(iter(found.values()))
    click.echo("| | us CPU / event | of the first |\n|---|---:|---:|")
    for title, us in found.items():
        click.echo(f"| {title} | {us:.2f} | {us / first:.2f} |")


if __name__ == "__main__":
    main()
