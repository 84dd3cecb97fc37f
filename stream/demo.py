"""`driftstream demo`: the real parts on this machine, a model that goes wrong, and the proof that nothing was lost.

A mock of a Kafka cluster and a publisher in this process, a redis-server and a worker as processes of their own, and a consumer that
reads back what the worker says. Everything is started, watched and ended here. What was seen stands in `demo_board`; how it looks is
up to `demo_view`.
"""

import http.client
import math
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

import confluent_kafka
from msgspec import json
from rich.console import Console
from rich.text import Text

from stream.balance import read_balance
from stream.demo_board import Board, Evidence, Exported
from stream.demo_view import Run, Status, View, open_view
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
STEP_MS: Final = 5_000  # a window ends so often
WINDOWS: Final = (4, 6)  # of traffic, from the one that is open at the start on; fewer if the machine is so busy that starting took long
TRAFFIC_UNTIL_S: Final = 43.0  # after the start; what comes then takes about 5 s, and the whole should end within a minute
FOREVER_CYCLE_MS: Final = 60_000  # from steady traffic to steady traffic
LABEL_DELAY_MS: Final = 2_000
SETTLE_S: Final = 15.0  # for the last windows to close and the last events to be counted; on an idle machine 3 are enough
SCRAPE_EVERY_S: Final = 0.5
RATE_OVER_S: Final = 3.0  # events/s are averaged so long

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


def run_demo(*, forever: bool) -> int:
    """Run the demo and print its summary.

    Returns:
        0 if alerts came and every event is accounted for, else 1; 128 + the signal's number if it was stopped before its end. With
        `forever` the end is when it is stopped by SIGINT.
    """
    started_s = time.monotonic()
    console, board = Console(highlight=False), Board()
    try:
        with stop_signals() as stop, open_view(console, board) as view:
            evidence = _perform(stop, board, view, None if forever else started_s)
    except DemoError as error:
        console.print(Text(f"demo: {error}", "red"), soft_wrap=True)
        return 1
    if evidence is None:
        console.print(Text("demo: stopped before its end"))
        return 128 + (stop.signal or 0)
    return report(console, view, evidence)


def report(console: Console, view: View, evidence: Evidence) -> int:
    """Print what the demo came to; its exit code."""
    if (recap := view.recap()) is not None:
        console.print(recap, soft_wrap=True)
    if (alert := evidence.board.example()) is not None:
        console.print(Text("\none of these alerts, as it stands on the alert topic:"))
        console.print(Text(json.format(json.encode(alert), indent=2).decode(), "dim"), soft_wrap=True)
    console.print()
    sent, balance = evidence.sent, evidence.balance
    for topic, count, sheet in (("predictions", sent.predictions, balance.predictions), ("labels", sent.labels, balance.labels)):
        console.print(Text(f"{topic}: {count.messages} published, {sheet}"), soft_wrap=True)
    problems = evidence.problems()
    for problem in problems:
        console.print(Text(f"demo: {problem}", "red"), soft_wrap=True)
    console.print(Text(evidence.summary(), "bold red" if problems else "bold green"), soft_wrap=True)
    return 1 if problems else 0


def traffic_ms(elapsed_s: float) -> int:
    """For how long there is time to publish, if it took so long to get ready.

    >>> traffic_ms(4.0), traffic_ms(20.0), traffic_ms(60.0)
    (30000, 20000, 20000)
    """
    fewest, most = WINDOWS
    return min(max(int(TRAFFIC_UNTIL_S - elapsed_s) * 1000 // STEP_MS, fewest), most) * STEP_MS


def _perform(stop: Stop, board: Board, view: View, started_s: float | None) -> Evidence | None:
    """Start the parts, watch them until the scenario is over, and end them. None if it was stopped on the way.

    The scenario goes on until it is stopped if `started_s` is None.
    """
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="driftstream-demo-", ignore_cleanup_errors=True)))
        view.say("Starting a broker that speaks the Kafka protocol, and redis-server ...")
        broker, redis = running.enter_context(MockBroker()), RedisServer(_subfolder(folder, "redis"))
        _start(redis, running)
        settings = _configure(folder, broker.bootstrap, redis.url)
        for _, topic in settings.kafka.topics:
            broker.create_topic(topic, PARTITIONS)
        view.say("Training a fraud model, and building the reference from its training data ...")
        FraudScenario(0, seed=SEED).reference().save(folder / "fraud.json")
        view.say("Starting a worker ...")
        worker = WorkerProcess(_subfolder(folder, "worker"), folder / "driftstream.yaml", settings.worker.web_port)
        _start(worker, running)
        # The scenario begins with the window that is open now, so that the first window is as full as the others.
        start_ms = wall_clock_ms() // STEP_MS * STEP_MS
        length_ms = None if started_s is None else traffic_ms(time.monotonic() - started_s)
        cycle_ms = length_ms or FOREVER_CYCLE_MS
        scenario = FraudScenario(start_ms, seed=SEED, cycle_ms=cycle_ms, label_delay_ms=LABEL_DELAY_MS)
        reader = running.enter_context(Reader(settings, board, view))
        publisher = running.enter_context(Publisher(scenario, settings, length_ms))
        addresses = (f"Kafka {broker.bootstrap}", redis.url, f"{worker.url}/metrics")
        view.begin(Run(start_ms, length_ms, STEP_MS, lambda time_ms: scenario.phase_at(time_ms).name, addresses))
        watch = Watch(publisher, worker, reader, view)
        while not publisher.quiet:
            watch.look()
            if stop.signal is not None:
                if length_ms is not None or stop.signal != signal.SIGINT:
                    view.say("Stopping ...")
                    return None
                publisher.quieten()
        view.say("The traffic has ended; the last windows close.")
        return _settle(watch, board, redis.url, settings)


def _start(server: ServerProcess, running: ExitStack) -> None:
    try:
        running.enter_context(server)
    except RuntimeError as error:  # it carries the end of the server's log
        raise DemoError(str(error)) from error


def _subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _configure(folder: Path, brokers: str, redis: str) -> Settings:
    """Write the configuration; its settings."""
    path = folder / "driftstream.yaml"
    path.write_text(CONFIG.format(brokers=brokers, redis=redis, port=free_port()), encoding="utf-8")
    return load_settings(path, {})


def _settle(watch: "Watch", board: Board, redis: str, settings: Settings) -> Evidence:
    """Wait for the last windows to close and for everything that was sent to be counted; what there is then."""
    deadline_s = time.monotonic() + SETTLE_S
    last_ms = watch.publisher.scenario.now_ms // STEP_MS * STEP_MS
    while not board.complete(last_ms) and time.monotonic() < deadline_s:
        watch.look()
    watch.publisher.finish()
    store = RedisStore(redis, settings.redis.namespace, max_delay_ms=settings.labels.max_delay_ms)
    try:
        while True:
            watch.look()
            balance = read_balance(store, Partitions(PARTITIONS, PARTITIONS))
            evidence = Evidence(watch.publisher.scenario.tally, balance, watch.exported, board)
            if not evidence.discrepancies() or time.monotonic() > deadline_s:
                break
    finally:
        store.close_connections()
    watch.view.say("Stopping ...")
    if (code := watch.worker.stop()) != 0:
        raise DemoError(f"the worker did not stop in order: exit code {code}; its log ends with:\n{watch.worker.log()}")
    return evidence


class Watch:
    """A look at everything that runs, again and again."""

    def __init__(self, publisher: "Publisher", worker: "WorkerProcess", reader: "Reader", view: View) -> None:
        self.publisher, self.worker, self.view = publisher, worker, view
        self._reader = reader
        self._scrapes: deque[tuple[float, Exported]] = deque([(time.monotonic(), Exported())])

    def look(self) -> None:
        """Read what has arrived and show it; takes about a tenth of a second. Raises DemoError if a part has failed."""
        self._reader.read(0.1)
        self.worker.check()
        self.publisher.check()
        if time.monotonic() - self._scrapes[-1][0] >= SCRAPE_EVERY_S:
            with suppress(OSError):  # a worker that is busy answers the next time
                self._scrapes.append((time.monotonic(), Exported.parse(self.worker.metrics())))
        while self._scrapes[-1][0] - self._scrapes[0][0] > RATE_OVER_S:
            self._scrapes.popleft()
        self.view.update(Status(wall_clock_ms(), self.exported, self._events_per_s()))

    @property
    def exported(self) -> Exported:
        """What /metrics said a moment ago."""
        return self._scrapes[-1][1]

    def _events_per_s(self) -> float:
        (before_s, before), (now_s, now) = self._scrapes[0], self._scrapes[-1]
        return (now.consumed - before.consumed) / max(now_s - before_s, SCRAPE_EVERY_S)


class WorkerProcess(ServerProcess):
    """`driftstream worker` in a process of its own; ready when it owns its share of the topics."""

    def __init__(self, folder: Path, config: Path, port: int) -> None:
        super().__init__(folder)
        self._config, self._port = config, port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "stream", "worker", "--config", str(self._config)]

    def is_ready(self) -> bool:
        with suppress(OSError):
            return self._get("/ready")[0] == http.client.OK
        return False

    def metrics(self) -> str:
        """The page that Prometheus would scrape."""
        return self._get("/metrics")[1]

    def log(self) -> str:
        """The end of its log."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def check(self) -> None:
        """Raises DemoError if it has ended."""
        if (code := self.exit_code()) is not None:
            raise DemoError(f"the worker ended with exit code {code}; its log ends with:\n{self.log()}")

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=1.0)  # not urllib, which may have been given a proxy
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"cannot read {path}: {error!r}") from error
        finally:
            connection.close()


class Publisher:
    """The scenario on its way to Kafka, in a thread: traffic with its labels, then only the labels that are still due."""

    def __init__(self, scenario: FraudScenario, settings: Settings, traffic_ms: int | None) -> None:
        self.scenario, self._seconds = scenario, math.inf if traffic_ms is None else traffic_ms / 1000
        self._topics = Topics(settings.kafka.topics.predictions, settings.kafka.topics.labels)
        self._producer = confluent_kafka.Producer(_client(settings) | {"linger.ms": 10, "enable.idempotence": True})
        self._quiet, self._end = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def _run(self) -> None:
        try:
            self._publish(RATE, self._seconds, self._quiet)
            self._quiet.set()
            self._publish(0, math.inf, self._end)
        except Exception as error:
            self._failure = error

    def _publish(self, rate: int, seconds: float, end: threading.Event) -> None:
        publish(self.scenario, self._producer, self._topics, rate=rate, clock=wall_clock_ms, sleep=end.wait, seconds=seconds)

    @property
    def quiet(self) -> bool:
        """Whether the traffic has ended."""
        return self._quiet.is_set()

    def quieten(self) -> None:
        """End the traffic."""
        self._quiet.set()

    def finish(self) -> None:
        """End the labels, too; returns when everything sent has reached Kafka. Raises DemoError if it did not."""
        self._quiet.set()
        self._end.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Raises DemoError if publishing has failed."""
        if self._failure is not None:
            raise DemoError(str(self._failure)) from self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._quiet.set()
        self._end.set()
        self._thread.join()
        self._producer.close()


class Reader:
    """A consumer of everything that the worker says."""

    def __init__(self, settings: Settings, board: Board, view: View) -> None:
        topics = settings.kafka.topics
        self._board, self._view = board, view
        self._take: dict[str | None, Callable[[bytes], None]] = {
            topics.results: self._result,
            topics.alerts: self._alert,
            topics.late: board.add_late,
            topics.dead_letter: self._dead_letter,
        }
        self._consumer = confluent_kafka.Consumer(
            _client(settings) | {"group.id": "demo", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        self._consumer.subscribe([topics.results, topics.alerts, topics.late, topics.dead_letter])

    def read(self, seconds: float) -> None:
        """Take what arrives in so many seconds."""
        messages = [message for message in self._consumer.consume(1_000, seconds) if message.error() is None]
        order = list(self._take)  # a window first, then its alerts
        for message in sorted(messages, key=lambda message: order.index(message.topic())):
            self._take[message.topic()](message.value() or b"")

    def _result(self, value: bytes) -> None:
        if (result := self._board.add_result(value)) is not None:
            self._view.window_closed(result)

    def _alert(self, value: bytes) -> None:
        if (alert := self._board.add_alert(value)) is not None:
            self._view.alert(alert)

    def _dead_letter(self, _: bytes) -> None:
        self._board.dead_letters += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _client(settings: Settings) -> dict[str, str | int | bool]:
    # log_level 2: what librdkafka says at the end, when its broker goes first, would stand in the middle of the screen
    return {"bootstrap.servers": settings.kafka.brokers, "log_level": 2}
