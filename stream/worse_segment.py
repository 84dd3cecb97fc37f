"""Which segment made the performance of all traffic bad: without it the rest is not. Pure; no metric is defined here.

The rest is found by subtraction, as the other segments need not add up to it: an event may be in none of them, or in several.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from stream.aggregates import M2, MEAN, Aggregate, Floats, N
from stream.model import LABELS
from stream.verdicts import Judged

Measure = Callable[[str, Aggregate], float | None]  # a metric of an outcomes aggregate, by name; None where it is undefined
_AS_GOOD: Final = 0.2  # of how bad all is: what chance leaves is that far apart, and less than a fifth of what is bad is no matter
_UNBOUNDED: Final = ("lift", "top_decile_lift")  # of all others that are bad when low the best is 1


def attributed(
    judged: Sequence[Judged], window: Aggregate, segments: Mapping[str, Aggregate], measure: Measure, minimum_sample: int
) -> list[Judged]:
    """What was judged of a window, with the segment that it comes from in the evidence where it is bad and there is one.

    `segments`: parts of the window, by name.
    """
    found = []
    for one in judged:
        bad = segments and one.verdict.severity in ("warning", "critical")
        name = worse_segment(one, window, segments, measure, minimum_sample) if bad else None
        found.append(one if name is None else one._replace(evidence=replace(one.evidence, comes_from=name)))
    return found


def worse_segment(
    judged: Judged, window: Aggregate, segments: Mapping[str, Aggregate], measure: Measure, minimum_sample: int
) -> str | None:
    """The segment without which the rest is not past the threshold, and at most half as bad.

    How bad is by how much it is worse than the baseline, without one than the best there is. The half keeps chance out: a metric just past
    its threshold is back whatever is taken away. Of several it is the smallest without which the rest is as good as without any of them,
    but for a fifth of how bad all is: without a part of what is bad the rest may be half as bad. None if there is none, so also if it is
    bad everywhere, or too few labels would be left.
    """
    scale, whole = _Scale.of(judged), int(window.counts[LABELS])
    if scale is None:
        return None
    bad, found = scale.badness(measure(scale.metric, window)), list[tuple[float, int, str]]()
    limit = min(scale.threshold, bad / 2)
    for name, part in segments.items():
        n = int(part.counts[LABELS])
        if 0 < n <= whole - max(minimum_sample, 1) and (rest := scale.badness(measure(scale.metric, without(window, part)))) < limit:
            found.append((rest, n, name))
    best = max(min(found)[0], 0.0) if found else 0.0
    return min(((n, name) for rest, n, name in found if rest <= best + bad * _AS_GOOD), default=(0, None))[1]


class _Scale(NamedTuple):
    """How bad a value of the metric is, per * (best - value), and from where on it is past the threshold."""

    metric: str
    best: float
    per: float
    threshold: float

    @classmethod
    def of(cls, judged: Judged) -> "_Scale | None":
        """That of what is judged: a drop, a metric that is bad when low, or an error; None if nothing is known to be good."""
        threshold, name = judged.verdict.threshold, judged.metric
        assert threshold is not None  # it was crossed
        if name.endswith(("_drop", "_rise")):
            assert judged.baseline is not UNSET
            metric, sign = name[: -len("_drop")], 1.0 if name.endswith("_drop") else -1.0
            of = judged.baseline if metric.endswith("_relative") else 1.0
            return cls(metric.removesuffix("_relative"), judged.baseline, sign / of, threshold)
        if not judged.below:
            return cls(name, 0.0, -1.0, threshold)
        if judged.baseline is UNSET and name in _UNBOUNDED:
            return None
        best = 1.0 if judged.baseline is UNSET else judged.baseline
        return cls(name, best, 1.0, best - threshold)

    def badness(self, value: float | None) -> float:
        """Infinite where the metric is undefined: that is not good again."""
        return np.inf if value is None else self.per * (self.best - value)


def without(window: Aggregate, part: Aggregate) -> Aggregate:
    """The window less a part of it, of which no more is taken than there is (`Model.floored`); its extremes are those of all."""
    return Aggregate(window.layout, np.maximum(window.counts - part.counts, 0), _rest(window.moments, part.moments))


def _rest(moments: Floats, part: Floats) -> Floats:
    """The update of `aggregates.merge_moments`, backwards."""
    rest, of, n = moments.copy(), part[:, N], moments[:, N] - part[:, N]
    rest[:, N] = n
    rest[:, MEAN] += (moments[:, MEAN] - part[:, MEAN]) * of / np.maximum(n, 1)
    rest[:, M2] -= part[:, M2] + (part[:, MEAN] - rest[:, MEAN]) ** 2 * of * n / np.maximum(moments[:, N], 1)
    rest[:, M2] = np.where(n > 0, np.maximum(rest[:, M2], 0.0), 0.0)
    return rest
