"""The command line as users meet it: as a process, its exit code, and what it says when something is wrong."""

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient

from stream.cli import main
from stream.embedded import LOOPBACK, free_port
from stream.reference import NumericFeature, Reference
from tests.services.fraud import FraudLoad, make_load
from tests.services.topics import count, wait_until
from tests.services.worker import CONFIG, WorkerProcess, write_config

COMMANDS = ("demo", "worker", "validate", "topics create", "simulate", "reference build", "replay", "doctor")
PATIENCE_S = 15.0  # that a user has for "there is no Kafka"


class Ended(NamedTuple):
    """A command that ended: its exit code, its two outputs, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float


def driftstream(*arguments: str | Path) -> Ended:
    """Runs a command to its end."""
    return wait(start(*arguments))


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "stream", *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait(process: "subprocess.Popen[str]") -> Ended:
    started = time.monotonic()
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err, time.monotonic() - started)


def config(folder: Path, **sections: Any) -> Path:
    """A valid configuration of a model without a reference."""
    return write_config(folder / "driftstream.yaml", **{"models": {"m": {"classes": ["a", "b"]}}, **sections})


# help


def test_help_lists_every_command() -> None:
    ended = driftstream("--help")
    assert ended.code == 0
    assert re.findall(r"^  (\w+) ", ended.out.partition("Commands:")[2], re.MULTILINE) == sorted({name.split()[0] for name in COMMANDS})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_says_what_it_does_and_explains_every_option(command: str) -> None:
    ended = CliRunner().invoke(main, [*command.split(), "--help"])
    assert ended.exit_code == 0
    usage, _, options = ended.output.partition("Options:")
    assert usage.startswith("Usage: ")
    assert len(re.sub(r"^Usage:.*$", "", usage, count=1, flags=re.MULTILINE).split()) >= 5
    listed = re.split(r"^  (?=-)", options, flags=re.MULTILINE)[1:]
    assert all(re.search(r"\s{2,}\w", option) for option in listed), listed


def test_unknown_command_and_unknown_option_are_usage_errors() -> None:
    assert driftstream("watch").code == 2
    ended = driftstream("validate", "--strict")
    assert ended.code == 2
    assert "--strict" in ended.err


# configuration


def test_validate_says_what_the_configuration_comes_to(tmp_path: Path) -> None:
    path = config(tmp_path, kafka={"group": "watchers"}, windows=[{"size": "1m"}, {"size": "10m", "slide": "1m"}])
    ended = driftstream("validate", "--config", path)
    assert ended.code == 0
    for said in ("watchers", "driftstream.predictions", "1m (tumbling), 10m/1m (sliding)", "panes of 1m", f"{path} is valid"):
        assert said in ended.out


def test_all_that_is_wrong_is_said_at_once_with_file_key_and_rule(tmp_path: Path) -> None:
    path = config(tmp_path, time={"out_of_orderness": "5"}, kafka={"group": "g", "topic": {}})
    for command in ("validate", "worker", "doctor"):
        ended = driftstream(command, "--config", path)
        assert ended.code == 2
        assert f"{path}: time.out_of_orderness: '5', expected a duration" in ended.err
        assert f"{path}: kafka.topic" in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"options": {"nonsense": "1"}}, 'kafka.options: No such configuration property: "nonsense"'),
        ({"group_protocol": "consumer", "options": {"session.timeout.ms": "6000"}}, "`session.timeout.ms` is not supported"),
    ],
)
def test_option_that_librdkafka_does_not_take_is_named(tmp_path: Path, kafka: dict[str, Any], said: str) -> None:
    ended = driftstream("validate", "--config", config(tmp_path, kafka=kafka))
    assert ended.code == 2
    assert said in ended.err


def test_missing_configuration_is_named(tmp_path: Path) -> None:
    ended = driftstream("validate", "--config", tmp_path / "none.yaml")
    assert ended.code == 2
    assert "none.yaml" in ended.err


def test_missing_reference_is_named(tmp_path: Path) -> None:
    ended = driftstream("validate", "--config", config(tmp_path, models={"m": {"classes": ["a", "b"], "reference": "none.json"}}))
    assert ended.code == 2
    assert "none.json" in ended.err


def test_feature_that_the_reference_has_not_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,prediction\n" + "".join(f"{i},a\n" for i in range(50)))
    built = ("--model", "m", "--version", "1", "--out", tmp_path / "m.json")
    assert driftstream("reference", "build", "--data", tmp_path / "rows.csv", *built).code == 0
    model = {"classes": ["a", "b"], "reference": "m.json", "drift": {"features": {"y": {"minimum_sample": 10}}}}
    ended = driftstream("validate", "--config", config(tmp_path, models={"m": model}))
    assert ended.code == 2
    assert "models.m.drift.features.y: expected one of the reference: x" in ended.err
    model = {"classes": ["a", "b"], "reference": "m.json", "quality": {"features": {"z": {"minimum_sample": 10}}}}
    ended = driftstream("validate", "--config", config(tmp_path, models={"m": model}))
    assert "models.m.quality.features.z: expected one of the reference: x" in ended.err


def test_importances_of_features_go_into_the_reference(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,prediction\n1,a\n2,b\n")
    (tmp_path / "importances.yaml").write_text("x: 0.7\n")
    built = ("reference", "build", "--data", tmp_path / "rows.csv", "--model", "m", "--version", "1", "--out", tmp_path / "m.json")
    assert driftstream(*built, "--importances", tmp_path / "importances.yaml").code == 0
    assert '"importance": 0.7' in (tmp_path / "m.json").read_text()
    (tmp_path / "importances.yaml").write_text("y: 0.7\n")
    ended = driftstream(*built, "--importances", tmp_path / "importances.yaml")
    assert (ended.code, "importances of ['y']: expected only those of features, which are ['x']" in ended.err) == (2, True)


def test_bins_of_single_features_go_into_the_reference(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y,a=b\n" + "".join(f"{i},{i},{i}\n" for i in range(100)))
    built = ("reference", "build", "--data", tmp_path / "rows.csv", "--model", "m", "--version", "1", "--out", tmp_path / "m.json")
    assert driftstream(*built, "--feature-bins", "x=5", "--feature-bins", "a=b=3").code == 0
    features = Reference.load(tmp_path / "m.json").features
    assert {feature.name: int(feature.groups.max()) + 1 for feature in features if isinstance(feature, NumericFeature)} == {
        "x": 5,
        "y": 10,
        "a=b": 3,
    }
    for text in ("x", "=5", "x=five", "x=-5"):
        ended = driftstream(*built, "--feature-bins", text)
        assert (ended.code, f"{text!r}, expected FEATURE=N, such as amount=20" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("none.csv", None, "none.csv"), ("rows.txt", "x\n1\n", "rows.txt"), ("rows.csv", "", "rows.csv"), ("rows.jsonl", "{\n", "rows.jsonl")],
)
def test_reference_of_unusable_rows_is_refused(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    ended = driftstream("reference", "build", "--data", tmp_path / name, "--model", "m", "--version", "1", "--out", tmp_path / "m.json")
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "m.json").exists()


def test_replay_of_a_missing_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    ended = driftstream("replay", "--config", config(tmp_path), "--predictions", tmp_path / "none.jsonl", "--out", tmp_path / "out")
    assert ended.code == 2
    assert "none.jsonl: No such file" in ended.err
    assert not (tmp_path / "out").exists()


# services that are not there


@pytest.fixture(scope="module")
def unreachable(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What each command says when nothing listens on Kafka's port; all at once, since each waits a while for it."""
    nowhere = f"{LOOPBACK}:{free_port()}"
    path = config(
        tmp_path_factory.mktemp("unreachable"), kafka={"brokers": nowhere}, redis={"url": redis_url}, worker={"web_port": free_port()}
    )
    commands = {name: start(*name.split(), "--config", path) for name in ("worker", "topics create", "simulate", "doctor")}
    return {name: wait(process) for name, process in commands.items()}


@pytest.mark.parametrize("command", ["worker", "topics create", "simulate"])
def test_unreachable_kafka_is_said_soon(unreachable: dict[str, Ended], command: str) -> None:
    ended = unreachable[command]
    assert ended.code == 2, ended.err
    assert "kafka.brokers" in ended.err
    assert "Traceback" not in ended.err
    assert ended.seconds < PATIENCE_S


def test_doctor_finds_that_kafka_is_down_and_goes_on(unreachable: dict[str, Ended]) -> None:
    ended = unreachable["doctor"]
    assert ended.code == 1
    assert re.search(r"^FAIL Kafka: .*check that it runs", ended.out, re.MULTILINE)
    assert re.search(r"^ok   Redis: version ", ended.out, re.MULTILINE)


def test_unreachable_redis_is_said_soon(kafka: str, tmp_path: Path) -> None:
    path = config(tmp_path, kafka={"brokers": kafka}, redis={"url": f"redis://{LOOPBACK}:{free_port()}/0"})
    ended = driftstream("worker", "--config", path)
    assert ended.code == 2
    assert "cannot reach Redis" in ended.err
    assert "redis.url" in ended.err
    assert ended.seconds < PATIENCE_S
    ended = driftstream("doctor", "--config", path)
    assert ended.code == 1
    assert re.search(r"^FAIL Redis: .*check that it runs", ended.out, re.MULTILINE)


@pytest.fixture
def fresh(kafka: str, redis_url: str, redis_namespace: str, topic_names: Callable[[str], str], tmp_path: Path) -> tuple[Path, list[str]]:
    """A configuration of an installation that has not run yet, and its topics."""
    topics = {name: topic_names(name) for name in ("predictions", "labels", "results", "alerts", "late", "dead_letter")}
    kafka_section = {"brokers": kafka, "group": topics["predictions"], "topics": topics}
    redis_section = {"url": redis_url, "namespace": redis_namespace}
    return config(tmp_path, kafka=kafka_section, redis=redis_section, worker={"web_port": free_port()}), list(topics.values())


def test_missing_topics_are_named_with_the_command_that_creates_them(fresh: tuple[Path, list[str]]) -> None:
    path, topics = fresh
    for command in ("worker", "simulate"):
        ended = driftstream(command, "--config", path)
        assert ended.code == 2
        assert f"no topic '{topics[0]}'" in ended.err
        assert "driftstream topics create" in ended.err
    ended = driftstream("doctor", "--config", path)
    assert ended.code == 1
    assert len(re.findall(r"^FAIL topic .*driftstream topics create", ended.out, re.MULTILINE)) == 6


def test_topics_are_created_once(fresh: tuple[Path, list[str]], kafka: str) -> None:
    path, topics = fresh
    first = driftstream("topics", "create", "--config", path, "--partitions", "2")
    assert (first.code, sorted(first.out.split())) == (0, sorted([*topics, *["created"] * 6]))
    found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    assert {len(found[topic].partitions) for topic in topics} == {2}
    again = driftstream("topics", "create", "--config", path, "--partitions", "5")
    assert (again.code, sorted(again.out.split())) == (0, sorted([*topics, *["exists"] * 6]))


def test_doctor_has_nothing_against_an_installation_that_has_not_run_yet(fresh: tuple[Path, list[str]]) -> None:
    path, _ = fresh
    driftstream("topics", "create", "--config", path)
    ended = driftstream("doctor", "--config", path)
    assert ended.code == 0, ended.out + ended.err
    assert "no worker, 0 message(s) wait; start one with `driftstream worker`" in ended.out


# an installation at work


@pytest.fixture(scope="module")
def load(kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> FraudLoad:
    return make_load(kafka, redis_url, uuid.uuid4().hex, tmp_path_factory.mktemp("fraud"))


def test_doctor_says_how_an_installation_at_work_is_and_what_is_wrong_when_its_worker_ends(load: FraudLoad) -> None:
    load.send(20, rate=100)
    sent = count(load.kafka, load.topics["predictions"], load.topics["labels"])
    with WorkerProcess(load.config) as worker:
        wait_until(lambda: load.consumed() == sent and not any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log)
        well = driftstream("doctor", "--config", load.config)
        assert worker.end() == 0
    assert well.code == 0, well.out + well.err
    assert "FAIL" not in well.out
    for said in (
        r"model fraud: reference fraud-",
        r"Kafka: 1 broker\(s\) of cluster",
        rf"topic {load.topics['predictions']}: 4 partition\(s\)",
        r"1 worker\(s\) read 7 of 7 partition\(s\), 0 message\(s\) wait",
        r"Redis: version \d",
        r"Redis memory: .* used, noeviction",
        r"Redis durability: append-only file on",
        r"state of 7 partition\(s\), 0 message\(s\) behind",
        r"traffic clock: at 2026-01-05T08:00:\S+; predictions/\d holds it",
        r"performance clock: at 2026-01-05T08:00",
        r"balance of predictions: \d+ consumed = \d+ counted \+ \d+ late \+ \d+ duplicate \+ \d+ malformed",
        r"balance of labels: \d+ consumed = \d+ matched \+ \d+ pending \+ 0 expired",
        r"labels of predictions: \d+ counted or late = \d+ matched \+ \d+ pending \+ 0 expired \+ 0 unlabelled",
        r"outbox: 0 message\(s\) wait",
    ):
        assert re.search(rf"^ok   .*{said}", well.out, re.MULTILINE), (said, well.out)

    load.send(2, rate=100)
    ill = driftstream("doctor", "--config", load.config)
    assert ill.code == 1
    assert re.search(r"^FAIL group .*: no worker, [1-9]\d* message\(s\) wait; start one", ill.out, re.MULTILINE), ill.out


def test_validate_accepts_the_configurations_that_are_shipped(load: FraudLoad, tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "driftstream.yaml", base=CONFIG / "driftstream.yaml", models={"fraud": {"reference": str(load.folder / "fraud.json")}}
    )
    ended = driftstream("validate", "--config", path)
    assert ended.code == 0, ended.err
