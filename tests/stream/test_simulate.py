"""The simulated scenario: what it sends is what it says it sends, and each phase does to the model what its name promises."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import orjson
import pytest
from msgspec import Meta
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score  # type: ignore[import-untyped]

from stream.fraud import NUMERIC
from stream.simulate import Batch, Count, Faults, FraudScenario, Message, Tally
from tests.stream.simulated import START_MS, run

CLEAN = Faults(disordered=0, straggling=0, predictions_resent=0, labels_resent=0, malformed=0, unlabelled=0)

Class = Literal["0", "1"]
EventT = TypeVar("EventT", "PredictionEvent", "LabelEvent")


class PredictionEvent(msgspec.Struct, forbid_unknown_fields=True):
    """The contract of the prediction topic, with the optional fields that the scenario sends."""

    prediction_id: Annotated[str, Meta(min_length=1)]
    timestamp: Annotated[int, Meta(ge=START_MS)]
    model: Literal["fraud"]
    version: Literal["2026.1"]
    prediction: Class
    score: Annotated[float, Meta(ge=0, le=1)]
    features: Annotated[dict[str, int | float | str | bool | None], Meta(min_length=10, max_length=10)]
    segments: Annotated[dict[Literal["country"], str], Meta(min_length=1)]
    latency_ms: Annotated[float, Meta(gt=0)]


class LabelEvent(msgspec.Struct, forbid_unknown_fields=True):
    """The contract of the label topic."""

    prediction_id: Annotated[str, Meta(min_length=1)]
    timestamp: Annotated[int, Meta(ge=START_MS)]
    model: Literal["fraud"]
    label: Class


def decoded(message: Message, contract: type[EventT]) -> EventT | None:
    """The event, None if it breaks the contract."""
    try:
        return msgspec.json.decode(message.value, type=contract)
    except msgspec.DecodeError:
        return None


def distinct(messages: list[Message], contract: type[EventT]) -> list[EventT]:
    events = (decoded(message, contract) for message in dict.fromkeys(messages))
    return [event for event in events if event is not None]


@dataclass
class Sent:
    scenario: FraudScenario
    batch: Batch
    tally: Tally
    by_phase: dict[str, list[PredictionEvent]]
    labels: dict[str, LabelEvent]

    def feature(self, phase: str, name: str) -> list[Any]:
        return [event.features[name] for event in self.by_phase[phase]]

    def outcomes(self, phase: str) -> tuple[list[Class], list[Class], list[float]]:
        """Labels, predictions and scores of the labelled predictions."""
        events = [event for event in self.by_phase[phase] if event.prediction_id in self.labels]
        labels = [self.labels[event.prediction_id].label for event in events]
        return labels, [event.prediction for event in events], [event.score for event in events]


@pytest.fixture(scope="module")
def sent() -> Sent:
    """One whole cycle at 500 predictions a second, all faults on, and time enough for every label."""
    scenario = FraudScenario(START_MS)
    batch = run(scenario, 60, 500)
    late = run(scenario, 60, 0, tick_ms=1000)
    batch = Batch(batch.predictions + late.predictions, batch.labels + late.labels)
    by_phase = defaultdict(list)
    for event in distinct(batch.predictions, PredictionEvent):
        by_phase[scenario.phase_at(event.timestamp).name].append(event)
    return Sent(scenario, batch, scenario.tally, by_phase, {event.prediction_id: event for event in distinct(batch.labels, LabelEvent)})


def test_same_seed_start_and_steps_give_the_same_bytes() -> None:
    assert run(FraudScenario(START_MS, seed=3), 2, 300) == run(FraudScenario(START_MS, seed=3), 2, 300)


def test_another_seed_or_start_gives_other_prediction_ids() -> None:
    scenarios = FraudScenario(START_MS, seed=1), FraudScenario(START_MS, seed=2), FraudScenario(START_MS + 1, seed=1)
    ids = [message.key for scenario in scenarios for message in scenario.advance(scenario.now_ms + 1000, 100).predictions]
    assert len(set(ids)) == 300


def test_reading_the_reference_does_not_change_the_stream() -> None:
    undisturbed, disturbed = FraudScenario(START_MS), FraudScenario(START_MS)
    disturbed.reference_rows(100)
    assert run(undisturbed, 1, 300) == run(disturbed, 1, 300)


@pytest.mark.parametrize(
    ("phase", "accuracy_min", "accuracy_max"),
    [("steady", 0.94, 0.99), ("input drift", 0.90, 0.96), ("concept drift", 0.60, 0.85)],
)
def test_accuracy_holds_through_input_drift_and_falls_with_concept_drift(
    sent: Sent, phase: str, accuracy_min: float, accuracy_max: float
) -> None:
    labels, predictions, _ = sent.outcomes(phase)
    assert accuracy_min < accuracy_score(labels, predictions) < accuracy_max


def test_recall_and_ranking_fall_with_concept_drift(sent: Sent) -> None:
    def quality(phase: str) -> tuple[float, float]:
        labels, predictions, scores = sent.outcomes(phase)
        return recall_score(labels, predictions, pos_label="1"), roc_auc_score(np.array(labels) == "1", scores)

    for steady, drifted in zip(quality("steady"), quality("concept drift"), strict=True):
        assert drifted < steady - 0.2


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_quality_of_the_phases_does_not_depend_on_a_lucky_seed(seed: int) -> None:
    scenario = FraudScenario(START_MS, seed=seed, faults=CLEAN)
    accuracies = []
    for index in range(len(scenario.phases)):
        transactions = scenario.traffic.draw(np.random.default_rng(seed), scenario.phases, np.full(5_000, index))
        accuracies.append(accuracy_score(transactions.fraud, scenario.model.score(transactions) >= 0.5))
    steady, input_drift, concept_drift = accuracies
    assert steady > 0.93
    assert input_drift > 0.90
    assert concept_drift < 0.85


def test_steady_traffic_has_enough_fraud_for_a_window_of_seconds(sent: Sent) -> None:
    labels, _, _ = sent.outcomes("steady")
    assert 0.10 < labels.count("1") / len(labels) < 0.15


def test_scores_in_columns_are_those_of_river_row_by_row(sent: Sent) -> None:
    events = [event for phase in sent.by_phase.values() for event in phase[:200]]
    assert any(event.features["distance_km"] is None for event in events)
    assert any(event.features["merchant_category"] == "crypto" for event in events)
    river = [sent.scenario.model.pipeline.predict_proba_one(event.features)[True] for event in events]
    assert [event.score for event in events] == pytest.approx(river, abs=0.00005 + 1e-9)  # scores are sent with 4 decimals


def test_prediction_is_the_score_against_the_threshold(sent: Sent) -> None:
    assert all((event.score >= 0.5) == (event.prediction == "1") for phase in sent.by_phase.values() for event in phase)


def test_amounts_move_up_with_input_drift_and_stay_there(sent: Sent) -> None:
    amounts = {phase: sent.feature(phase, "amount") for phase in sent.by_phase}
    assert np.mean(amounts["input drift"]) / np.mean(amounts["steady"]) == pytest.approx(1.8, abs=0.1)
    assert stats.ks_2samp(amounts["steady"], amounts["input drift"]).pvalue < 1e-9
    assert stats.ks_2samp(amounts["input drift"], amounts["concept drift"]).pvalue > 0.001


@pytest.mark.parametrize("name", sorted(set(NUMERIC) - {"amount", "distance_km"}))
def test_other_numbers_do_not_drift(sent: Sent, name: str) -> None:
    for phase in ("input drift", "concept drift"):
        assert stats.ks_2samp(sent.feature("steady", name), sent.feature(phase, name)).pvalue > 0.001


def test_unseen_category_and_missing_distance_come_with_input_drift(sent: Sent) -> None:
    def shares(phase: str) -> tuple[float, float]:
        merchants, distances = sent.feature(phase, "merchant_category"), sent.feature(phase, "distance_km")
        return merchants.count("crypto") / len(merchants), distances.count(None) / len(distances)

    assert shares("steady") == (0, 0)
    for phase in ("input drift", "concept drift"):
        np.testing.assert_allclose(shares(phase), (0.07, 0.10), atol=0.015)


def test_phases_follow_their_shares_and_begin_again() -> None:
    scenario = FraudScenario(START_MS, cycle_ms=10_000)
    names = [scenario.phase_at(START_MS + second * 1000).name for second in (0, 3, 4, 6, 7, 9, 10)]
    assert names == ["steady", "steady", "input drift", "input drift", "concept drift", "concept drift", "steady"]


def test_shares_of_phases_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a sum of 1"):
        FraudScenario(START_MS, phases=FraudScenario(START_MS).phases[:2])


def test_label_delay_is_lognormal_around_the_setting() -> None:
    scenario = FraudScenario(START_MS, label_delay_ms=5_000, faults=CLEAN)
    batch = Batch(*(a + b for a, b in zip(run(scenario, 5, 500), run(scenario, 300, 0, tick_ms=1000), strict=True)))
    predicted_ms = {event.prediction_id: event.timestamp for event in distinct(batch.predictions, PredictionEvent)}
    delays_ms = [event.timestamp - predicted_ms[event.prediction_id] for event in distinct(batch.labels, LabelEvent)]
    assert len(delays_ms) == 2_500
    assert np.median(delays_ms) == pytest.approx(5_000, rel=0.05)
    assert stats.kstest(delays_ms, stats.lognorm(s=0.5, scale=5_000).cdf).pvalue > 0.001


def test_labels_are_sent_when_they_are_due() -> None:
    scenario = FraudScenario(START_MS, faults=CLEAN)
    for _ in range(50):
        previous_ms = scenario.now_ms
        batch = scenario.advance(previous_ms + 100, 500)
        times_ms = [event.timestamp for event in distinct(batch.labels, LabelEvent)]
        assert times_ms == sorted(times_ms)
        assert all(previous_ms <= time_ms < scenario.now_ms for time_ms in times_ms)


def test_tally_is_what_was_sent_and_every_event_in_it_keeps_the_contract(sent: Sent) -> None:
    def check(messages: list[Message], count: Count, contract: type[EventT]) -> None:
        well_formed = [message for message in messages if decoded(message, contract)]
        assert len(messages) == count.messages
        assert len({message.key for message in well_formed}) == len(set(well_formed)) == count.distinct
        assert len(well_formed) - count.distinct == count.duplicates
        assert len(messages) - len(well_formed) == count.malformed

    check(sent.batch.predictions, sent.tally.predictions, PredictionEvent)
    check(sent.batch.labels, sent.tally.labels, LabelEvent)
    assert sent.tally.pending == 0
    assert sent.tally.predictions.distinct == 30_000 == sent.tally.labels.distinct + sent.tally.unlabelled


def test_every_kind_of_fault_happens_at_about_its_share(sent: Sent) -> None:
    predictions, labels = sent.tally.predictions, sent.tally.labels
    assert predictions.duplicates / predictions.distinct == pytest.approx(0.002, abs=0.001)
    assert labels.duplicates / labels.distinct == pytest.approx(0.005, abs=0.0015)
    assert predictions.malformed / predictions.distinct == pytest.approx(0.001, abs=0.0006)
    assert labels.malformed / labels.distinct == pytest.approx(0.001, abs=0.0006)
    assert sent.tally.unlabelled / predictions.distinct == pytest.approx(0.02, abs=0.003)
    assert sent.tally.stragglers > 0


def test_balance_holds_while_labels_are_still_pending() -> None:
    scenario = FraudScenario(START_MS)
    run(scenario, 4, 500)
    tally = scenario.tally
    assert tally.pending > 0
    assert tally.predictions.distinct == tally.labels.distinct + tally.pending + tally.unlabelled


def test_clean_stream_has_only_distinct_events_in_order() -> None:
    scenario = FraudScenario(START_MS, faults=CLEAN)
    batch = run(scenario, 10, 200)
    times_ms = [event.timestamp for event in distinct(batch.predictions, PredictionEvent)]
    assert times_ms == sorted(times_ms)
    assert len(times_ms) == len(batch.predictions) == 2_000 == scenario.tally.predictions.messages


def test_disorder_stays_within_its_bound_except_for_the_stragglers() -> None:
    scenario = FraudScenario(START_MS, faults=Faults(straggling=0.01))
    scenario.advance(START_MS + 30_000, 1)
    stragglers = scenario.tally.stragglers
    behind_ms: list[int] = []
    for _ in range(100):
        events = distinct(scenario.advance(scenario.now_ms + 100, 500).predictions, PredictionEvent)
        behind_ms.extend(scenario.now_ms - event.timestamp for event in events)
    late_ms = [ms for ms in behind_ms if ms > 1_100]
    assert 20_000 <= min(late_ms) <= max(late_ms) <= 20_100
    assert len(set(late_ms)) > 1
    assert len(late_ms) >= scenario.tally.stragglers - stragglers > 0
    assert 0.03 < sum(100 < ms <= 1_100 for ms in behind_ms) / len(behind_ms) < 0.06


@pytest.mark.parametrize("tick_ms", [1, 7, 100, 999])
def test_rate_is_kept_whatever_the_tick(tick_ms: int) -> None:
    scenario = FraudScenario(START_MS)
    for _ in range(100):
        scenario.advance(scenario.now_ms + tick_ms, 333)
    assert scenario.tally.predictions.distinct == 333 * 100 * tick_ms // 1000


def test_key_of_every_message_is_its_prediction_id(sent: Sent) -> None:
    for message in sent.batch.predictions:
        event = decoded(message, PredictionEvent)
        assert event is None or message.key == event.prediction_id.encode()
    for message in sent.batch.labels:
        label = decoded(message, LabelEvent)
        assert label is None or message.key == label.prediction_id.encode()


def test_malformed_messages_are_broken_in_four_ways(sent: Sent) -> None:
    broken = [message.value for message in sent.batch.predictions if decoded(message, PredictionEvent) is None]
    not_utf8, not_an_object = (sum(value.startswith(start) for value in broken) for start in (b"\xff", b"["))
    without_time, cut_off = sum(b'"yesterday"' in value for value in broken), sum(value[-1:] not in (b"}", b"]") for value in broken)
    assert min(not_utf8, not_an_object, without_time, cut_off) > 0
    assert not_utf8 + not_an_object + without_time + cut_off == len(broken)


def test_predictions_are_of_a_realistic_size(sent: Sent) -> None:
    sizes = [len(message.value) for message in sent.batch.predictions if decoded(message, PredictionEvent)]
    assert 300 < min(sizes) < max(sizes) < 450


def test_reference_is_steady_traffic_with_outcomes(sent: Sent, tmp_path: Path) -> None:
    sent.scenario.write_reference_data(tmp_path / "reference.jsonl", rows=5_000)
    rows = [orjson.loads(line) for line in (tmp_path / "reference.jsonl").read_bytes().splitlines()]
    assert len(rows) == 5_000
    assert set(rows[0]) == {*sent.by_phase["steady"][0].features, "prediction", "score", "label"}
    assert accuracy_score([row["label"] for row in rows], [row["prediction"] for row in rows]) > 0.92
    for name in NUMERIC:
        assert stats.ks_2samp([row[name] for row in rows], sent.feature("steady", name)).pvalue > 0.001
