"""Windows by the time of the predictions, as labels come in: which fire when, and which of them alerts are about.

A window is provisional when the clock has passed its end, is revised at most once in `revise_every` and only if its counts have changed,
and is final `labels.max_delay` after its end. Until then the parts of its panes stay where they are counted; the home keeps what it said
last.
"""

from typing import NamedTuple

import numpy as np

from stream.baselines import Key, Panes
from stream.model import LABELS, PREDICTIONS
from stream.settings_cohorts import Cohorts
from stream.verdicts import Attribution
from stream.windows import WindowSpec, windows_ending


class Due(NamedTuple):
    """A window that fires now."""

    end_ms: int
    spec: WindowSpec
    revision: int
    final: bool


class Revised(NamedTuple):
    """What one look at the cohorts of a model comes to: the windows that fire, by end, and the panes to be kept as what was said."""

    due: list[Due]
    said: Panes


def revise(cohorts: Cohorts, panes: Panes, before: Panes, since: tuple[int, int], until: tuple[int, int]) -> Revised:
    """Which windows fire.

    Args:
        panes: as they are now. before: as they were when they were last said.
        since, until: up to when windows were, and are, closed and fired.
    """
    (was_closed, was_fired), (closed, fired) = since, until
    starts = {group.start_ms for group in panes}
    again = fired // cohorts.revise_every_ms > was_fired // cohorts.revise_every_ms
    changed = {group: pane for group, pane in panes.items() if group not in before or not np.array_equal(pane.counts, before[group].counts)}
    stirred = {group.start_ms for group in changed}
    due = [
        Due(end, spec, cohorts.revision(end, end + cohorts.max_delay_ms) + 1, final=True)
        for end, spec in windows_ending(cohorts.windows, starts, was_closed, closed)
    ]
    for end, spec in windows_ending(cohorts.windows, starts, closed, fired):
        if end > was_fired or (again and any(end - spec.size_ms <= start < end for start in stirred)):
            due.append(Due(end, spec, cohorts.revision(end, fired), final=False))
    said = {group: pane for group, pane in changed.items() if again or group.start_ms + cohorts.pane_ms > was_fired}
    return Revised(due, said)


def attribution(cohorts: Cohorts, end_ms: int, clock_ms: int) -> Attribution:
    """How the outcomes of a window are judged; its maturity is how much of the time in which labels may come has passed since its end."""
    maturity = min(max((clock_ms - end_ms) / cohorts.max_delay_ms, 0.0), 1.0)
    return Attribution("prediction_time", cohorts.minimum_coverage, maturity)


def newest_judged(spec: WindowSpec, panes: Panes, until_ms: int, by: Attribution) -> dict[Key, int]:
    """Of each version and segment the end of the newest window of a family, ended by `until_ms`, that has labels enough to be judged.

    Alerts are about that one: revisions of older windows must not resolve or raise again what a newer one says.
    """
    held: dict[Key, dict[int, tuple[int, int]]] = {}
    for group, pane in panes.items():
        counted = held.setdefault((group.version, group.segment), {})
        counted[group.start_ms] = int(pane.counts[LABELS]), int(pane.counts[PREDICTIONS])
    found: dict[Key, int] = {}
    for key, counted in held.items():
        for end, _ in reversed(windows_ending([spec], counted, min(counted), until_ms)):
            inside = [both for start, both in counted.items() if end - spec.size_ms <= start < end]
            if by.judgeable(*map(sum, zip(*inside, strict=True))):
                found[key] = end
                break
    return found
