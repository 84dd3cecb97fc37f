"""From scores to verdicts, and from verdicts to alert transitions. Pure: state and time come in and go out, nothing is kept.

No score is computed here and no alert is sent. All that an alert remembers between windows stands in `AlertState`, so rules that look at
more than one window have their place in `transition`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Severity = Literal["ok", "warning", "critical", "insufficient_data"]
Transition = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a score turns into a warning or critical; None: no such level.

    "above" (drift: high is bad) crosses at score >= threshold; "below" (performance: low is bad) at score < threshold. A threshold
    so belongs to its upper side: drift of 0.2 reaches 0.2, an accuracy of 0.9 keeps 0.9.

    With `alpha` no threshold is crossed by chance: only where also the adjusted p-value of the score is at most alpha. `warning` is then
    the least effect that matters, however sure it is.
    """

    warning: float | None
    critical: float | None
    direction: Literal["above", "below"]
    alpha: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError unless thresholds are finite and critical is at least as extreme as warning."""
        if self.direction not in ("above", "below"):
            raise ValueError(f"cannot set thresholds: direction={self.direction!r}, expected 'above' or 'below'; drift is 'above'")
        for name, value in (("warning", self.warning), ("critical", self.critical)):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"cannot set thresholds: {name}={value!r}, expected a finite number; None switches the level off")
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise ValueError(f"cannot set thresholds: alpha={self.alpha!r}, expected over 0 and below 1; None tests nothing")
        if self.warning is None or self.critical is None:
            return
        if self.critical < self.warning if self.direction == "above" else self.critical > self.warning:
            raise ValueError(
                f"cannot set thresholds: warning={self.warning!r} and critical={self.critical!r}, expected critical "
                f"{'>=' if self.direction == 'above' else '<='} warning for direction {self.direction!r}; they may be swapped"
            )

    def scaled(self, scale: float) -> "Thresholds":
        """These, with the least effect that matters times `scale`, in (0, 1], where chance is tested; else as they are."""
        return self if self.alpha is None or self.warning is None else replace(self, warning=self.warning * scale)

    def crossed(self, threshold: float | None, score: float) -> bool:
        """Whether `score` is on the bad side of `threshold`, one of this object's two."""
        if threshold is None:
            return False
        return score >= threshold if self.direction == "above" else score < threshold


class Verdict(NamedTuple):
    """A judged score. `threshold` is the one crossed, else the warning one, else the critical one, else None."""

    severity: Severity
    threshold: float | None


def judge(score: float | None, n: int, thresholds: Thresholds, minimum_sample: int, p_adjusted: float | None = None) -> Verdict:
    """The verdict on a score of `n` rows: "insufficient_data" if the score is undefined (None) or n < minimum_sample, else by threshold.

    `p_adjusted` is the p-value of the score, adjusted for all that are judged together; without one, `alpha` is never met.

    >>> judge(0.27, 500, Thresholds(warning=0.1, critical=0.25, direction="above"), minimum_sample=200)
    Verdict(severity='critical', threshold=0.25)
    >>> judge(0.27, 150, Thresholds(warning=0.1, critical=0.25, direction="above"), minimum_sample=200)
    Verdict(severity='insufficient_data', threshold=0.1)
    >>> judge(0.27, 500, Thresholds(0.04, 0.25, "above", alpha=0.001), minimum_sample=200, p_adjusted=0.02)
    Verdict(severity='ok', threshold=0.04)
    """
    assert score is None or not math.isnan(score)  # NaN would compare as ok
    uncrossed = thresholds.critical if thresholds.warning is None else thresholds.warning
    if score is None or n < minimum_sample:
        return Verdict("insufficient_data", uncrossed)
    if thresholds.alpha is not None and (p_adjusted is None or p_adjusted > thresholds.alpha):
        return Verdict("ok", uncrossed)
    if uncrossed is None:
        return Verdict("ok", None)
    if thresholds.crossed(thresholds.critical, score):
        return Verdict("critical", thresholds.critical)
    if thresholds.crossed(thresholds.warning, score):
        return Verdict("warning", thresholds.warning)
    return Verdict("ok", uncrossed)


@dataclass(frozen=True, slots=True)
class AlertState:
    """What one rule remembers between windows. `severity` and `first_fired_at_ms` are set while it fires, and only then."""

    status: Literal["ok", "firing"] = "ok"
    severity: Literal["warning", "critical"] | None = None
    first_fired_at_ms: int | None = None

    def __post_init__(self) -> None:
        assert (self.status == "firing") == (self.severity is not None) == (self.first_fired_at_ms is not None)


def transition(state: AlertState, verdict: Verdict, now_ms: int) -> tuple[AlertState, Transition | None]:
    """The state after a verdict, and what to announce, if anything.

    It fires on leaving ok and on every change of severity, up or down, `first_fired_at_ms` staying that of the first; it resolves on ok.
    "insufficient_data" changes nothing: silence proves neither health nor harm. A resolved alert's severity and first firing
    are those of the state passed in.

    >>> transition(AlertState(), Verdict("warning", 0.1), 1000)
    (AlertState(status='firing', severity='warning', first_fired_at_ms=1000), 'firing')
    """
    severity = verdict.severity
    if severity == "insufficient_data" or severity == (state.severity or "ok"):
        return state, None
    if severity == "ok":
        return AlertState(), "resolved"
    first_fired_at_ms = now_ms if state.first_fired_at_ms is None else state.first_fired_at_ms
    return AlertState("firing", severity, first_fired_at_ms), "firing"
