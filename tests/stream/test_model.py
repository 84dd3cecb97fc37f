"""Where the counts of a model stand, and what tells two layouts apart."""

from typing import Any

from detectors.latency import LATENCY_EDGES_MS
from stream.model import CLASS_BINS, CONFUSION_START, PREDICTED_START, PREDICTIONS, Model
from stream.reference import Feature, NumericFeature
from tests.builders import MODEL, numeric, reference, settings, small_reference

EDGES = [-5.0, 0.0, 0.1, 0.1 + 2**-56, 10.0, 1e150]


def model(*features: Feature, **section: Any) -> Model:
    return Model.build(settings({MODEL: {"classes": ["0", "1"], **section}}).model(MODEL), reference(*features) if features else None)


NUMERIC = numeric("x", EDGES, [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 2, 2, 2])


def test_features_stand_side_by_side_and_fill_the_layout() -> None:
    made = Model.build(settings().model(MODEL), small_reference())
    slots = (made.predicted, made.score, *made.slots)
    taken = [position for slot in slots for position in range(slot.start, slot.invalid + 1)]
    assert taken == list(range(PREDICTED_START, made.latency_start))
    assert made.traffic.width == made.latency_start + LATENCY_EDGES_MS.size + 1
    assert PREDICTED_START == PREDICTIONS + 3
    assert [slot.moments for slot in slots] == [-1, 0, 1, -1, -1, -1]
    assert made.traffic.moments == sum(isinstance(slot.feature, NumericFeature) for slot in slots)
    assert made.hits_start == CONFUSION_START + 3 * 3
    assert made.class_scores_start == made.losses_start + 2 == made.hits_start + 2 * made.score.bins + 2
    assert made.delays_start == made.values_start == made.class_scores_start + 2 * 2 * CLASS_BINS


def test_two_classes_of_which_one_is_positive_have_no_scores_by_class() -> None:
    made = model(NUMERIC, classes=["1", "0"], positive="1")
    assert made.delays_start == made.class_scores_start == made.losses_start + 2
    assert made.outcomes.fingerprint != model(NUMERIC, classes=["1", "0"]).outcomes.fingerprint


def test_layouts_tell_references_panes_and_classes_apart() -> None:
    plain, feature = model(NUMERIC), numeric("x", [*EDGES[:-1], 1e151], [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 2, 2, 2])
    assert model(NUMERIC).traffic == plain.traffic
    assert model(NUMERIC).outcomes == plain.outcomes
    for other in (model(feature), model(NUMERIC, windows=[{"size": "30s"}])):
        assert other.traffic.fingerprint != plain.traffic.fingerprint
        assert other.outcomes.fingerprint != plain.outcomes.fingerprint
    assert model(NUMERIC, classes=["1", "0"]).outcomes.fingerprint != plain.outcomes.fingerprint
    assert plain.traffic.fingerprint != plain.outcomes.fingerprint
