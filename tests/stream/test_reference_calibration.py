"""What a reference learns about its scores: counts by label against numpy on the raw rows, and where there is nothing to learn."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.reference import InvalidReferenceError, NumericFeature, Reference
from stream.reference_build import build_reference
from stream.reference_rows import BLOCK_ROWS
from tests.stream.reference_data import FORMATS, Row, write

NAMES = {"prediction_column": "said", "label_column": "truth", "score_column": "p"}


def scored_rows(n: int, labels: tuple[Any, ...] = ("no", "yes")) -> list[Row]:
    """Rows of which some have no score and some no label; scores pile up at 0 and repeat."""
    rng = np.random.default_rng(n)
    scores = np.where(rng.random(n) < 0.1, 0.0, rng.beta(1, 3, n).round(3)).tolist()
    truths = rng.choice(labels, n, p=[0.7, *[0.3 / (len(labels) - 1)] * (len(labels) - 1)]).tolist()
    rows: list[Row] = [
        {"x": i % 7, "prediction": labels[score > 0.5], "score": score, "label": truth}
        for i, (score, truth) in enumerate(zip(scores, truths, strict=True))
    ]
    for name in ("score", "label", "prediction"):
        for i in rng.choice(n, n // 10, replace=False):
            rows[i][name] = None
    return rows


def build(folder: Path, rows: list[Row], extension: str = ".jsonl", **options: Any) -> Reference:
    return build_reference(write(folder, extension, rows), **{"model": "m", "version": "1"} | options)


def recounted(rows: list[Row], reference: Reference) -> list[list[int]]:
    """Rows by class and bin of the score, from the raw rows."""
    score = reference.output("score")
    assert isinstance(score, NumericFeature)
    ends = np.concatenate(([-np.inf], score.edges, [np.inf]))
    of = {name: [row["score"] for row in rows if row["label"] == name and row["score"] is not None] for name in reference.classes}
    return [np.histogram(of[name], ends)[0].tolist() for name in reference.classes]


@pytest.mark.parametrize("extension", FORMATS)
def test_calibration_counts_the_raw_rows_by_label_and_score_whatever_the_format(tmp_path: Path, extension: str) -> None:
    rows = scored_rows(3_000)
    reference = build(tmp_path, rows, extension)
    assert reference.calibration is not None
    assert reference.calibration.tolist() == recounted(rows, reference)
    assert reference.reference_id == build(tmp_path, rows).reference_id
    assert reference.calibration.sum() == sum(row["score"] is not None and row["label"] is not None for row in rows)


@pytest.mark.parametrize("labels", [(0, 1), (False, True)])
def test_whole_numbers_and_booleans_are_labels_under_their_canonical_texts(tmp_path: Path, labels: tuple[Any, ...]) -> None:
    rows = scored_rows(500, labels)
    reference = build(tmp_path, rows)
    texts = {None: None} | dict(zip(labels, reference.classes, strict=True))
    assert reference.calibration is not None
    assert reference.calibration.tolist() == recounted([row | {"label": texts[row["label"]]} for row in rows], reference)


def test_blocks_and_columns_of_other_names_change_nothing(tmp_path: Path) -> None:
    rows = scored_rows(BLOCK_ROWS + 1_000)
    renamed = [{"x": row["x"], "said": row["prediction"], "truth": row["label"], "p": row["score"]} for row in rows]
    found, plain = build(tmp_path, renamed, **NAMES), build(tmp_path, rows)
    assert found.calibration is not None
    assert plain.calibration is not None
    assert found.calibration.tolist() == plain.calibration.tolist() == recounted(rows, plain)


def test_two_classes_that_are_given_leave_out_the_rows_of_others(tmp_path: Path) -> None:
    rows = scored_rows(1_000, ("no", "yes", "maybe"))
    reference = build(tmp_path, rows, classes=("yes", "no"))
    assert reference.calibration is not None
    assert reference.calibration.tolist() == recounted(rows, reference)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"score": None}, {}),
        ({"label": None}, {}),
        ({"label": "no"}, {}),
        ({}, {"ignore": ("score",)}),
        ({}, {"ignore": ("label",)}),
        ({}, {"classes": ("no", "yes", "maybe")}),
        ({"label": 0.5, "prediction": 1.5}, {"task": "regression"}),
    ],
)
def test_without_scores_or_two_labels_there_is_no_calibration(tmp_path: Path, change: Row, options: dict[str, Any]) -> None:
    reference = build(tmp_path, [row | change for row in scored_rows(300)], **options)
    assert reference.calibration is None
    reference.save(tmp_path / "r.json")
    assert "calibration" not in (tmp_path / "r.json").read_text()


def test_of_more_than_two_labels_nothing_is_learnt(tmp_path: Path) -> None:
    assert build(tmp_path, scored_rows(1_000, ("no", "yes", "maybe"))).calibration is None


def test_a_file_from_before_there_were_calibrations_is_read_and_keeps_its_id(tmp_path: Path) -> None:
    made = build(tmp_path, scored_rows(300))
    before = msgspec.structs.replace(made, calibration=None)
    before = msgspec.structs.replace(before, reference_id=before.content_id)
    for reference in (made, before):
        reference.save(tmp_path / "r.json")
        assert Reference.load(tmp_path / "r.json").reference_id == reference.reference_id
    assert before.reference_id != made.reference_id


@pytest.mark.parametrize(
    "damage",
    [
        lambda counts: counts[:1],
        lambda counts: counts[:, :-1],
        lambda counts: -counts,
        lambda counts: counts * 2,
        lambda counts: counts * [[1], [0]],
    ],
)
def test_a_calibration_that_is_not_of_the_rows_with_a_score_is_refused(tmp_path: Path, damage: Any) -> None:
    made = build(tmp_path, scored_rows(300))
    assert made.calibration is not None
    with pytest.raises(ValueError, match="calibration: expected two rows of counts"):
        msgspec.structs.replace(made, calibration=damage(made.calibration))
    made.save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    (tmp_path / "r.json").write_text(text.replace('"calibration": [[', '"calibration": [[1, '))
    with pytest.raises(InvalidReferenceError, match="calibration"):
        Reference.load(tmp_path / "r.json")
