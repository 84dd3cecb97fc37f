"""What the parts of a result have in common: scales, and numbers with what is said of them."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Severity = Literal["ok", "warning", "critical", "insufficient_data"]
Status = Literal["healthy", "warning", "degraded", "insufficient_data"]
Ratio = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Timestamp = Annotated[str, Meta(description="RFC 3339, UTC, millisecond precision")]


class Score(Struct, frozen=True, kw_only=True):
    """One judged number. `score` is null below the minimum sample; `threshold` is the one crossed, else the warning one, null if none.

    Some drift methods say more: `p_value` (psi, ks, chi2) if there were no drift; where the threshold is `auto`, `p_adjusted`, the p-value
    adjusted for all scores of the close, and `alpha`, which it must not exceed for an alert, `threshold` then being the least effect that
    matters; `bounds` (ks, wasserstein) that the score of the raw rows, which are not kept, lies in; `raw` (wasserstein) the distance in
    units of the feature; `statistic` (chi2) the chi-square that Cramer's V, the score, was made of; `mean_shift` (mean_std_drift) in
    standard deviations of the reference.
    """

    score: float | None
    threshold: float | None
    severity: Severity
    p_value: Ratio | UnsetType = UNSET
    p_adjusted: Ratio | UnsetType = UNSET
    alpha: Ratio | UnsetType = UNSET
    bounds: tuple[float, float] | UnsetType = UNSET
    raw: float | UnsetType = UNSET
    statistic: float | UnsetType = UNSET
    mean_shift: float | UnsetType = UNSET


class BoundedMetric(Struct, frozen=True, kw_only=True):
    """A metric from the bins of the score; that of the scores themselves, which are not kept, lies within the bounds."""

    value: float
    bounds: tuple[float, float]
