"""What the drift of a window is compared with where that is not the frozen reference: a period of the model's own traffic before it.

The bins stay those of the reference: a period has counts on them, as a window has. A period ends where its window begins, so they share no
rows, and follows from the window and the settings alone: what is in it is found in panes that are kept for longer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from stream.aggregates import Aggregate
from stream.results import timestamp
from stream.scoring import Scorer
from stream.store import PaneGroup
from stream.windows import WindowSpec

Panes = dict[PaneGroup, Aggregate]
Key = tuple[str, str]  # version and segment


class Period(NamedTuple):
    """Time `[start_ms, end_ms)`, and what it is to a window."""

    kind: str
    start_ms: int
    end_ms: int

    def __str__(self) -> str:
        return f"{self.kind}:{timestamp(self.start_ms)}..{timestamp(self.end_ms)}"

    @classmethod
    def before(cls, start_ms: int, spec: WindowSpec) -> "Period":
        """As long as the window that starts here, and right before it: also of windows that overlap, which share rows with the one before.

        >>> str(Period.before(120_000, WindowSpec("2m/1m", size_ms=120_000, slide_ms=60_000)))
        'previous:1970-01-01T00:00:00.000Z..1970-01-01T00:02:00.000Z'
        """
        return cls("previous", start_ms - spec.size_ms, start_ms)


def merged_groups(panes: Panes, start_ms: int, end_ms: int) -> dict[Key, Aggregate]:
    """What each version and segment comes to in `[start_ms, end_ms)`."""
    covered: dict[Key, list[Aggregate]] = {}
    for group, pane in panes.items():
        if start_ms <= group.start_ms < end_ms:
            covered.setdefault((group.version, group.segment), []).append(pane)
    return {key: Aggregate.merge_all(held) for key, held in covered.items()}


def against(scorers: Sequence[Scorer], keys: Sequence[Key], panes: Panes, period: Period) -> list[Scorer]:
    """The scorers of these versions and segments, each with its own traffic of the period, maybe none, in place of the reference."""
    before = merged_groups(panes, period.start_ms, period.end_ms)
    return [
        scorer.against(before.get(key) or Aggregate.zero(scorer.model.traffic), str(period)) if scorer.model.reference else scorer
        for scorer, key in zip(scorers, keys, strict=True)
    ]
