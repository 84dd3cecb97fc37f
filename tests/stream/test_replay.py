"""Files in, files out: history through the pipeline, from the library and from the command line."""

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from stream.cli import main
from stream.model import Model
from stream.replay import BATCH, Replayed, replay
from tests.builders import BASE_MS, HOUR_MS, MODEL, label, monitored, prediction, settings, small_reference, timing, validator
from tests.oracle import mismatches, recompute

FILES = ("results.jsonl", "alerts.jsonl", "dead-letter.jsonl", "late.jsonl")
CONFIG = """
models:
  fraud: {classes: ["0", "1"], reference: fraud.json, segments: [country], drift: {minimum_sample: 1}, performance: {minimum_sample: 1}}
"""


def history(n: int = 40) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions every 10 s, some late, some twice; most have a label a minute later."""
    predictions, labels = [], []
    for i in range(n):
        at = 10 * i - (150 if i % 13 == 12 else 0)
        features = {"amount": i % 60, "country": ["DE", "FR", "ES"][i % 3], "channel": i % 3, "new": i % 2 == 0}
        predictions += [prediction(str(i), at, i % 2, features=features)] * (2 if i % 10 == 9 else 1)
        if i % 4:
            labels.append(label(str(i), 10 * i + 60, i % 3 % 2))
    return predictions, labels


def write(path: Path, events: Sequence[Mapping[str, Any] | bytes]) -> Path:
    """The events as JSON lines, gzipped if the name says so; bytes as they are."""
    lines = b"".join((event if isinstance(event, bytes) else orjson.dumps(event)) + b"\n" for event in events)
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def run(folder: Path, predictions: Path, labels: Path | None, **sections: Any) -> Replayed:
    """Replay into `folder / "out"`."""
    configured = settings({MODEL: {"classes": ["0", "1"]}}, **sections)
    models = {MODEL: Model.build(configured.model(MODEL), None)}
    return replay(configured, models, predictions, labels, folder / "out", now_ms=BASE_MS + HOUR_MS)


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration and its reference."""
    small_reference().save(tmp_path / "fraud.json")
    path = tmp_path / "driftstream.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_replay_closes_every_window_as_the_oracle_has_it(tmp_path: Path, config: Path, suffix: str) -> None:
    predictions, labels = history()
    files = write(tmp_path / f"p{suffix}", predictions), write(tmp_path / f"l{suffix}", labels)
    command = ["replay", "--config", str(config), "--predictions", str(files[0]), "--labels", str(files[1]), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "44 predictions: 37 counted, 3 late, 4 duplicate, 0 malformed" in done.output
    assert "30 labels: 30 matched, 0 without a prediction, 0 duplicate, 0 corrected, 0 malformed" in done.output
    configured = settings(
        {MODEL: {"classes": ["0", "1"], "segments": ["country"]}}, windows=[{"size": "1m"}, {"size": "10m", "slide": "1m"}]
    )
    models = [monitored(configured, reference_file=tmp_path / "fraud.json")]
    results = read(tmp_path / "out", "results.jsonl")
    assert mismatches(models, results, recompute(models, [predictions], [labels], timing(configured)), late_labels=False) == []
    assert len(read(tmp_path / "out", "late.jsonl")) >= 3
    assert read(tmp_path / "out", "alerts.jsonl")
    for name, topic in zip(FILES, ("results", "alerts", "dead_letter", "late"), strict=True):
        for message in read(tmp_path / "out", name):
            validator(topic).validate(message)


def test_the_command_line_runs_as_a_module(tmp_path: Path, config: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", history(5)[0])
    files = ["--config", str(config), "--predictions", str(predictions), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "stream", "replay", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 predictions: 5 counted" in done.stdout
    assert "labels" not in done.stdout


@pytest.mark.parametrize("labels", [None, []], ids=["no file", "empty file"])
def test_without_labels_windows_close_all_the_same(tmp_path: Path, labels: list[Any] | None) -> None:
    predictions = write(tmp_path / "p.jsonl", history(10)[0])
    done = run(tmp_path, predictions, None if labels is None else write(tmp_path / "l.jsonl", labels))
    results = read(tmp_path / "out", "results.jsonl")
    assert {(r["subject"], r["counts"].get("labels")) for r in results} == {("traffic", None), ("performance", 0)}
    assert done.results == len(results)


def test_an_empty_history_gives_empty_files(tmp_path: Path) -> None:
    done = run(tmp_path, write(tmp_path / "p.jsonl", []), write(tmp_path / "l.jsonl", []))
    assert (done.results, done.alerts, done.predictions["consumed"]) == (0, 0, 0)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == dict.fromkeys(FILES, b"")


def test_labels_alone_count_nowhere(tmp_path: Path) -> None:
    done = run(tmp_path, write(tmp_path / "p.jsonl", []), write(tmp_path / "l.jsonl", history(10)[1]))
    assert done.results == 0
    assert done.labels["waiting"] == done.labels["consumed"] == 7


def test_lines_that_cannot_be_read_are_dead_letters(tmp_path: Path) -> None:
    bad = [b"{", b"\xff\xfe", b"[1]", b'{"prediction_id": "x"}', b'{"prediction_id": NaN}']
    predictions = write(tmp_path / "p.jsonl", [bad[0], b"", *history(3)[0], b"  ", *bad[1:]])
    done = run(tmp_path, predictions, write(tmp_path / "l.jsonl", [b"null"]))
    letters = read(tmp_path / "out", "dead-letter.jsonl")
    assert sorted(base64.b64decode(letter["value_base64"]) for letter in letters) == sorted([*bad, b"null"])
    assert {letter["origin"]["topic"] for letter in letters} == {"p.jsonl", "l.jsonl"}
    assert (done.predictions["malformed"], done.predictions["counted"], done.labels["malformed"]) == (5, 3, 1)
    for letter in letters:
        validator("dead_letter").validate(letter)


def test_windows_line_ends_and_a_missing_last_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\r\n".join(orjson.dumps(event) for event in history(3)[0]))
    assert run(tmp_path, path, None).predictions["counted"] == 3


def test_a_history_of_several_batches_is_one_history(tmp_path: Path) -> None:
    predictions = [prediction(str(i), i / 100) for i in range(2 * BATCH + 1)]
    labels = [label(str(i), i / 100 + 1) for i in range(2 * BATCH + 1)]
    done = run(tmp_path, write(tmp_path / "p.jsonl", predictions), write(tmp_path / "l.jsonl", labels))
    assert done.predictions["counted"] == 2 * BATCH + 1
    assert done.labels["matched"] + done.predictions["completed"] == 2 * BATCH + 1
    assert sum(r["counts"].get("labels", 0) for r in read(tmp_path / "out", "results.jsonl")) == 2 * BATCH + 1


def test_the_same_history_gives_the_same_files(tmp_path: Path) -> None:
    predictions, labels = history()
    files = write(tmp_path / "p.jsonl", predictions), write(tmp_path / "l.jsonl", labels)
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, *files)
        contents.append([(tmp_path / name / "out" / file).read_bytes() for file in FILES])
    assert contents[0] == contents[1]


def test_results_of_an_earlier_replay_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", history(10)[0])
    run(tmp_path, predictions, None)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    whole = gzip.compress(b"".join(orjson.dumps(event) + b"\n" for event in history(4000)[0]))
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"cut\.jsonl\.gz"):
        run(tmp_path, tmp_path / "cut.jsonl.gz", None)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    "content", [b"not gzip at all", b"\x1f\x8b\x08garbage", gzip.compress(b"x" * 5000)[:-12]], ids=["text", "garbage", "cut"]
)
def test_a_broken_gzip_file_is_named_and_leaves_nothing(tmp_path: Path, config: Path, content: bytes) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(content)
    out = tmp_path / "out"
    command = ["replay", "--config", str(config), "--predictions", str(tmp_path / "p.jsonl.gz"), "--out", str(out)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "p.jsonl.gz" in done.output
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("p.jsonl", ["--predictions", "p.jsonl", "--out", "out"]),
        ("l.jsonl", ["--predictions", "here.jsonl", "--labels", "l.jsonl", "--out", "out"]),
        ("nowhere.yaml", ["--config", "nowhere.yaml", "--predictions", "here.jsonl", "--out", "out"]),
    ],
)
def test_a_missing_file_is_named_with_exit_code_2(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "here.jsonl", history(1)[0])
    done = CliRunner().invoke(main, ["replay", *([] if "--config" in arguments else ["--config", str(config)]), *arguments])
    assert done.exit_code == 2
    assert missing in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_usage_and_configuration_errors_have_exit_code_2(tmp_path: Path, config: Path) -> None:
    assert CliRunner().invoke(main, ["replay", "--config", str(config)]).exit_code == 2
    config.write_text(json.dumps({"models": {"fraud": {"classes": ["0"]}}}), encoding="utf-8")
    predictions = write(tmp_path / "p.jsonl", history(1)[0])
    done = CliRunner().invoke(main, ["replay", "--config", str(config), "--predictions", str(predictions), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "models.fraud.classes" in done.output
