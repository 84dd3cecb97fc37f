"""An event that crashes whoever counts it, under a real supervisor: two workers end over it, the third puts it aside and goes on."""

import sys
import uuid
from pathlib import Path

import orjson
import pytest

from tests.services.fraud import FraudLoad, make_load
from tests.services.topics import count, produce, wait_until
from tests.services.worker import WorkerProcess

# A worker with a fault in its decoder, and the supervisor that starts it again.
WORKER = """
import sys
import stream.events
from stream.cli import main

whole = stream.events.id_hashes

def faulty(ids):
    if "poison" in ids:
        raise ZeroDivisionError("a fault in the decoder")
    return whole(ids)

stream.events.id_hashes = faulty
main(sys.argv[1:])
"""
SUPERVISOR = f"""
import sys
from stream.supervisor import supervise

sys.exit(supervise([[sys.executable, "-c", {WORKER!r}, *sys.argv[1:]]]))
"""


class FaultyWorker(WorkerProcess):
    def command(self) -> list[str]:
        return [sys.executable, "-c", SUPERVISOR, "worker", "--config", str(self._config), "--port", str(self._port)]


@pytest.fixture
def load(kafka: str, redis_url: str, tmp_path: Path) -> FraudLoad:
    return make_load(kafka, redis_url, uuid.uuid4().hex, tmp_path)


def test_event_that_ended_two_workers_goes_to_the_dead_letters_and_the_rest_is_counted(load: FraudLoad) -> None:
    event = {"prediction_id": "poison", "timestamp": load.scenario.now_ms, "model": "fraud", "prediction": "0", "features": {}}
    with FaultyWorker(load.config) as worker:
        load.send(10, rate=100)
        produce(load.kafka, load.topics["predictions"], [(b"poison", orjson.dumps(event))])
        load.send(10, rate=100)
        load.close()
        everything = count(load.kafka, load.topics["predictions"], load.topics["labels"])
        wait_until(lambda: load.consumed() >= everything, otherwise=lambda: worker.log[-3000:])
        wait_until(lambda: not any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log[-3000:])
        assert worker.end() == 0
        log = worker.log
    (letter,) = [record.json for record in load.read("dead_letter") if record.json["reason"] == "poison"]
    where = f"{letter['origin']['topic']}/{letter['origin']['partition']}@{letter['origin']['offset']}"
    assert log.count("ended with exit code 70") == 2
    assert f"while counting {where}, over which 1 worker(s) ended; if another does, it goes to the dead letters" in log
    assert f"while counting {where}, over which 2 worker(s) ended; the next worker sends it to the dead letters" in log
    balance = load.balance()
    assert balance.adds_up
    assert balance.predictions.consumed + balance.labels.consumed == everything
