"""What a window comes to for each version and segment: all that its result says of the merged counts, and what was judged. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from stream.aggregates import Aggregate, Counts
from stream.baselines import Key
from stream.results import Counts as EventCounts
from stream.results import FeatureDrift, FeatureQuality, Summary, TrafficMetrics
from stream.results_performance import Business, EstimatedPerformance, Performance, RegressionPerformance
from stream.scoring import Close, Scorer, Traffic, close_performance, close_traffic
from stream.verdicts import Attribution, Judged

Groups = Mapping[Key, Aggregate]  # by version and segment, which are taken in their order


class Found(NamedTuple):
    """What a window comes to for one version and segment."""

    counts: EventCounts
    reference_id: str | None
    judged: list[Judged]
    outputs: dict[str, FeatureDrift]
    drift: dict[str, FeatureDrift] | UnsetType = UNSET
    quality: dict[str, FeatureQuality] | UnsetType = UNSET
    summary: Summary | UnsetType = UNSET
    traffic: TrafficMetrics | UnsetType = UNSET
    estimated: EstimatedPerformance | UnsetType = UNSET
    performance: Performance | UnsetType = UNSET
    regression: RegressionPerformance | UnsetType = UNSET
    business: Business | UnsetType = UNSET


class Closed(NamedTuple):
    """A window of a model that closes, of this length; `scorers` are those of the versions and segments."""

    groups: Groups
    scorers: Sequence[Scorer]
    size_ms: int


def found_in_traffic(closed: Sequence[Closed]) -> list[list[Found]]:
    """Of traffic windows, of any models."""
    closes = [Close(one.scorers, [one.groups[key] for key in sorted(one.groups)], _parts(one.groups)) for one in closed]
    return [_found(close, told, one.size_ms) for close, told, one in zip(closes, close_traffic(closes), closed, strict=True)]


def _found(close: Close, traffic: Sequence[Traffic], size_ms: int) -> list[Found]:
    found = []
    for scorer, window, told in zip(close.scorers, close.windows, traffic, strict=True):
        summary, more = scorer.quality.summary(window, told.drift, told.quality)
        estimated, expected = scorer.estimates.of(window.counts)
        busy, of_traffic = scorer.busy.metrics(window, size_ms)
        found.append(
            Found(
                counts=told.counts,
                reference_id=scorer.compared_with,
                judged=[*told.judged, *more, *of_traffic, *expected],
                outputs=told.outputs,
                drift=told.drift,
                quality=told.quality,
                summary=summary,
                traffic=busy,
                estimated=estimated,
            )
        )
    return found


def found_in_outcomes(groups: Groups, scorers: Sequence[Scorer], by: Attribution) -> list[Found]:
    """Of a performance window."""
    told = close_performance(scorers, [groups[key] for key in sorted(groups)], _parts(groups), by)
    return [
        Found(
            counts=one.counts,
            reference_id=scorer.compared_with,
            judged=one.judged,
            outputs=one.outputs,
            estimated=UNSET if by.by == "label_time" else scorer.estimates.of_cohort(groups[key].counts),
            performance=one.performance if isinstance(one.performance, Performance) else UNSET,
            regression=UNSET if isinstance(one.performance, Performance) else one.performance,
        )
        for key, scorer, one in zip(sorted(groups), scorers, told, strict=True)
    ]


def with_business(
    found: Sequence[Found], groups: Groups, scorers: Sequence[Scorer], by: Attribution, span: tuple[int, int], days: Mapping[Key, Counts]
) -> list[Found]:
    """What a performance window comes to, from its start to its end, with the money that it was worth where outcomes have prices.

    `days`: the outcomes of its day so far, of those for which they are known.
    """
    priced = []
    for key, scorer, one in zip(sorted(groups), scorers, found, strict=True):
        if scorer.money is not None:
            business, judged = scorer.money.business(groups[key].counts, span, days.get(key), by, segment=bool(key[1]))
            one = one._replace(business=business, judged=[*one.judged, *judged])
        priced.append(one)
    return priced


def _parts(groups: Groups) -> list[dict[str, Aggregate]]:
    """The segments that each consists of: of all traffic of a version those of that version, of a segment none."""
    keys = sorted(groups)
    return [{} if segment else {name: groups[of, name] for of, name in keys if of == version and name} for version, segment in keys]
