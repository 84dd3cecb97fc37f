"""The drift of one feature, an output or the label in a window: how its scores are adjusted, judged, reported, and put in words. Pure."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from msgspec import UNSET, UnsetType

from detectors.chi_square import v_of_shares
from detectors.counts import ONE
from detectors.explain import BinShift, categorical_direction, numeric_direction
from detectors.judge import Thresholds, Verdict, judge
from stream.aggregates import Aggregate, Counts, Floats
from stream.alerts import Evidence
from stream.drift import BY_BINS, OF_CATEGORIES, Measured, kind_of, measure_categories
from stream.model import PREDICTIONS, FeatureSlot
from stream.reference import Feature, NumericFeature
from stream.results import AlertKind, BinShare, FeatureDrift
from stream.results_values import Score
from stream.settings_thresholds import Rules
from stream.verdicts import Judged, reported


class Drift(NamedTuple):
    """The scores of one feature in one window, before they are judged, the rows of window and reference, and their shares (2, n_bins).

    `direction` puts these in words. `unseen`: shares of the values that are known to be new.
    """

    kind: AlertKind
    feature: Feature
    rules: Rules
    measured: dict[str, Measured]
    n: int
    m: int
    top: tuple[BinShift, ...]
    pair: Floats
    direction: Callable[..., str]
    unseen: dict[str, float]

    def tested(self) -> list[str]:
        """The methods whose p-values decide about an alert: the threshold is auto, and the samples are large enough."""
        rules = self.rules
        return [
            name
            for name, found in self.measured.items()
            if rules.thresholds[name].alpha is not None and found.testable and found.n >= rules.minimum_sample
        ]


def adjust(drifts: Iterable[Drift]) -> None:
    """Put beside each score that is tested its p-value adjusted for all of these, and the level: Benjamini and Hochberg's procedure.

    With nothing drifting, at least one of a close is then at most alpha with a probability of alpha.
    """
    tested = [(drift, name) for drift in drifts for name in drift.tested()]
    if not tested:
        return
    from scipy.stats import false_discovery_control  # here, as it takes 48 MB, which a worker that never asks for it need not spend

    adjusted = false_discovery_control([drift.measured[name].beside["p_value"] for drift, name in tested]).tolist()
    for (drift, name), p_adjusted in zip(tested, adjusted, strict=True):
        found = drift.measured[name]
        beside = {**found.beside, "p_adjusted": p_adjusted, "alpha": drift.rules.thresholds[name].alpha}
        drift.measured[name] = found._replace(beside=beside)


def judged_drift(drift: Drift, source: Callable[[str, Verdict], str | UnsetType]) -> tuple[FeatureDrift, list[Judged]]:
    """The drift of one feature as it is reported, and what was judged. `source`: which segment the drift by a method comes from."""
    rules = drift.rules
    top = tuple(BinShare(label=b.label, reference=b.reference, current=b.current, contribution=b.contribution) for b in drift.top)
    verdicts = {name: _verdict(found, rules.thresholds[name], rules.minimum_sample) for name, found in drift.measured.items()}
    kind = kind_of(drift.feature)
    drifted = [name for name, verdict in verdicts.items() if verdict.severity in ("warning", "critical")]
    direction = drift.direction(drift.pair) if drifted else ""
    sources = {name: source(name, verdicts[name]) for name in drifted}
    of = next((segment for segment in sources.values() if segment is not UNSET), UNSET)
    scores: dict[str, Score] = {}
    judged = []
    for name, verdict in verdicts.items():
        found = drift.measured[name]
        score = scores[name] = reported(found.score, verdict, {} if verdict.severity == "insufficient_data" else found.beside)
        evidence = Evidence(
            n=drift.n,
            reference_n=drift.m,
            p_value=score.p_value,
            p_adjusted=score.p_adjusted,
            alpha=score.alpha,
            top_bins=top,
            direction=direction,
            unseen=drift.unseen,
            comes_from=sources.get(name, UNSET),
        )
        judged.append(Judged(drift.kind, name, drift.feature.name, score.score, verdict, evidence))
    told = FeatureDrift(
        kind=kind, n=drift.n, reference_n=drift.m, top_bins=top, direction=direction, unseen=drift.unseen, comes_from=of, **scores
    )
    return told, judged


def comparable(method: str, reference: Counts, current: Counts) -> float:
    """The score of a method over bins, or what stands for it where it depends on the number of rows, which a part has fewer of."""
    if method in OF_CATEGORIES:
        return v_of_shares(reference, current)
    return float(BY_BINS[method](reference, current, ONE)[0])


def comparable_of_chi2(reference: Counts, current: Counts) -> float:
    """What `comparable` says in place of each unit of the score of `chi2`, which has drifted."""
    score = measure_categories(reference, current).score
    assert score
    return comparable("chi2", reference, current) / score


def unseen_shares(slot: FeatureSlot, window: Aggregate, pair: Floats) -> dict[str, float]:
    """Shares of the values that are known to be new, most frequent first; none where the other side has counts in their bin, too."""
    counts = window.unseen.get(slot.other)
    if not counts or pair[0, slot.bins - 1]:
        return {}
    n = int(window.counts[PREDICTIONS])
    return {text: count / n for text, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))}


def direction_of(feature: Feature, before: str = "the reference") -> Callable[..., str]:
    """What says in words where a feature went since `before`, from the shares of its coarse bins."""
    if isinstance(feature, NumericFeature):
        return partial(numeric_direction, name=feature.range_namer())
    return partial(categorical_direction, categories=feature.categories, before=before)


def label_direction(pair: Floats, categories: Sequence[str]) -> str:
    """The same of a label, of which none is missing."""
    return categorical_direction(np.pad(pair, ((0, 0), (0, 1))), categories)


def _verdict(found: Measured, thresholds: Thresholds, minimum_sample: int) -> Verdict:
    score = found.score if thresholds.alpha is None or found.testable else None
    return judge(score, found.n, thresholds.scaled(found.scale), minimum_sample, found.beside.get("p_adjusted"))
