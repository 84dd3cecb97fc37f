"""Real data through everything: the electricity market of New South Wales, as files and as a real Kafka, Redis and worker.

Both must give the same windows, and those that a direct computation over the raw rows gives. On 5 May 1997 the neighbouring state joined
the market: three features that had been constant began to vary.
"""

import csv
import gzip
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from stream.results_performance import Performance
from stream.settings import load_settings
from stream.settings_cohorts import CohortSection
from tests.builders import Monitor
from tests.oracle import Family, Monitored, Timing, milliseconds, mismatches, recompute, reference_features
from tests.services.topics import count, create_topics, produce, read, wait_until
from tests.services.worker import CONFIG, WorkerProcess, write_config

DATA = Path(__file__).parents[3] / "shared" / "data" / "electricity"
CONFIGURATION = CONFIG / "electricity.yaml"
JOINED: Final = "1997-05-05T00:00:00.000Z"
CHANGED: Final = {"vicprice", "vicdemand", "transfer"}
NEW_EACH_RUN: Final = ("closed_at", "watermark", "emitted_at", "first_fired_at")
DAY_MS: Final = 86_400_000
Json = dict[str, Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@pytest.fixture(scope="module", autouse=True)
def data() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no data: expected the folder {'/'.join(DATA.parts[-3:])} beside the repository")  # it is not ours to publish


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the reference that `driftstream reference build` makes."""
    folder = tmp_path_factory.mktemp("references")
    name = ("--model", "nsw-price", "--version", "1")
    run("reference", "build", "--data", DATA / "reference.csv", *name, "--out", folder / "nsw-price.json", references=folder)
    return folder


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, references: Path) -> Path:
    """The folder with what `driftstream replay` wrote."""
    out = tmp_path_factory.mktemp("replayed")
    files = ("--predictions", DATA / "predictions.jsonl.gz", "--labels", DATA / "labels.jsonl.gz")
    run("replay", "--config", CONFIGURATION, *files, "--out", out, references=references)
    return out


def run(*arguments: str | Path, references: Path) -> None:
    environ = {"DRIFTSTREAM_REFERENCES": str(references), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "stream", *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def events(name: str) -> list[Json]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rb") as lines:
        return [orjson.loads(line) for line in lines]


def written(folder: Path, name: str) -> list[Json]:
    return [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]


# what the raw rows say


@dataclass(frozen=True)
class Rows:
    """The prediction rows, first of each id, by column, and the labels that match one: times and classes."""

    times_ms: Counts
    features: Mapping[str, npt.NDArray[Any]]
    label_times_ms: Counts
    labels: npt.NDArray[np.str_]
    predicted: npt.NDArray[np.str_]


@pytest.fixture(scope="module")
def rows() -> Rows:
    first: dict[str, Json] = {}
    for event in events("predictions"):
        first.setdefault(event["prediction_id"], event)
    matched: dict[str, Json] = {}
    for event in events("labels"):
        if event["prediction_id"] in first:
            matched.setdefault(event["prediction_id"], event)
    names = next(iter(first.values()))["features"]
    return Rows(
        times_ms=np.array([milliseconds(event["timestamp"]) for event in first.values()]),
        features={name: np.array([event["features"][name] for event in first.values()]) for name in names},
        label_times_ms=np.array([milliseconds(event["timestamp"]) for event in matched.values()]),
        labels=np.array([event["label"] for event in matched.values()]),
        predicted=np.array([first[id_]["prediction"] for id_ in matched]),
    )


def reference_rows() -> dict[str, npt.NDArray[Any]]:
    with (DATA / "reference.csv").open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    return {name: np.array([row[name] for row in found]) for name in found[0]}


class Binned:
    """A feature of the reference file: the bins, and the counts of the reference's own rows, counted again."""

    def __init__(self, described: Mapping[str, Any], column: npt.NDArray[Any]) -> None:
        self._described = described
        self.reference = self.counts(column.astype(float) if described["kind"] == "numeric" else column)

    def counts(self, values: npt.NDArray[Any]) -> Counts:
        if self._described["kind"] == "categorical":
            return np.array([*((values == category).sum() for category in self._described["categories"])], np.int64)
        fine = np.searchsorted(np.array(self._described["edges"]), values, side="right")
        groups = np.array(self._described["groups"])
        return np.bincount(groups[fine], minlength=groups[-1] + 1)


def psi(reference: Counts, current: Counts) -> float:
    used = (reference + current) > 0
    p, q = ((counts[used] + 0.5) / (counts.sum() + 0.5 * used.sum()) for counts in (reference, current))
    return float(np.sum((q - p) * np.log(q / p)))


def js_divergence(reference: Counts, current: Counts) -> float:
    p, q = reference / reference.sum(), current / current.sum()
    m = (p + q) / 2
    return float(sum(np.sum(share[share > 0] * np.log2(share[share > 0] / m[share > 0])) for share in (p, q)) / 2)


def confusion(labels: npt.NDArray[np.str_], predicted: npt.NDArray[np.str_]) -> list[list[int]]:
    classes = ("DOWN", "UP")
    cells = [[int(((labels == row) & (predicted == column)).sum()) for column in classes] for row in classes]
    return [[*cells[0], 0], [*cells[1], 0], [0, 0, 0]]


def test_every_window_is_what_the_raw_rows_say(replayed: Path, references: Path, rows: Rows) -> None:
    raw = reference_rows()
    described = orjson.loads((references / "nsw-price.json").read_bytes())["features"]
    features = {feature["name"]: Binned(feature, raw[feature["name"]]) for feature in described}
    assert set(features) == set(rows.features)
    results = written(replayed, "results.jsonl")
    assert len(results) > 2_500
    for result in results:
        start, end = (milliseconds(result["window"][bound]) for bound in ("start", "end"))
        inside = (start <= rows.times_ms) & (rows.times_ms < end)
        assert result["counts"]["predictions"] == inside.sum()
        if result["subject"] == "performance":
            labelled = (start <= rows.label_times_ms) & (rows.label_times_ms < end)
            cells = confusion(rows.labels[labelled], rows.predicted[labelled])
            assert result["counts"]["labels"] == labelled.sum()
            assert result["performance"]["confusion"] == cells
            right = cells[0][0] + cells[1][1]
            assert result["performance"]["accuracy"] == (pytest.approx(right / labelled.sum(), abs=1e-9) if labelled.any() else None)
            continue
        for name, feature in features.items() if inside.any() else ():
            said, counts = result["drift"][name], feature.counts(rows.features[name][inside])
            assert counts.sum() == said["n"] == inside.sum()
            if inside.sum() < 40:
                assert said["psi"]["severity"] == "insufficient_data"
                continue
            divergence = js_divergence(feature.reference, counts)
            assert said["psi"]["score"] == pytest.approx(psi(feature.reference, counts), abs=1e-9)
            assert said["js_divergence"]["score"] == pytest.approx(divergence, abs=1e-9)
            assert said["js_distance"]["score"] == pytest.approx(np.sqrt(max(divergence, 0)), abs=1e-9)


def test_every_window_is_what_the_oracle_says(replayed: Path, references: Path) -> None:
    model = Monitored(
        name="nsw-price",
        windows=(Family("day", DAY_MS, DAY_MS), Family("week", 7 * DAY_MS, DAY_MS)),
        classes=("DOWN", "UP"),
        positive="UP",
        features=reference_features(references / "nsw-price.json"),
        outputs=reference_features(references / "nsw-price.json", "outputs"),
    )
    expected = recompute([model], [events("predictions")], [events("labels")], Timing(out_of_orderness_ms=7_200_000))
    assert expected.labels == {"consumed": 29_984, "matched": 29_684, "waiting": 32, "duplicate": 268}
    assert mismatches([model], written(replayed, "results.jsonl"), expected) == []


def test_day_that_victoria_joined_is_alerted_by_the_first_full_window_of_each_kind(replayed: Path) -> None:
    alerts = [alert for alert in written(replayed, "alerts.jsonl") if alert["kind"] == "data_drift"]
    first = [alert for alert in alerts if alert["window"]["end"] <= "1997-05-06T00:00:00.000Z"]
    assert {alert["feature"] for alert in first} == CHANGED
    assert {(alert["window"]["name"], alert["window"]["start"], alert["status"], alert["severity"]) for alert in first} == {
        ("day", JOINED, "firing", "critical")
    }
    for result in written(replayed, "results.jsonl"):
        if result["subject"] == "traffic" and result["window"]["start"] == JOINED:
            severities = {name: drift["psi"]["severity"] for name, drift in result["drift"].items()}
            assert {name for name, severity in severities.items() if severity == "critical"} == CHANGED, result["window"]
            assert set(severities.values()) == {"ok", "critical"}


# by the time of the predictions

COHORTS: Final[Json] = {"windows": [{"name": "day", "size": "1d"}], "revise_every": "6h"}


@pytest.fixture(scope="module")
def by_prediction_time(tmp_path_factory: pytest.TempPathFactory, references: Path) -> list[Json]:
    """The results about the outcomes of each day's predictions, as `driftstream replay` has them, in order."""
    out = tmp_path_factory.mktemp("cohorts")
    config = write_config(out / "electricity.yaml", base=CONFIGURATION, by_prediction_time=COHORTS)
    files = ("--predictions", DATA / "predictions.jsonl.gz", "--labels", DATA / "labels.jsonl.gz")
    run("replay", "--config", config, *files, "--out", out, references=references)
    return [result for result in written(out, "results.jsonl") if is_by_prediction_time(result)]


def is_by_prediction_time(result: Json) -> bool:
    return result.get("performance", {}).get("by") == "prediction_time"


def outcomes_by_day(until: float = np.inf) -> dict[int, tuple[int, list[list[int]]]]:
    """Predictions and confusion of each day's predictions, by its start in ms, with the labels of before `until`."""
    first: dict[str, Json] = {}
    for event in events("predictions"):
        first.setdefault(event["prediction_id"], event)
    truths: dict[str, str] = {}
    for event in events("labels"):
        if milliseconds(event["timestamp"]) < until:
            truths.setdefault(event["prediction_id"], event["label"])
    days: dict[int, list[tuple[str | None, str]]] = {}
    for id_, event in first.items():
        day = milliseconds(event["timestamp"]) // DAY_MS * DAY_MS
        days.setdefault(day, []).append((truths.get(id_), event["prediction"]))
    return {
        day: (len(pairs), confusion(np.array([t for t, _ in pairs if t is not None]), np.array([p for t, p in pairs if t is not None])))
        for day, pairs in days.items()
    }


def test_accuracy_of_each_day_is_that_of_its_own_predictions(by_prediction_time: list[Json]) -> None:
    final = {milliseconds(r["window"]["start"]): r for r in by_prediction_time if r["final"]}
    expected = outcomes_by_day()
    assert len(final) > 500
    assert set(final) == {day for day in expected if day <= max(final)}
    for day, result in final.items():
        predictions, cells = expected[day]
        labels = sum(map(sum, cells))
        assert (result["counts"]["predictions"], result["counts"]["labels"]) == (predictions, labels)
        assert result["performance"]["confusion"] == cells
        assert result["performance"]["accuracy"] == pytest.approx((cells[0][0] + cells[1][1]) / labels)
        assert result["performance"]["coverage"] == pytest.approx(labels / predictions)
        assert result["performance"]["maturity"] == 1.0


def test_every_revision_says_what_had_been_read_by_then(references: Path) -> None:
    """Read in steps of six hours, labels late by days among them: each firing against a recount of the rows read so far."""
    configured = load_settings(CONFIGURATION, {"DRIFTSTREAM_REFERENCES": str(references)})
    monitor = Monitor(configured.model_copy(update={"by_prediction_time": CohortSection.model_validate(COHORTS)}))
    logs = {name: sorted(events(name), key=lambda event: milliseconds(event["timestamp"])) for name in ("predictions", "labels")}
    first, truths, fired = dict[str, Json](), dict[str, str](), Counter[int]()
    start = milliseconds(logs["predictions"][0]["timestamp"])
    for until in range(start, start + 120 * DAY_MS, DAY_MS // 4):
        for side in ("predictions", "labels"):
            step = [event for event in logs[side] if until - DAY_MS // 4 <= milliseconds(event["timestamp"]) < until]
            for event in step:
                (first if side == "predictions" else truths).setdefault(
                    event["prediction_id"], event if side == "predictions" else event["label"]
                )
            monitor.log(*step, side=side)
            monitor.read(side)
        for result in (firing.result for firing in monitor.tick()):
            assert result is not None
            if not isinstance(result.performance, Performance) or result.performance.by == "label_time":
                continue
            day = milliseconds(result.window.start)
            mine = {id_: e for id_, e in first.items() if day <= milliseconds(e["timestamp"]) < day + DAY_MS}
            known = [id_ for id_ in mine if id_ in truths]
            cells = confusion(np.array([truths[id_] for id_ in known]), np.array([mine[id_]["prediction"] for id_ in known]))
            assert [list(row) for row in result.performance.confusion] == cells
            assert (result.counts.predictions, result.counts.labels) == (len(mine), len(known))
            fired[day] += 1
    assert fired.most_common(1)[0][1] > 3
    assert sum(n > 2 for n in fired.values()) > 30


# the same through Kafka


@pytest.fixture
def worker(
    tmp_path: Path, references: Path, kafka: str, redis_url: str, redis_namespace: str, topic_names: Callable[[str], str]
) -> Iterator[tuple[WorkerProcess, dict[str, str]]]:
    """A worker that finds all of the data in Kafka when it starts, and the names of its topics."""
    topics = create_topics(kafka, topic_names, predictions=4, labels=3)
    for name, partitioner in (("predictions", "consistent_random"), ("labels", "murmur2_random")):
        produce(kafka, topics[name], ((e["prediction_id"].encode(), orjson.dumps(e)) for e in events(name)), partitioner=partitioner)
    config = write_config(
        tmp_path / "electricity.yaml",
        base=CONFIGURATION,
        by_prediction_time=COHORTS,
        kafka={"topics": topics, "group": topics["predictions"]},
        redis={"namespace": redis_namespace},
        time={"idle_after": "2s"},
        worker={"checkpoint_every": "200ms"},
    )
    environ = {
        "DRIFTSTREAM_KAFKA": kafka,
        "DRIFTSTREAM_REDIS": redis_url,
        "DRIFTSTREAM_REFERENCES": str(references),
        "DRIFTSTREAM_WHEN_IDLE": "wall_clock",
    }
    with WorkerProcess(config, environ) as process:
        yield process, topics


def test_worker_gives_the_same_windows_and_alerts(
    worker: tuple[WorkerProcess, dict[str, str]], kafka: str, replayed: Path, by_prediction_time: list[Json]
) -> None:
    process, topics = worker
    expected = {name: {message[id_]: same(message) for message in written(replayed, f"{name}.jsonl")} for name, id_ in IDS.items()}

    cohorts = {result["result_id"]: same(result) for result in by_prediction_time if result["final"]}
    wanted = expected["results"].keys() | cohorts.keys()

    def missing() -> int:
        assert process.is_running(), process.log[-3000:]
        if count(kafka, topics["results"]) < len(wanted):
            return len(wanted)
        return len(wanted - {record.json["result_id"] for record in read(kafka, topics["results"])})

    wait_until(lambda: not missing(), every_s=1.0, otherwise=lambda: f"{missing()} results are missing\n{process.log[-3000:]}")
    assert process.end() == 0
    found = {name: {record.json[id_]: same(record.json) for record in read(kafka, topics[name])} for name, id_ in IDS.items()}
    assert {id_: result for id_, result in found["results"].items() if is_by_prediction_time(result) and result["final"]} == cohorts
    assert {id_: result for id_, result in found["results"].items() if not is_by_prediction_time(result)} == expected["results"]
    assert {id_: alert for id_, alert in found["alerts"].items() if "by" not in alert} == expected["alerts"]
    assert read(kafka, topics["late"], topics["dead_letter"]) == []


def test_every_revision_of_a_worker_says_what_the_log_of_the_labels_said_by_then(
    tmp_path: Path, references: Path, kafka: str, redis_url: str, redis_namespace: str, topic_names: Callable[[str], str]
) -> None:
    """Labels come two hours at a time, for 15 days: with k labels of a day it is the recount of the first k in the log that are of it."""
    topics = create_topics(kafka, topic_names, predictions=4, labels=1)
    predictions, labels = events("predictions"), events("labels")[: 15 * 48]
    produce(kafka, topics["predictions"], ((event["prediction_id"].encode(), orjson.dumps(event)) for event in predictions))
    config = write_config(
        tmp_path / "electricity.yaml",
        base=CONFIGURATION,
        by_prediction_time=COHORTS | {"revise_every": "1h"},
        kafka={"topics": topics, "group": topics["predictions"]},
        redis={"url": redis_url, "namespace": redis_namespace},
        time={"idle_after": "1h", "when_idle": "hold"},
        worker={"checkpoint_every": "20ms"},
    )
    environ = {"DRIFTSTREAM_KAFKA": kafka, "DRIFTSTREAM_REDIS": redis_url, "DRIFTSTREAM_REFERENCES": str(references)}
    with WorkerProcess(config, environ) as process:

        def consumed(side: str, n: int) -> bool:
            assert process.is_running(), process.log[-3000:]
            return f'driftstream_consumed_total{{topic="{topics[side]}"}} {n:.1f}\n' in process.get("metrics")[1]

        wait_until(lambda: consumed("predictions", len(predictions)))
        for read_to in range(4, len(labels) + 1, 4):
            produce(kafka, topics["labels"], ((None, orjson.dumps(event)) for event in labels[read_to - 4 : read_to]))
            wait_until(lambda read_to=read_to: consumed("labels", read_to))  # type: ignore[misc]
        assert process.end() == 0

    first = {event["prediction_id"]: event for event in reversed(predictions)}
    by_day: dict[int, dict[str, tuple[str, str]]] = {}
    for event in labels:
        if (predicted := first.get(event["prediction_id"])) is not None:
            day = by_day.setdefault(milliseconds(predicted["timestamp"]) // DAY_MS * DAY_MS, {})
            day.setdefault(event["prediction_id"], (event["label"], predicted["prediction"]))
    made = Counter(milliseconds(event["timestamp"]) // DAY_MS * DAY_MS for event in first.values())
    fired = Counter[int]()
    for result in {record.json["result_id"]: record.json for record in read(kafka, topics["results"])}.values():
        if is_by_prediction_time(result):
            start, k = milliseconds(result["window"]["start"]), result["counts"]["labels"]
            pairs = np.array([*by_day[start].values()][:k]).reshape(k, 2)
            assert result["counts"]["predictions"] == made[start]
            assert result["performance"]["confusion"] == confusion(pairs[:, 0], pairs[:, 1]), (result["window"], result["revision"])
            fired[start] += k < len(by_day[start])
    assert sum(fired.values()) > 8  # looks at a day whose labels were not all there


IDS: Final = {"results": "result_id", "alerts": "alert_id"}


def same(message: Json) -> Json:
    """What must not depend on how the events came: all but the clock on the wall, and where the watermark stood beyond the window."""
    return {key: value for key, value in message.items() if key not in NEW_EACH_RUN}
