"""A real Kafka broker for tests, fault injection and benchmarks: one that is offered, one in Docker, or one of Apache's own jars."""

import gc
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.embedded import LOOPBACK, ServerProcess, free_port
from tests.services.missing import MissingService

JARS = Path(__file__).with_name("apache-kafka")
CACHE = Path(__file__).parents[2] / ".cache"
OLDEST_JAVA = 17  # what Kafka 4 brokers run on

# What a single broker needs to work at all, and what makes tests quick or repeatable.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.retention.ms": "-1",  # counted in message time: events of a replayed past would be deleted while the test runs
}


@contextmanager
def kafka_broker() -> Iterator[str]:
    """The address of a real broker, which ends with the context unless DRIFTSTREAM_TEST_KAFKA names one.

    Raises:
        MissingService: there is no such variable, no Docker, and no Java with Maven.
    """
    if address := os.environ.get("DRIFTSTREAM_TEST_KAFKA"):
        yield address
    elif _docker_answers():
        with _docker_broker() as address:
            yield address
    else:
        with KafkaBroker() as broker:
            yield broker.bootstrap


def create_topic(bootstrap: str, name: str, partitions: int) -> None:
    """Creates a topic of one replica; returns when a client that asks the broker sees all partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    deadline = time.monotonic() + 30
    while len(admin.list_topics(name, timeout=10).topics[name].partitions) < partitions:
        assert time.monotonic() < deadline, f"the broker created {name} and did not show it within 30 s"
        time.sleep(0.01)


class KafkaBroker(ServerProcess):
    """Apache Kafka from its own jars: one KRaft node, broker and controller in one JVM, on the same port and data whenever it starts.

    Args:
        folder: see ServerProcess.
        java_options: the heap, and by default the quick compiler only: it halves the time to start and costs throughput,
            so a benchmark passes options of its own.

    Raises:
        MissingService: no Java or no Maven, or Maven cannot fetch the jars.
    """

    def __init__(self, folder: Path | None = None, java_options: Sequence[str] = ("-Xmx512m", "-XX:TieredStopAtLevel=1")) -> None:
        self._java = ["java", *java_options, f"-Dlog4j2.configurationFile={JARS / 'log4j2.properties'}", "-cp", _classpath()]
        super().__init__(folder)
        self._port, self._controller_port = free_port(), free_port()
        self._configuration = self.folder / "server.properties"

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    def create_topic(self, name: str, partitions: int) -> None:
        create_topic(self.bootstrap, name, partitions)

    def topics(self) -> set[str]:
        """The topics that there are."""
        return set(AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=10).topics)

    def command(self) -> list[str]:
        return [*self._java, "kafka.Kafka", str(self._configuration)]

    def start(self) -> None:
        if not self._configuration.exists():
            self._format()
        super().start()

    def is_ready(self) -> bool:
        with suppress(OSError, KafkaException):
            socket.create_connection((LOOPBACK, self._port), timeout=1).close()  # spares librdkafka's wait after a refused connection
            admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return bool(admin.list_topics(timeout=1).brokers)  # a broker lists itself once the controller has let it in
        return False

    def _format(self) -> None:
        address, controller = self.bootstrap, f"{LOOPBACK}:{self._controller_port}"
        settings = SETTINGS | {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}",
            "log.dirs": str(self.folder / "data"),
            # After kill -9 the controller refuses the new broker until the session of the old one has expired: 3 s instead of 9 s.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }
        self._configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        cluster = "ZHJpZnRzdHJlYW0tdGVzdA"  # any 16 bytes in base64
        subprocess.run(
            [*self._java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", self._configuration],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


def _classpath() -> str:
    """The jars of pom.xml, fetched by Maven the first time and remembered for as long as they and the file stay."""
    _require_java_and_maven()
    pom = JARS / "pom.xml"
    remembered = CACHE / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}.classpath"
    if not remembered.exists() or not all(Path(jar).exists() for jar in remembered.read_text().split(os.pathsep)):
        CACHE.mkdir(exist_ok=True)
        maven = subprocess.run(
            ["mvn", "-B", "-q", "-U", "-f", pom, "dependency:build-classpath", f"-Dmdep.outputFile={remembered}"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if maven.returncode:
            raise MissingService(f"Maven cannot fetch the jars of Apache Kafka: {maven.stdout[:2000]}")
    return remembered.read_text()


def _require_java_and_maven() -> None:
    with suppress(OSError):
        banner = subprocess.run(["java", "-version"], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
        version = re.search(r'version "(\d+)', banner)
        if version and int(version[1]) >= OLDEST_JAVA and shutil.which("mvn"):
            return
    raise MissingService(
        f"cannot run Apache Kafka: needs Java {OLDEST_JAVA} or newer and Maven (mvn) on PATH; "
        "a test that does not restart its broker also takes DRIFTSTREAM_TEST_KAFKA=<address> or Docker"
    )


def _docker_answers() -> bool:
    import docker.errors
    from testcontainers.core.docker_client import DockerClient

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            answers = bool(DockerClient().client.ping())
        except docker.errors.DockerException:
            answers = False
        gc.collect()  # docker leaves its socket open when nobody answers, and only the collector finds it
    return answers


@contextmanager
def _docker_broker() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer().with_kraft()  # the image that testcontainers itself is tested with
    for name, value in SETTINGS.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        yield container.get_bootstrap_server()
