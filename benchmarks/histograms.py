"""Histogram updates alone: decoded predictions into the panes of a partition, as the worker does it. Run as a process of its own.

`columns` measures from columns of Python values on, as whylogs is measured from a DataFrame on; `events` from decoded structs on.
"""

import gc
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.baselines import decoder
from benchmarks.data import settings
from benchmarks.measure import Measured, peak_rss_bytes
from benchmarks.peers.truth import messages
from stream.coding import ClassCodes, Coding
from stream.counting import Counting
from stream.events import Messages
from stream.kafka import COLLECT_EVERY
from stream.panes import PaneKey, Panes
from stream.settings import Settings
from stream.store import PaneGroup, UnitId, UnitState
from stream.unit import Unit


def measure(config: Settings, way: str) -> Measured:
    """Count all predictions; only the counting is measured, not reading and decoding. An event is a cell: one value of one feature."""
    decode, models = decoder(config)
    (model,) = models.values()
    counting = Counting(models, decode, ClassCodes(models.values(), {}), 0, config.labels.max_delay_ms)
    lateness, units, whole = config.time.out_of_orderness_ms, dict[int, Unit](), Panes()
    coding, pane = Coding([model]), whole.number(PaneKey(model.settings.name, PaneGroup("traffic", 0, "", "")), model.traffic)
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    wall_s = cpu_s = 0.0
    total = 0
    for partition, batch in messages(config, config.kafka.topics.predictions):
        n = len(batch)
        values, unknown, everything = [message.value() for message in batch], [0] * n, np.arange(n)
        if partition not in units:
            units[partition] = Unit(
                UnitId("predictions", partition), UnitState(epoch=1), models, out_of_orderness_ms=lateness, mark_every_ms=10**6
            )
        unit = units[partition]
        events, rejected = decode.predictions(Messages("", unit.id, 0, unknown, values, unknown, [None] * n), 2**53)
        assert not rejected
        columns, invalid = decode.feature_columns(model.slots, events.records, everything) if way == "columns" else ([], {})
        wall, cpu = time.perf_counter(), time.process_time()
        if way == "columns":
            codes, numbers = coding.code([events.scores, *columns], invalid)
            everyone = np.full(n, pane)
            whole.add(everyone, codes)
            whole.add_moments(everyone, numbers)
        else:
            watermark = unit.watermark.advance(events.times_ms)
            timing = counting.timing(unit, events.groups, events.times_ms, watermark, "traffic")
            counting.predictions(unit, events, timing, np.zeros(n, np.bool_), np.ones(n, np.bool_))
        wall_s, cpu_s, total = wall_s + time.perf_counter() - wall, cpu_s + time.process_time() - cpu, total + n
    summed = sum(int(aggregate.counts.sum()) for _, aggregate in whole.take_dirty()) // len(coding.slots)
    counted = summed if way == "columns" else sum(unit.counters["counted"] for unit in units.values())
    if counted != total:
        raise RuntimeError(f"counted {counted} predictions, expected {total}")
    return Measured(wall_s, cpu_s, peak_rss_bytes("self"), events=total * len(model.slots))


if __name__ == "__main__":
    path, way = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(measure(settings(Path(path)), way)))
