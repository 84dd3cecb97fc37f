"""Windows by the time of the predictions: which there are, and how they are revised as labels come. Off until a level names windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Annotated

from pydantic import Field

from stream.settings_values import KeyPath, Section, duration, duration_text, number
from stream.settings_windows import PANES_MAX, AnyWindows
from stream.windows import WindowSpec, pane_length

REVISE_EVERY_MS = 600_000
MINIMUM_COVERAGE = 0.5


class CohortSection(Section):
    """What one level of the tree says; what it does not name it inherits."""

    windows: AnyWindows | None = None
    revise_every_ms: Annotated[int, duration("1s")] | None = Field(default=None, alias="revise_every")
    minimum_coverage: Annotated[float, number(1)] | None = None


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Effective values. A window is provisional at its end, final `max_delay_ms` later, and revised no more often than `revise_every_ms`.

    `minimum_coverage`: the share of its predictions that must have labels before it is judged.
    """

    windows: tuple[WindowSpec, ...]
    pane_ms: int
    revise_every_ms: int
    minimum_coverage: float
    max_delay_ms: int

    @property
    def step_ms(self) -> int:
        """How often it is looked what is due."""
        return gcd(self.pane_ms, self.revise_every_ms)

    def revision(self, end_ms: int, fired_ms: int) -> int:
        """The number of the revision of a window that fires when the clock has passed `fired_ms`: how many there could have been by then.

        It follows from the two times alone, so that no count of what was said need be kept.
        """
        return fired_ms // self.revise_every_ms - end_ms // self.revise_every_ms


def resolve_cohorts(levels: Sequence[CohortSection], max_delay_ms: int) -> Cohorts | None:
    """What `levels`, the most general first, come to; None without windows."""
    windows, every, coverage = None, REVISE_EVERY_MS, MINIMUM_COVERAGE
    for level in levels:
        windows = windows if level.windows is None else level.windows
        every = every if level.revise_every_ms is None else level.revise_every_ms
        coverage = coverage if level.minimum_coverage is None else level.minimum_coverage
    if not windows:
        return None
    specs = tuple(window.spec() for window in windows)
    return Cohorts(specs, pane_length(specs), every, coverage, max_delay_ms)


def too_many_panes(levels: Sequence[CohortSection], max_delay_ms: int) -> Iterator[tuple[KeyPath, str]]:
    """Key path and rule that is broken where more panes would be open at once than a close should read."""
    cohorts = resolve_cohorts(levels, max_delay_ms)
    if cohorts and max_delay_ms + max(spec.size_ms for spec in cohorts.windows) > PANES_MAX * cohorts.pane_ms:
        pane = duration_text(cohorts.pane_ms)
        yield (
            ("windows",),
            f"at most {PANES_MAX} panes of {pane} within labels.max_delay, {duration_text(max_delay_ms)}; take longer windows",
        )
