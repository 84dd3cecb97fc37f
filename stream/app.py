"""The composition root: settings in, a running worker out. Clients are built here and passed on; nothing else knows all the parts.

Faust is the shell: it hosts the agents, the timer, the web pages and the life of the services. Its own Kafka client stays off; the
agents read in-memory channels that carry one batch an item. The blocking work runs in threads, so that the pages answer while Redis or
Kafka does not.
"""

import asyncio
import ctypes
import gc
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import faust
from faust.web import Request, Response, View

from sinks.alerts import KafkaSink
from sinks.gauges import Gauges
from stream.kafka import COLLECT_EVERY, Batch, KafkaSource, check_options, client_options, find_source
from stream.model import Model
from stream.pipeline import Pipeline
from stream.reference import Reference
from stream.reference_watch import ReferenceWatch
from stream.schema import REASONS
from stream.settings import Settings
from stream.settings_events import Source
from stream.store import Partitions
from stream.store_memory import MemoryStore
from stream.store_redis import RedisStore
from stream.worker import Worker

log = logging.getLogger(__name__)

CRASH: Final = 70  # exit code after an unexpected error (EX_SOFTWARE); a supervisor starts the worker again
STOP_S: Final = 15  # what SIGTERM gives the batch in hand, the last checkpoint and the outbox
LEAVE_S: Final = 3  # what it then gives the goodbye to the group, which librdkafka holds back for minutes while a rebalance goes on

_M_ARENA_MAX: Final = -8  # of glibc's malloc.h


@dataclass(slots=True)
class _Item:
    """One batch on its way to the counting agent, and who waits for it."""

    batch: Batch
    done: Future[None]


def build_models(settings: Settings) -> dict[str, Model]:
    """All configured models with their references. Raises InvalidReferenceError."""
    models = {}
    for name in settings.models:
        values = settings.model(name)
        own = {version: Reference.load(path) for version, path in values.references.items()}
        models[name] = Model.build(values, Reference.load(values.reference) if values.reference else None, own)
    return models


def try_models(settings: Settings, models: Mapping[str, Model]) -> None:
    """Make a pipeline of these models, for nothing else than to see that it can be made. Raises FieldMappingError."""
    Pipeline(settings, models, MemoryStore(settings.labels.max_delay_ms), Partitions(1, 1))


def build_store(settings: Settings) -> RedisStore:
    """The store in the configured Redis."""
    return RedisStore(settings.redis.url.get_secret_value(), settings.redis.namespace, max_delay_ms=settings.labels.max_delay_ms)


def _mapped(settings: Settings) -> Iterator[tuple[str, Source]]:
    """Every field that is mapped by itself, and where it stands."""
    for side, section in (("predictions", settings.events.predictions), ("labels", settings.events.labels)):
        for name, source in section:
            if isinstance(source, Source):
                yield f"events.{side}.{name}", source


def reads_kafka(settings: Settings) -> str:
    """The first key that takes something from Kafka beside the JSON, or an empty string."""
    if settings.labels.clock == "arrival":
        return "labels.clock"
    return next((key for key, source in _mapped(settings) if source.kind in ("key", "header", "timestamp")), "")


def run_worker(watch: ReferenceWatch, *, port: int) -> int:
    """Run one worker until SIGTERM or SIGINT; its exit code.

    Raises InvalidOptionError, KafkaUnavailableError, WrongSourceError or redis.RedisError if it cannot start.
    """
    _share_one_heap()
    settings = watch.settings
    check_options(settings.kafka)
    labels = any(section.labels for section in settings.models.values())
    store = build_store(settings)
    store.ping()  # before Kafka is asked: what is wrong is said soon
    gauges = Gauges(dead_letter_reasons=REASONS)
    sink = KafkaSink(client_options(settings.kafka), refused=gauges.add_refused)

    def begin() -> Pipeline:
        return Pipeline(watch.settings, watch.models, store, store.begin(find_source(settings.kafka, labels=labels)))

    worker = Worker(begin, store, sink, gauges, settings, renewed=watch.changed)
    kinds = {source.kind for _, source in _mapped(settings)}
    by_arrival = settings.labels.clock == "arrival"
    source = KafkaSource(
        settings.kafka,
        worker,
        batch_size=settings.worker.batch_size,
        batch_bytes=settings.worker.batch_bytes,
        labels=labels,
        headers="header" in kinds,
        timestamps=by_arrival or "timestamp" in kinds,
    )
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    with tempfile.TemporaryDirectory(prefix="driftstream-") as folder:
        app = build_app(settings, worker, source, gauges, port=port, folder=folder)
        shell = faust.Worker(app, quiet=True, loglevel=logging.getLogger().level, override_logging=False, redirect_stdouts=False)
        shell.spinner = None  # it writes escape codes to standard output, and turns the root logger to debug
        try:
            shell.execute_from_commandline()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        finally:
            sink.close(STOP_S)
            store.close_connections()
    return 0


def _share_one_heap() -> None:
    """Have the threads share one heap, where glibc gives each its own: what one of them frees no other can use then, some 30 MB."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def build_app(settings: Settings, worker: Worker, source: KafkaSource, gauges: Gauges, *, port: int, folder: str) -> faust.App:
    """The Faust app around the parts."""
    app = faust.App(
        "driftstream",
        broker="kafka://not-used",
        store="memory://",
        datadir=folder,
        web_host=settings.worker.web_host,
        web_bind=settings.worker.web_host,
        web_port=port,
        topic_disable_leader=True,
    )
    app.boot_strategy.enable_kafka = False
    batches = app.channel(maxsize=1)
    ticks = app.channel(maxsize=1)
    deliveries = app.channel(maxsize=1)

    @app.agent(batches)
    async def count(stream: Any) -> None:
        async for item in stream:
            with _fatal("cannot count a batch"):
                await asyncio.to_thread(worker.process, item.batch)
            item.done.set_result(None)

    @app.agent(ticks)
    async def close_windows(stream: Any) -> None:
        async for _ in stream:
            with _fatal("cannot checkpoint and close windows"):
                await asyncio.to_thread(worker.tick)
            if deliveries.empty():
                await deliveries.send(value=True)

    @app.agent(deliveries)
    async def deliver(stream: Any) -> None:
        async for _ in stream:
            with _fatal("cannot deliver the outbox"):
                await asyncio.to_thread(worker.deliver)

    @app.timer(settings.worker.checkpoint_every_ms / 1000)  # type: ignore[untyped-decorator]
    async def tick() -> None:
        if ticks.empty():
            await ticks.send(value=True)

    @app.service
    class Consuming(faust.Service):
        """The consumer's thread, and the orderly end."""

        async def on_started(self) -> None:
            app.flow_control.resume()  # exactly once: it empties the channels
            loop = asyncio.get_running_loop()

            def dispatch(batch: Batch) -> Future[None]:
                item = _Item(batch, Future())
                asyncio.run_coroutine_threadsafe(batches.send(value=item), loop).result()
                return item.done

            def consume() -> None:
                with _fatal("cannot consume"):
                    source.run(dispatch)

            self._thread = threading.Thread(target=consume, name="consumer", daemon=True)
            self._thread.start()

        async def on_stop(self) -> None:
            def leave() -> None:
                with _fatal("cannot leave the group"):
                    source.close()

            source.stop()
            await asyncio.to_thread(self._thread.join, STOP_S)
            with _fatal("cannot stop in order"):
                await asyncio.to_thread(worker.tick)
                await asyncio.to_thread(worker.deliver)
            leaving = threading.Thread(target=leave, name="leaving", daemon=True)
            leaving.start()
            await asyncio.to_thread(leaving.join, LEAVE_S)
            if leaving.is_alive():
                log.warning("left without a goodbye: the group is rebalancing, and gives the units to others after the session timeout")

    _add_pages(app, worker, source, gauges)
    return app


def _add_pages(app: faust.App, worker: Worker, source: KafkaSource, gauges: Gauges) -> None:
    @app.page("/metrics")
    async def metrics(view: View, request: Request) -> Response:
        body, content_type = gauges.exposition()
        return view.bytes(body, headers={"Content-Type": content_type})

    @app.page("/health")
    async def health(view: View, request: Request) -> Response:
        return view.json({"status": "alive"})

    @app.page("/ready")
    async def ready(view: View, request: Request) -> Response:
        state = {"owns_units": worker.owns_units(), "store": worker.store_answers(), "kafka": source.connected}
        return view.json(state, status=200 if all(state.values()) else 503)


@contextmanager
def _fatal(what: str) -> Iterator[None]:
    """An unexpected error ends the process: the state in memory may be half counted, and what is durable is not."""
    try:
        yield
    except Exception:
        log.critical("%s; the worker ends here, a restart goes on from the last checkpoint", what, exc_info=True)
        _exit(CRASH)


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    logging.shutdown()
    os._exit(code)
