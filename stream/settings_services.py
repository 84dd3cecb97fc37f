"""Where the services are, how time is told, and how a worker runs: the sections of the configuration that are the same for all models."""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from stream.settings_values import (
    Brokers,
    Host,
    Namespace,
    Option,
    OptionName,
    RedisUrl,
    Section,
    Text,
    Topic,
    broken,
    duration,
    size,
    whole,
)


class Topics(Section):
    predictions: Topic = "driftstream.predictions"
    labels: Topic = "driftstream.labels"
    results: Topic = "driftstream.results"
    alerts: Topic = "driftstream.alerts"
    late: Topic = "driftstream.late"
    dead_letter: Topic = "driftstream.dead-letter"

    @field_validator("*")
    @classmethod
    def _distinct(cls, topic: str, info: ValidationInfo) -> str:
        # Kafka's metrics map "." to "_", so it warns of topics that differ only there
        for other, name in info.data.items():
            if name.replace(".", "_") == topic.replace(".", "_"):
                raise broken(f"a topic other than that of {other} ('.' and '_' count as equal in Kafka)")
        return topic


class KafkaSettings(Section):
    brokers: Brokers = "localhost:9092"
    group: Text = "driftstream"
    start: Literal["earliest", "latest"] = "earliest"
    group_protocol: Literal["classic", "consumer"] = "classic"
    topics: Topics = Topics()
    options: Mapping[OptionName, Option] = {}

    def client_options(self) -> dict[str, str]:
        """`options` in clear text, for librdkafka and nothing else."""
        return {key: value.get_secret_value() for key, value in self.options.items()}


class RedisSettings(Section):
    url: RedisUrl = SecretStr("redis://localhost:6379/0")
    namespace: Namespace = "driftstream"

    def masked_url(self) -> str:
        """The address without user, password and query, for logs."""
        url = urlsplit(self.url.get_secret_value())
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


class TimeSettings(Section):
    out_of_orderness_ms: Annotated[int, duration("0s")] = Field(default=5_000, alias="out_of_orderness")
    allowed_lateness_ms: Annotated[int, duration("0s")] = Field(default=0, alias="allowed_lateness")
    idle_after_ms: Annotated[int, duration("1ms")] = Field(default=30_000, alias="idle_after")
    when_idle: Literal["wall_clock", "hold"] = "wall_clock"
    max_future_skew_ms: Annotated[int, duration("0s")] = Field(default=300_000, alias="max_future_skew")


class LabelSettings(Section):
    max_delay_ms: Annotated[int, duration("1ms")] = Field(default=604_800_000, alias="max_delay")
    clock: Literal["event", "arrival"] = "event"
    pending_max: Annotated[int, whole(1_000, 10**12)] = 100_000_000


class WorkerSettings(Section):
    web_host: Host = "127.0.0.1"
    web_port: Annotated[int, whole(1, 65_535)] = 8080
    batch_size: Annotated[int, whole(1, 1_000_000)] = 30_000
    batch_bytes: Annotated[int, size("1MiB", "1GiB")] = 64 << 20
    state_bytes: Annotated[int, size("1MiB", "1024GiB")] = 1 << 30
    outbox_max: Annotated[int, whole(100, 100_000_000)] = 100_000
    references_every_ms: Annotated[int, duration("100ms", "1d")] = Field(default=10_000, alias="references_every")
    checkpoint_every_ms: Annotated[int, duration("10ms", "1m")] = Field(default=500, alias="checkpoint_every")
