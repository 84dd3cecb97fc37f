"""All that runs during a scenario: a broker and a Redis of its own, the proxy between, the load, the workers and the observer."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import redis

from stream.embedded import RedisServer
from stream.store import UnitId
from tests.chaos.crew import Crew
from tests.chaos.observer import Observer
from tests.chaos.production import Production
from tests.chaos.proxy import RedisProxy
from tests.services.fraud import FraudLoad, make_load
from tests.services.kafka import KafkaBroker
from tests.services.topics import wait_until
from tests.services.worker import write_config

PATIENCE_S = 120.0  # for anything that should happen; many times what it takes on an idle machine
# Small batches and frequent checkpoints: every fault finds work in every stage.
WORKER = {"batch_size": 500, "checkpoint_every": "200ms"}


@dataclass
class Stage:
    """What the faults are done to. `rng` decides whom the next one hits, and when."""

    broker: KafkaBroker
    redis: RedisServer
    proxy: RedisProxy
    load: FraudLoad
    crew: Crew
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def wait(self, what: Callable[[], bool], otherwise: str | Callable[[], str]) -> None:
        """Returns when `what` is true; fails with what `otherwise` says and the workers' last words."""
        wait_until(
            what, within_s=PATIENCE_S, otherwise=lambda: f"{otherwise if isinstance(otherwise, str) else otherwise()}\n{self.crew.logs()}"
        )

    def offsets(self) -> dict[UnitId, int]:
        """The durable offset of each unit; of those that Redis can tell, none while it is away."""
        try:
            return {unit: view.next_offset for unit, view in self.load.view().items() if view.next_offset is not None}
        except redis.RedisError:
            return {}

    def stuck(self, since: dict[UnitId, int]) -> list[UnitId]:
        """The units that have not been counted on."""
        now = self.offsets()
        return [unit for unit in self.load.partitions.units() if now.get(unit, -1) <= since.get(unit, -1)]

    def wait_until_moved(self, since: dict[UnitId, int] | None = None) -> None:
        """Returns when every unit has been counted on; from where it stands now, if `since` does not say."""
        before = self.offsets() if since is None else since
        self.wait(lambda: not self.stuck(before), lambda: f"not counted on: {', '.join(map(str, self.stuck(before)))}")

    def wait_until_all_own(self, workers: int) -> None:
        """Returns when so many workers have partitions."""
        self.wait(lambda: len(self.crew.owners()) == workers, f"not {workers} workers have partitions")


@contextmanager
def open_stage(folder: Path, *, seed: int) -> Iterator[Stage]:
    """The services, running; workers and load are still to start. Everything has ended when the context has."""
    for name in ("kafka", "redis", "load", "workers"):
        (folder / name).mkdir()
    with KafkaBroker(folder / "kafka") as broker, RedisServer(folder / "redis") as server:
        load = make_load(broker.bootstrap, server.url, f"chaos-{seed}", folder / "load", seed=seed)
        with RedisProxy(server.url) as proxy:
            config = write_config(folder / "load" / "chaos.yaml", load.config, redis={"url": proxy.url}, worker=WORKER)
            with Crew(config, folder / "workers") as crew:
                yield Stage(broker, server, proxy, load, crew)


@contextmanager
def in_background(observer: Observer, production: Production) -> Iterator[Future[None]]:
    """Both at work in threads; the future is the production's. Ends both, in whatever state they are."""
    with ThreadPoolExecutor(2) as threads:
        watching, sending = threads.submit(observer.run), threads.submit(production.run)
        try:
            yield sending
        except AssertionError as failure:
            if sending.done() and (cause := sending.exception()):
                raise cause from failure
            raise
        finally:
            observer.stop()
            production.abandon()
        watching.result()
