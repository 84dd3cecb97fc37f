"""Windows by the time of the predictions: which there are, and how they are revised as labels come. Off until a level names windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Annotated

from pydantic import Field

from stream.settings_values import KeyPath, Section, duration, duration_text, number
from stream.settings_windows import PANES_MAX, AnyWindows, WindowSection
from stream.windows import WindowSpec, pane_length


class CohortSection(Section):
    """Those of every model that says nothing else."""

    windows: AnyWindows = ()
    revise_every_ms: Annotated[int, duration("1s")] = Field(default=600_000, alias="revise_every")
    minimum_coverage: Annotated[float, number(1)] = 0.5


class ModelCohortSection(Section):
    """What a model does not name it inherits."""

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


def resolve_cohorts(inherited: CohortSection, own: ModelCohortSection, max_delay_ms: int) -> Cohorts | None:
    """What they come to; None without windows."""
    windows = inherited.windows if own.windows is None else own.windows
    if not windows:
        return None
    specs = tuple(window.spec() for window in windows)
    return Cohorts(
        windows=specs,
        pane_ms=pane_length(specs),
        revise_every_ms=own.revise_every_ms or inherited.revise_every_ms,
        minimum_coverage=own.minimum_coverage or inherited.minimum_coverage,
        max_delay_ms=max_delay_ms,
    )


def too_many_panes(windows: Sequence[WindowSection], max_delay_ms: int) -> Iterator[tuple[KeyPath, str]]:
    """Key path and rule that is broken where more panes would be open at once than a close should read."""
    specs = [window.spec() for window in windows]
    pane_ms = pane_length(specs)
    if specs and max_delay_ms + max(spec.size_ms for spec in specs) > PANES_MAX * pane_ms:
        within = f"within labels.max_delay, {duration_text(max_delay_ms)}"
        yield ("windows",), f"at most {PANES_MAX} panes of {duration_text(pane_ms)} {within}; take longer windows"
