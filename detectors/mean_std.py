"""Drift of mean and standard deviation, from moments alone."""

from dataclasses import dataclass

from detectors.moments import Moments


@dataclass(frozen=True, slots=True)
class MeanStdDrift:
    """The mean relative change of mean and standard deviation, and the shift of the mean in standard deviations of the reference."""

    score: float
    mean_shift: float


def mean_std_drift(before: Moments, now: Moments) -> MeanStdDrift:
    """Mean relative change, (|mean - mean_ref| / (|mean_ref| + eps) + |std - std_ref| / (std_ref + eps)) / 2.

    Args:
        before, now: moments of the reference and of the current values; std with divisor n.
    Returns:
        `score` >= 0, unbounded, free of units: eps is 1e-6 of the largest absolute value of the reference (1 if it is all 0). Relative to
        a mean near 0 every change is large, so for centred features look at `mean_shift`, (mean - mean_ref) / max(std_ref, eps), signed.

    >>> mean_std_drift(Moments(10.0, 2.0, 5.0, 15.0), Moments(11.0, 3.0, 5.0, 18.0))
    MeanStdDrift(score=0.29999..., mean_shift=0.5)
    """
    eps = before.floor()
    of_mean = abs(now.mean - before.mean) / (abs(before.mean) + eps)
    of_std = abs(now.std - before.std) / (before.std + eps)
    return MeanStdDrift((of_mean + of_std) / 2, (now.mean - before.mean) / max(before.std, eps))
