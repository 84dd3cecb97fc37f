"""History through the same pipeline, without a broker: state in memory, files in, files out. For back-testing thresholds.

Each input file is one partition. The two are read side by side by event time, so that pending rows stay few; the result does not depend
on it.
"""

import errno
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Final

from stream.closing import Firing
from stream.events import Messages
from stream.model import Model
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.store import Partitions, UnitId
from stream.store_memory import MemoryStore

BATCH: Final = 2_000  # lines read at once; small enough that the two files stay close in event time
_END_MS: Final = 253_370_764_800_000  # the year 9999, past every event: the end of both files closes what is open
_FILES: Final = {"results": "results.jsonl", "alerts": "alerts.jsonl", "dead_letter": "dead-letter.jsonl", "late": "late.jsonl"}


@dataclass(slots=True)
class Replayed:
    """What a replay came to: messages read, firings and alerts, and the final counters of both files."""

    predictions: Mapping[str, int]
    labels: Mapping[str, int]
    results: int = 0
    alerts: int = 0


class _Lines:
    """One input file as one partition."""

    def __init__(self, path: Path, unit: UnitId, stack: ExitStack) -> None:
        self.path, self.unit, self.offset = path, unit, 0
        opened = stack.enter_context(path.open("rb"))
        plain: Iterable[bytes] = stack.enter_context(gzip.GzipFile(fileobj=opened)) if path.suffix == ".gz" else opened
        self._lines = (line for line in plain if line.strip())

    def next_batch(self) -> Messages | None:
        try:
            values: list[bytes | None] = [line.rstrip(b"\r\n") for line in islice(self._lines, BATCH)]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise OSError(errno.EIO, f"not a whole gzip file: {error}", str(self.path)) from error
        if not values:
            return None
        offsets = range(self.offset, self.offset + len(values))
        self.offset += len(values)
        nothing = [None] * len(values)
        return Messages(self.path.name, self.unit, 1, offsets, values, [0] * len(values), list(nothing), [{}] * len(values))


def replay(
    settings: Settings,
    models: Mapping[str, Model],
    predictions: Path,
    labels: Path | None,
    out: Path,
    *,
    now_ms: int,
    observe: Callable[[Firing], None] = lambda _: None,
) -> Replayed:
    """Run the files through the pipeline and write results, alerts, dead letters and late events to the folder `out`.

    Args:
        predictions, labels: JSON lines, also gzipped, in order of arrival.
        now_ms: the wall clock, against which future times are refused.
        observe: called with every firing.
    Raises:
        OSError: a file cannot be read or written.
    """
    store = MemoryStore(settings.labels.max_delay_ms)
    pipeline = Pipeline(settings, models, store, Partitions(1, 1 if labels else 0))
    with ExitStack() as stack:
        inputs = [_Lines(predictions, UnitId("predictions", 0), stack)]
        if labels:
            inputs.append(_Lines(labels, UnitId("labels", 0), stack))
        out.mkdir(parents=True, exist_ok=True)
        topics = settings.kafka.topics
        files = {getattr(topics, name): stack.enter_context(_Atomic(out / file)) for name, file in _FILES.items()}
        units = [pipeline.assign(lines.unit, now_ms) for lines in inputs]
        done = Replayed(units[0].counters, units[-1].counters if labels else {})

        def settle() -> None:
            pipeline.checkpoint(now_ms)
            for firing in pipeline.close(now_ms)[0]:
                done.results += firing.result is not None
                done.alerts += len(firing.alerts)
                observe(firing)
            pipeline.expire()
            taken = pipeline.take_outbox()
            for _, message in (entry for messages in taken.values() for entry in messages):
                files[message.topic].write(message.value + b"\n")
            pipeline.delivered(taken)

        reading = dict(zip(inputs, units, strict=True))
        while reading:
            behind = min(reading, key=lambda lines: reading[lines].watermark.value_ms)
            batch = behind.next_batch()
            if batch is None:
                reading.pop(behind).watermark.newest_ms = _END_MS
            else:
                pipeline.process([batch], now_ms)
            settle()
    return done


class _Atomic:
    """A file that appears whole when the block ends well, and not at all when it does not."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, path.with_name(f".{path.name}.draft")

    def __enter__(self) -> IO[bytes]:
        self._file = self._draft.open("wb")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._draft, self._path)
        else:
            self._draft.unlink()
