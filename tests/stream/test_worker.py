"""The worker around the pipeline: what it shows follows what it owns."""

import orjson

from sinks.gauges import Gauges
from sinks.memory import MemorySink
from stream.kafka import Batch
from stream.model import Model
from stream.pipeline import Pipeline
from stream.store import Partitions, UnitId
from stream.store_memory import MemoryStore
from stream.worker import Worker
from tests.builders import BASE_MS, MODEL, messages, prediction, settings, small_reference


def test_gauges_of_a_model_leave_when_another_worker_takes_its_home() -> None:
    configured, home = settings({MODEL: {"classes": ["0", "1"], "labels": False}}), UnitId("predictions", 0)
    models, store = {MODEL: Model.build(configured.model(MODEL), small_reference())}, MemoryStore(configured.labels.max_delay_ms)
    gauges, partitions = Gauges(), Partitions(1, 0)
    worker = Worker(
        lambda: Pipeline(configured, models, store, partitions),
        store,
        MemorySink(),
        gauges,
        configured,
        clock=lambda: BASE_MS + 86_400_000,
    )

    def count(first: int, *seconds: float) -> None:
        values = [orjson.dumps(prediction(f"{second}", second)) for second in seconds]
        worker.process(Batch([messages(values, epoch=1, first=first)]))
        worker.tick()

    worker.assign({home: (0, 0)}, from_end=False, committed=lambda _: {})
    count(0, 10, 130)
    assert b"driftstream_window_end_seconds{" in gauges.exposition()[0]
    store.acquire(home, [MODEL])
    count(2, 190)
    assert not worker.owns_units()
    assert b"driftstream_window_end_seconds{" not in gauges.exposition()[0]
