"""`driftstream demo`: the real parts on this machine, a model that goes wrong, and the proof that nothing was lost.

A mock of a Kafka cluster and a publisher in this process, a redis-server and a worker as processes of their own, and a consumer that
reads back what the worker says. Everything is started, watched and ended here; what is seen goes to `demo_board`, how it looks is
`demo_view`'s.
"""

import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import confluent_kafka
from rich.console import Console

from stream.balance import Balance, read_balance
from stream.demo_board import Board, Evidence
from stream.demo_view import View, open_view
from stream.embedded import LOOPBACK, MockBroker, RedisServer, ServerProcess, free_port
from stream.settings import Settings, load_settings
from stream.signals import Stop, stop_signals
from stream.simulate import FraudScenario, Topics, publish
from stream.store import Partitions
from stream.store_redis import RedisStore
from stream.worker import wall_clock_ms

PARTITIONS: Final = 4
RATE: Final = 1_000  # predictions a second
SEED: Final = 7
WINDOW_MS: Final = 5_000
TRAFFIC_MS: Final = 7 * WINDOW_MS  # of event time; the first window's share of it is published at once
FOREVER_CYCLE_MS: Final = 60_000
LABEL_DELAY_MS: Final = 2_000
SETTLE_S: Final = 15.0  # for the last windows to close and everything to be counted, once the traffic has ended; about 3 are needed

CONFIG: Final = """\
kafka: {{brokers: "{brokers}"}}
redis: {{url: "{redis}", namespace: demo}}
time: {{out_of_orderness: 1s, idle_after: 2s}}
labels: {{max_delay: 2m}}
windows:
  - {{size: 5s}}
  - {{size: 15s, slide: 5s}}
models:
  fraud:
    reference: fraud.json
    classes: ["0", "1"]
    positive: "1"
    drift: {{psi: {{warning: 0.1, critical: 0.25}}}}
    performance:
      accuracy: {{warning: 0.88, critical: 0.83}}
      f1: {{warning: 0.6, critical: 0.45}}
worker: {{web_port: {port}, checkpoint_every: 200ms}}
"""


class DemoError(RuntimeError):
    """A part of the demo did not do its work."""


class WorkerProcess(ServerProcess):
    """`driftstream worker` in a process of its own; ready when it owns its share of the topics."""

    def __init__(self, config: Path, port: int) -> None:
        super().__init__(config.parent)
        self._config, self._port = config, port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "stream", "worker", "--config", str(self._config)]

    def is_ready(self) -> bool:
        try:
            return self._get("/ready")[0] == http.client.OK
        except OSError:
            return False

    def metrics(self) -> str:
        """The page that Prometheus would scrape."""
        return self._get("/metrics")[1]

    def check(self) -> None:
        """Raises DemoError with the end of its log if it has ended."""
        if (code := self.exit_code()) is not None:
            log = (self.folder / "server.log").read_text(errors="replace")
            raise DemoError(f"the worker ended with exit code {code}; its log ends with:\n{log[-3000:]}")

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=1.0)  # not urllib: a proxy may be configured for it
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


class Publisher:
    """The scenario on its way to Kafka, in a thread: traffic with its labels for a while, then only the labels that are still due."""

    def __init__(self, scenario: FraudScenario, brokers: str, topics: Topics, seconds: float) -> None:
        self.scenario, self._topics, self._seconds = scenario, topics, seconds
        self._producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "linger.ms": 10, "enable.idempotence": True})
        self._quiet, self._end = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def _run(self) -> None:
        try:
            self._publish(RATE, self._seconds, self._quiet)
            self._quiet.set()
            self._publish(0, SETTLE_S * 2, self._end)
        except BaseException as error:
            self._failure = error

    def _publish(self, rate: int, seconds: float, end: threading.Event) -> None:
        publish(self.scenario, self._producer, self._topics, rate=rate, clock=wall_clock_ms, sleep=end.wait, seconds=seconds)

    def quieten(self) -> None:
        """No more predictions; labels go on."""
        self._quiet.set()

    @property
    def quiet(self) -> bool:
        return self._quiet.is_set()

    def check(self) -> None:
        """Raises what went wrong in the thread."""
        if self._failure is not None:
            raise DemoError(f"cannot publish: {self._failure}") from self._failure

    def finish(self) -> None:
        """No more labels either; returns when everything sent has reached Kafka."""
        self._quiet.set()
        self._end.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


class Reader:
    """A consumer of what the worker says."""

    def __init__(self, settings: Settings, board: Board, view: View) -> None:
        topics = settings.kafka.topics
        self._board, self._view = board, view
        self._take: dict[str, Callable[[bytes], None]] = {
            topics.results: self._result,
            topics.alerts: self._alert,
            topics.late: self._late,
            topics.dead_letter: self._dead_letter,
        }
        self._consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": settings.kafka.brokers, "group.id": "demo", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        self._consumer.subscribe(list(self._take))

    def read(self, seconds: float) -> None:
        """Take what has arrived; waits at most so long for the first of it."""
        for message in self._consumer.consume(1_000, seconds):
            if message.error() is None:
                self._take[message.topic() or ""](message.value() or b"")

    def _result(self, value: bytes) -> None:
        if (result := self._board.add_result(value)) is not None:
            self._view.window_closed(result)

    def _alert(self, value: bytes) -> None:
        if (alert := self._board.add_alert(value)) is not None:
            self._view.alert(alert)

    def _late(self, _: bytes) -> None:
        self._board.late += 1

    def _dead_letter(self, _: bytes) -> None:
        self._board.dead_letters += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def run_demo(*, forever: bool) -> int:
    """Run the demo; 0 if alerts came and every event is accounted for, 1 if not, 128 + the signal's number if it was stopped before its end."""
    console = Console(highlight=False, soft_wrap=True)
    with stop_signals() as stop:
        try:
            evidence = _perform(console, stop, forever=forever)
        except DemoError as error:
            console.print(f"demo: {error}", style="red", markup=False)
            return 1
    if evidence is None:
        console.print("demo: stopped before its end", markup=False)
        return 128 + (stop.signal or 0)
    problems = evidence.problems()
    for problem in problems:
        console.print(f"demo: {problem}", style="red", markup=False)
    console.print(evidence.summary(), style="red" if problems else "bold green", markup=False)
    return 1 if problems else 0


@dataclass(slots=True)
class _Parts:
    """What runs while the demo runs."""

    settings: Settings
    publisher: Publisher
    worker: WorkerProcess
    reader: Reader
    board: Board
    view: View

    def watch(self, seconds: float) -> None:
        """Look at everything for about so long."""
        self.reader.read(seconds)
        self.worker.check()
        self.publisher.check()
        self.view.update(self.publisher.scenario.tally)


def _perform(console: Console, stop: Stop, *, forever: bool) -> Evidence | None:
    """Start the parts, watch them until the scenario is over, and end them. None if it was stopped on the way."""
    with ExitStack() as running:
        board = Board()
        view = running.enter_context(open_view(console, board))
        view.say("starting a broker that speaks the Kafka protocol, and redis-server")
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="driftstream-demo-", ignore_cleanup_errors=True)))
        broker, server = running.enter_context(MockBroker()), running.enter_context(RedisServer())
        settings = _configure(folder, broker.bootstrap, server.url)
        for _, topic in settings.kafka.topics:
            broker.create_topic(topic, PARTITIONS)
        view.say("training the simulated fraud model and building its reference")
        now_ms = wall_clock_ms()
        FraudScenario(0, seed=SEED).reference().save(folder / "fraud.json")
        if stop.signal:
            return None
        view.say("starting the worker")
        worker = running.enter_context(WorkerProcess(folder / "driftstream.yaml", settings.worker.web_port))
        start_ms = wall_clock_ms() // WINDOW_MS * WINDOW_MS
        scenario = FraudScenario(start_ms, seed=SEED, cycle_ms=FOREVER_CYCLE_MS if forever else TRAFFIC_MS, label_delay_ms=LABEL_DELAY_MS)
        topics = settings.kafka.topics
        publisher = Publisher(
            scenario, broker.bootstrap, Topics(topics.predictions, topics.labels), float("inf") if forever else TRAFFIC_MS / 1000
        )
        reader = running.enter_context(Reader(settings, board, view))
        parts = _Parts(settings, running.enter_context(publisher), worker, reader, board, view)
        while not publisher.quiet:
            parts.watch(0.1)
            if stop.signal is not None:
                if not forever:
                    return None
                publisher.quieten()
        view.say("the traffic has ended")
        return _settle(parts, server)


def _settle(parts: _Parts, server: RedisServer) -> Evidence:
    """Wait for the last windows, then for everything that was sent to be counted."""
    store = RedisStore(server.url, parts.settings.redis.namespace, max_delay_ms=parts.settings.labels.max_delay_ms)
    deadline = time.monotonic() + SETTLE_S
    ends_ms = parts.publisher.scenario.now_ms // WINDOW_MS * WINDOW_MS
    while time.monotonic() < deadline:
        parts.watch(0.1)
        if parts.board.complete(ends_ms):
            break
    parts.publisher.finish()
    while True:
        parts.watch(0.1)
        balance = read_balance(store, Partitions(PARTITIONS, PARTITIONS))
        evidence = Evidence(parts.publisher.scenario.tally, balance, parts.board)
        if not evidence.problems() or time.monotonic() > deadline:
            return evidence


def _configure(folder: Path, brokers: str, redis: str) -> Settings:
    """The settings of the configuration that is written for the worker."""
    path = folder / "driftstream.yaml"
    path.write_text(CONFIG.format(brokers=brokers, redis=redis, port=free_port()))
    return load_settings(path, {})
