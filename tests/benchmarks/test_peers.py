"""The parts of the peer benchmarks that need no peer: the coding that peers share, the judge of their answers, the table, the pins."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks import versus
from benchmarks.data import FAULTS, START_MS, configure, settings, write_reference
from benchmarks.measure import Measured
from benchmarks.peers.job import Answer, Coder, Job, Window
from benchmarks.peers.truth import Truth, WrongAnswerError, job
from stream.app import build_models
from stream.model import Model
from stream.simulate import FraudScenario
from tests.builders import coded

ROOT = Path(__file__).parents[2]
N = 40_000  # 40 s of event time


@pytest.fixture(scope="module")
def scenario() -> FraudScenario:
    return FraudScenario(START_MS, cycle_ms=N, faults=FAULTS)


@pytest.fixture(scope="module")
def model_and_job(scenario: FraudScenario, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Job]:
    folder = tmp_path_factory.mktemp("job")
    write_reference(scenario, folder)
    path = configure(folder, name="peer", brokers="localhost:1", redis="redis://localhost:1/0", labels=True, topics=("p", "l"))
    config = settings(path)
    (model,) = build_models(config).values()
    return model, job(config, model, {"predictions": "p", "labels": "l"}, {"predictions": 3, "labels": 3}, folder)


def test_job_comes_back_from_its_file(model_and_job: tuple[Model, Job], tmp_path: Path) -> None:
    _, given = model_and_job
    given.write(tmp_path / "job.json")
    read = Job.read(str(tmp_path / "job.json"))
    assert (read.width, read.pane_ms, [tuple(w) for w in read.windows]) == (given.width, 10_000, [(10_000, 10_000), (60_000, 10_000)])
    assert [(f.name, f.start, f.missing, list(f.edges), list(f.categories)) for f in read.features] == [
        (f.name, f.start, f.missing, list(f.edges), list(f.categories)) for f in given.features
    ]


def test_peers_count_each_value_where_the_model_does(scenario: FraudScenario, model_and_job: tuple[Model, Job]) -> None:
    model, given = model_and_job
    code = Coder(given.features).positions
    rows = [orjson.loads(message.value)["features"] for message in scenario.advance(START_MS + N, 1_000).predictions][::20]
    rows += [dict.fromkeys(rows[0]), {}]
    names = [slot.feature.name for slot in model.slots]
    codes, _ = coded(model, [[row.get(name) for row in rows] for name in names], {})
    assert any(row["distance_km"] is None for row in rows)
    assert any(row.get("merchant_category") == "crypto" for row in rows)
    assert [sorted(code(row)) for row in rows] == np.sort(codes.T, axis=1).tolist()


@pytest.fixture
def truth(model_and_job: tuple[Model, Job]) -> Truth:
    """One partition: a pane with a value at 3, one with two at 5; the watermark stands 30 s after the first."""
    given = replace(model_and_job[1], width=6, out_of_orderness_ms=0)
    panes = {(0, 0): np.bincount([3], minlength=6), (0, 10_000): np.bincount([5, 5], minlength=6)}
    return Truth(given, panes, {"predictions": {0: 30_000}, "labels": {0: 30_000}}, confusion=[[2, 0], [1, 0]])


def answer() -> Answer:
    sizes_and_starts = [(10_000, 0), (10_000, 10_000), (60_000, -50_000), (60_000, -40_000)]
    counts = [[(3, 1)], [(5, 2)], [(3, 1)], [(3, 1), (5, 2)]]
    windows = [Window.of(size, start, -1, pairs) for (size, start), pairs in zip(sizes_and_starts, counts, strict=True)]
    return Answer(predictions=3, labels=3, joined=3, confusion=[[2, 0], [1, 0]], windows=windows)


def test_answer_that_agrees_is_accepted(truth: Truth) -> None:
    truth.check(answer(), labels=True, by_partition=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"predictions": 2},
        {"late": 1},
        {"joined": 2},
        {"confusion": [[1, 1], [1, 0]]},
        {"windows": answer().windows[:3]},
        {"windows": [*answer().windows, answer().windows[0]]},
        {"windows": [replace(answer().windows[0], moment=4), *answer().windows[1:]]},
    ],
)
def test_answer_that_differs_is_refused(truth: Truth, wrong: dict[str, object]) -> None:
    with pytest.raises(WrongAnswerError):
        truth.check(replace(answer(), **wrong), labels=True, by_partition=False)  # type: ignore[arg-type]


def test_columns_are_compared_by_values_missing_ones_and_mean(truth: Truth) -> None:
    truth.columns = {"amount": [3, 1, 0.5]}
    truth.check_columns(Answer(columns={"amount": [3.0, 1.0, 0.5 + 1e-12]}))
    with pytest.raises(WrongAnswerError):
        truth.check_columns(Answer(columns={"amount": [3.0, 1.0, 0.6]}))


def test_table_has_the_median_of_the_ratios_of_each_turn() -> None:
    ours = [Measured(1.0, cpu_s, 1) for cpu_s in (1.0, 2.0, 4.0)]
    faust = [Measured(1.0, cpu_s, 1, events=500) for cpu_s in (10.0, 10.0, 10.0)]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in versus.table({"worker": ours, "faust": faust}, 1_000)]
    assert rows[2] == ["faust", "predictions", "worker", "500", "50", "500", "10.0", "5.0-20.0", ">= 10: reached"]
    assert [row[4] for row in rows[3:]] == ["skipped: see make bench-full"] * (len(versus.PEERS) - 1)


def test_pins_have_hashes_and_name_no_index() -> None:
    pins = (ROOT / "benchmarks" / "requirements-peers.txt").read_text()
    assert "://" not in pins
    assert "index-url" not in pins
    requirements = re.findall(r"^([a-z][^\s=]*)==", pins, re.MULTILINE)
    assert {"quixstreams", "whylogs", "faust-streaming"} <= set(requirements)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", pins.strip())[1:])


def test_peers_are_no_dependency_of_ours() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"^(quixstreams|whylogs)==", file.read_text(), re.MULTILINE)
