"""A reference learnt from a period of the live stream: exactly the predictions of the period, from a real Kafka."""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from stream.cli import main
from stream.reference import CategoricalFeature, NumericFeature, Reference
from tests.builders import HOUR_MS, at
from tests.oracle import rfc3339
from tests.services.kafka import create_topic

Event = dict[str, Any]
FIELDS = {"timestamp": "at", "version": "kafka:header:version", "features": "payload.inputs"}


class Stream:
    """A topic of predictions, and a configuration that reads it."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.topic, self.folder = f"learn-{uuid.uuid4().hex}", folder
        create_topic(kafka, self.topic, 3)
        self._producer = Producer({"bootstrap.servers": kafka})
        tree = {
            "kafka": {"brokers": kafka, "topics": {"predictions": self.topic}},
            "events": {"predictions": FIELDS},
            "models": {"other": {"classes": ["0", "1"]}, "price": {"task": "regression"}},
        }
        (folder / "driftstream.yaml").write_text(yaml.safe_dump(tree))

    def send(self, events: list[tuple[Event | bytes, str]]) -> None:
        """Events, or bytes that are none, with their versions, over all partitions."""
        for i, (event, version) in enumerate(events):
            value = event if isinstance(event, bytes) else orjson.dumps(event)
            self._producer.produce(self.topic, value, partition=i % 3, headers={"version": version})
        assert self._producer.flush(30) == 0

    def learn(self, *options: str) -> Result:
        command = ["reference", "learn", "--config", str(self.folder / "driftstream.yaml"), "--out", str(self.folder / "made.json")]
        return CliRunner().invoke(main, [*command, *options])

    @property
    def made(self) -> Reference:
        return Reference.load(self.folder / "made.json")


@pytest.fixture
def stream(kafka: str, tmp_path: Path) -> Stream:
    return Stream(kafka, tmp_path)


def events(n: int, model: str = "fraud") -> list[Event]:
    """One a minute."""
    rng = np.random.default_rng(7)
    return [
        {
            "prediction_id": f"{model}-{i}",
            "at": at(60 * i),
            "model": model,
            "prediction": str(int(rng.integers(2))),
            "score": float(rng.random()) if i % 10 else None,
            "payload": {"inputs": {"amount": float(rng.lognormal()), "country": str(rng.choice(["DE", "FR"])) if i % 7 else None}},
        }
        for i in range(n)
    ]


def test_the_first_hours_of_a_model_are_its_reference(stream: Stream) -> None:
    sent = events(500)
    stream.send([(event, "7" if i % 5 else "6") for i, event in enumerate(sent)])
    stream.send([(event, "7") for event in events(100, model="other")] + [(b"no json", "7"), (b'{"model": "fraud"}', "7")])
    result = stream.learn("--model", "fraud", "--version", "7", "--for", "4h", "--feature-bins", "amount=5")
    assert result.exit_code == 0, result.output
    mine = [event for i, event in enumerate(sent) if i % 5 and event["at"] < sent[0]["at"] + 4 * HOUR_MS]
    assert "192 predictions from" in result.output
    assert "200 of other models or versions" in result.output  # 100 of another model, and every fifth of 500 of another version
    assert result.output.rstrip().endswith(f"{500 - 100 - len(mine)} outside the period, 2 unreadable")
    made = stream.made
    assert (made.model, made.version, made.rows) == ("fraud", "7", len(mine))
    amount, country = made.features
    assert isinstance(amount, NumericFeature)
    assert isinstance(country, CategoricalFeature)
    assert int(amount.groups.max()) + 1 == 5
    amounts = np.array([event["payload"]["inputs"]["amount"] for event in mine])
    assert amount.counts.tolist() == np.histogram(amounts, [-np.inf, *amount.edges, np.inf])[0].tolist()
    assert (amount.mean, amount.minimum) == (pytest.approx(amounts.mean(), rel=1e-12), amounts.min())
    found = Counter(event["payload"]["inputs"]["country"] for event in mine)
    assert (dict(zip(country.categories, country.counts.tolist(), strict=False)), country.missing) == (
        {name: found[name] for name in country.categories},
        found[None],
    )
    score, predicted = made.output("score"), made.output("prediction")
    assert isinstance(predicted, CategoricalFeature)
    assert score is not None
    assert score.missing == sum(event["score"] is None for event in mine)
    said = Counter(event["prediction"] for event in mine)
    assert dict(zip(predicted.categories, predicted.counts.tolist(), strict=False)) == dict(said)


def test_a_period_holds_what_happened_in_it_however_late_it_was_written(stream: Stream) -> None:
    sent = events(120)
    stream.send([(event, "1") for event in reversed(sent)])
    start, end = sent[30]["at"], sent[60]["at"]
    result = stream.learn("--model", "fraud", "--from", rfc3339(start), "--to", rfc3339(end))
    assert result.exit_code == 0, result.output
    assert stream.made.rows == 30
    assert stream.made.version == "all"
    assert f"30 predictions from {rfc3339(start)} to {rfc3339(sent[59]['at'])} taken" in result.output
    assert "90 outside the period, 0 unreadable" in result.output


@pytest.mark.parametrize("options", [("--model", "price"), ("--model", "fraud", "--task", "regression")])
def test_whole_numbers_that_a_regression_predicts_are_numbers(stream: Stream, options: tuple[str, ...]) -> None:
    """By the configuration, which has the model "price", or by the option."""
    sent = [{**event, "prediction": 10 * i, "score": None} for i, event in enumerate(events(50, model=options[1]))]
    stream.send([(event, "1") for event in sent])
    result = stream.learn(*options)
    assert result.exit_code == 0, result.output
    predicted = stream.made.output("prediction")
    assert isinstance(predicted, NumericFeature)
    assert (predicted.minimum, predicted.maximum, predicted.counts.sum()) == (0, 490, 50)
    assert stream.made.classes == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for", "1 day"), "--for '1 day': expected a duration with its unit, such as 24h or 7d"),
        (("--from", "yesterday"), "--from 'yesterday': expected a time as RFC 3339 has it"),
        (("--from", "2026-11-20T00:00:00"), "--from '2026-11-20T00:00:00': expected a time as RFC 3339 has it"),
        (("--from", "2026-11-20T00:00:00Z", "--to", "2026-11-20T00:00:00Z"), "expected an end after the start"),
        (("--for", "1h", "--to", "2026-11-20T00:00:00Z"), "expected one of them"),
        (("--from", "2030-01-01T00:00:00Z"), "no prediction of 'fraud' in the period; 0 predictions taken"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_the_rule(stream: Stream, options: tuple[str, ...], said: str) -> None:
    stream.send([(event, "1") for event in events(3)])
    result = stream.learn("--model", "fraud", *options)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (stream.folder / "made.json").exists()


def test_an_empty_topic_has_no_reference(stream: Stream) -> None:
    result = stream.learn("--model", "fraud", "--for", "24h")
    assert result.exit_code == 2
    assert "no prediction of 'fraud'" in result.output


def test_features_that_mix_types_are_refused_by_name(stream: Stream) -> None:
    mixed = events(4)
    mixed[2]["payload"]["inputs"]["amount"] = "twelve"
    stream.send([(event, "1") for event in mixed])
    result = stream.learn("--model", "fraud")
    assert result.exit_code == 2
    assert "amount" in result.output
    assert "expected" in result.output
