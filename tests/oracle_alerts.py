"""Every alert that must come of the windows that `oracle` has recomputed, by plain code that shares nothing with the product."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.oracle import (
    Key,
    Monitored,
    Recomputed,
    Window,
    keys_of,
    metrics,
    output_drift,
    quality_of,
    reference_counts,
    reference_ratios,
    rfc3339,
    scores,
)


class Limits(NamedTuple):
    """Where a score turns into a warning or critical (None: never), and the rows that it takes to say so."""

    warning: float | None
    critical: float | None
    minimum_sample: int


def expected_alerts(
    models: Sequence[Monitored],
    expected: Recomputed,
    *,
    drift: Mapping[str, Limits],
    performance: Mapping[str, Limits],
    quality: Mapping[str, Limits] | None = None,
    tolerance: float = 1e-9,
) -> dict[str, str]:
    """What every alert id that must be published stands for, without `allowed_lateness`: each window fires once, as revision 0.

    A rule is one metric of one feature in one family of windows of one model, version and segment. It fires on leaving ok and on each
    change of severity, is resolved by ok, and a window with too few rows changes nothing.

    Args:
        drift, performance: the limits of each method and metric that has any; drift is bad when high, performance when low. Drift of
            the outputs is judged like that of a feature.
        quality: likewise of each ratio of a feature, above that of the reference.
    Raises:
        ValueError: a drift score lies so close to a limit that rounding decides.
    """
    by_name = {model.name: model for model in models}
    sizes = {(model.name, family.name): family.size_ms for model in models for family in model.windows}
    severity: dict[str, str] = {}
    alerts: dict[str, str] = {}
    of_one_firing = [key for key in expected.windows if key.subject != "cohort"]
    for key in sorted(of_one_firing, key=lambda key: key.start_ms):  # in one family of windows the ends are in the order of the starts
        model, window = by_name[key.model], expected.windows[key]
        start, end = (rfc3339(at) for at in (key.start_ms, key.start_ms + sizes[key.model, key.window]))
        for kind, feature, metric, score, n in _scored(model, key, window):
            limits = {"data_quality": quality or {}, "performance": performance}.get(kind, drift).get(metric)
            if kind == "data_quality" and limits:
                limits = _beyond_chance(limits, next(f for f in model.features if f["name"] == feature), metric, n)
            if limits is None or score is None or n < limits.minimum_sample:
                continue
            rule = "|".join((key.model, key.version, key.segment or "", kind, feature, metric, key.window))
            before, after = severity.get(rule, "ok"), _severity(kind, score, limits, tolerance)
            severity[rule] = after
            if before != after:
                said = ("resolved", before) if after == "ok" else ("firing", after)
                alerts[_identity(rule, start, end, "0", *said)] = f"{rule} {' '.join(said)} at {score!r} in the window to {end}"
    return alerts


def _scored(model: Monitored, key: Key, window: Window) -> Iterable[tuple[str, str, str, float | None, int]]:
    """Kind, feature, metric, score and number of rows of all that is judged in a window."""
    if window.predictions if key.subject == "traffic" else window.pairs:
        about = "label_drift" if key.subject == "performance" else "prediction_drift"
        for name, (reference, current) in output_drift(model, key, window).items():
            for method, value in scores(reference, current).items():
                yield about, name, method, value, sum(current)
    if key.subject == "performance":
        for metric, value in metrics(model, window.pairs).items():
            yield "performance", "", metric, value, len(window.pairs)
        return
    keys = keys_of(model, key)
    for feature in model.features if window.predictions else ():
        if feature["name"] in keys:
            continue
        reference = reference_counts(feature)
        current = [window.bins[feature["name"]][place] for place in range(len(reference))]
        for method, value in scores(reference, current).items():
            yield "data_drift", feature["name"], method, value, window.predictions
        for metric, value in quality_of(feature, window.quality[feature["name"]], window.predictions).items():
            yield "data_quality", feature["name"], metric, value, window.predictions


def _beyond_chance(limits: Limits, feature: Mapping[str, Any], metric: str, n: int) -> Limits:
    """The limits of a ratio: that of the reference, and three standard errors of the two, on top. None is more than all."""
    kind = {"missing_ratio": "missing", "type_violation_ratio": "invalid", "unseen_ratio": "unseen"}[metric]
    base, rows = reference_ratios(feature)[kind], sum(feature["counts"]) + feature["missing"]
    chance = 3 * math.sqrt(base * (1 - base) * (1 / n + 1 / rows))
    most = 1.0 if (1 - base) * n >= 10 else math.inf
    warning, critical = (None if limit is None else min(limit + base + chance, most) for limit in limits[:2])
    return Limits(warning, critical, limits.minimum_sample)


def _severity(kind: str, score: float, limits: Limits, tolerance: float) -> str:
    for severity, limit in (("critical", limits.critical), ("warning", limits.warning)):
        if limit is None:
            continue
        share = kind == "data_quality" and score == limit  # of whole rows, one division: rounded alike wherever it is done
        if kind != "performance" and not share and math.isclose(score, limit, rel_tol=0, abs_tol=tolerance):
            raise ValueError(
                f"cannot tell the severity of score={score!r}: it is at the limit {limit!r}, expected more than {tolerance} beside it"
            )
        if score < limit if kind == "performance" else score >= limit:
            return severity
    return "ok"


def _identity(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
