"""Which bins moved. Reads the same counts as the scores and adds no score of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.counts import Counts, shares
from detectors.psi import psi_contributions


@dataclass(frozen=True, slots=True)
class BinShift:
    """One bin that moved: its observed shares, unsmoothed, and its part of the PSI in nats."""

    label: str
    reference: float
    current: float
    contribution: float


def top_bins(reference: Counts, current: Counts, labels: Sequence[str], *, most: int = 3, pseudocount: float = 0.5) -> tuple[BinShift, ...]:
    """The bins that contribute most to `psi`, largest first, ties in bin order; bins that contribute nothing are left out.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges. Not modified.
        labels: n_bins names.
        most: length of the answer at most.
        pseudocount: the one the PSI was computed with; it enters the contributions, not the shares.
    Raises:
        ValueError: as in `psi`, or labels do not fit.

    >>> top_bins(np.array([50, 30, 20]), np.array([50, 20, 30]), ["low", "mid", "high"], most=1)
    (BinShift(label='mid', reference=0.3, current=0.2, contribution=0.039...),)
    """
    assert most >= 0
    contributions = psi_contributions(reference, current, pseudocount=pseudocount)
    if len(labels) != contributions.size:
        raise ValueError(
            f"cannot name bins: len(labels)={len(labels)!r}, expected n_bins={contributions.size!r}; labels come with the reference's edges"
        )
    p, q = shares(reference, current)
    largest = np.argsort(-contributions, kind="stable")[:most]
    return tuple(BinShift(labels[i], float(p[i]), float(q[i]), float(contributions[i])) for i in largest if contributions[i] > 0)
