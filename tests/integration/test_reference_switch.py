"""A running worker takes a changed reference without a restart, and refuses one that it cannot use."""

import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.reference import Reference
from stream.results import timestamp
from tests.builders import MODEL, at, numeric, prediction, reference
from tests.services.topics import create_topics, produce, read, wait_until
from tests.services.worker import WorkerProcess, write_config

FIRST = reference(numeric("amount", [0.0, 10.0], [0, 90, 10], [0, 0, 1]))
SECOND = reference(numeric("amount", [0.0, 5.0, 50.0], [0, 20, 70, 10], [0, 1, 2, 3]))


class Switching:
    """A worker of one model, its reference in a file, and what it has said."""

    def __init__(self, kafka: str, redis_url: str, folder: Path) -> None:
        name = uuid.uuid4().hex
        self._kafka, self._sent, self.file, self.config = kafka, 0, folder / "fraud.json", folder / "driftstream.yaml"
        self._topics = create_topics(kafka, lambda topic: f"{topic}-{name}", predictions=1, labels=1)
        self.place(FIRST)
        write_config(
            self.config,
            kafka={"brokers": kafka, "group": f"switch-{name}", "topics": self._topics},
            redis={"url": redis_url, "namespace": f"switch-{name}"},
            time={"idle_after": "1h", "when_idle": "hold"},
            windows=[{"size": "1m"}],
            models={MODEL: {"classes": ["0", "1"], "labels": False, "reference": "fraud.json"}},
            worker={"checkpoint_every": "100ms", "references_every": "100ms"},
        )

    def place(self, made: Reference | str) -> None:
        if isinstance(made, str):
            self.file.write_text(made)
        else:
            made.save(self.file)

    def see(self, minute: int, n: int) -> dict[str, Any]:
        """The result of a minute with n predictions, once the event that ends it has come."""
        times = [*(60 * minute + i * 0.1 for i in range(n)), 60 * minute + 65]
        events = [prediction(self._sent + i, s, features={"amount": float(i % 60)}) for i, s in enumerate(times)]
        self._sent += len(events)
        produce(self._kafka, self._topics["predictions"], [(None, orjson.dumps(event)) for event in events])
        start = at(60 * minute) // 60_000 * 60_000
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            results = [record.json for record in read(self._kafka, self._topics["results"])]
            found[:] = [result for result in results if result["window"]["start"] == timestamp(start)]
            return bool(found)

        wait_until(is_there, within_s=20)
        (result,) = found
        return result


@pytest.fixture
def switching(kafka: str, redis_url: str, tmp_path: Path) -> Switching:
    return Switching(kafka, redis_url, tmp_path)


def test_a_changed_reference_is_taken_without_a_restart_and_a_broken_one_is_not(switching: Switching) -> None:
    with WorkerProcess(switching.config) as worker:
        assert switching.see(0, 50)["reference_id"] == FIRST.reference_id

        switching.place("{")
        wait_until(lambda: "cannot take the changed references" in worker.log, otherwise=lambda: worker.log[-2000:])
        assert switching.see(2, 50)["reference_id"] == FIRST.reference_id

        switching.place(SECOND)
        wait_until(lambda: "goes on with the new references" in worker.log, otherwise=lambda: worker.log[-2000:])
        result = switching.see(4, 120)
        assert worker.end() == 0
        log = worker.log
    assert (result["reference_id"], result["counts"]["predictions"]) == (SECOND.reference_id, 120)
    shares = {top["label"]: top["current"] for top in result["drift"]["amount"]["top_bins"]}
    assert shares[">= 50"] == pytest.approx(20 / 120)  # 50 to 59, twice
    assert f"fraud, version (all): the reference is {SECOND.reference_id} from now on, not {FIRST.reference_id}" in log
    assert log.count("cannot take the changed references") == 1
    assert log.count("goes on with the new references") == 1
