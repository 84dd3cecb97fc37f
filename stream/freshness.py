"""How long each model has been silent, by the clock on the wall: none of its predictions was counted, whatever their own times are.

Every worker notes at its checkpoints which models it counted predictions of, late and repeated ones included; the owner of a model's home
looks at that. So neither the event times of a backlog nor a partition that holds the clock makes a model silent. Time during which nobody
looked, as all workers were down, is no silence: what came meanwhile is still to be read. The notes are in the store, so a restart or a
move of the home neither starts the silence anew nor ends it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from stream.model import Model
from stream.store import Checkpoint, FreshnessStore
from stream.watermark import NO_TIME

_LOOK_EVERY_MS: Final = 1_000
_UNSEEN_MS: Final = 30_000  # longer without a look: nobody was there; a home that moves is looked after again within a few seconds


class Freshness:
    """What this worker notes and sees of the models that have `quality.freshness`; the others cost nothing."""

    def __init__(self, models: Mapping[str, Model], store: FreshnessStore) -> None:
        self._watched = {name for name, model in models.items() if model.settings.freshness_ms is not None}
        self._store, self._looked_ms = store, NO_TIME

    def counted(self, checkpoints: Iterable[Checkpoint], now_ms: int) -> None:
        """These checkpoints were written: predictions of their models have been counted."""
        groups = ((model, group) for step in checkpoints for model, panes in step.panes.items() for group in panes)
        heard = {model for model, group in groups if group.subject == "traffic"} & self._watched
        if heard:
            self._store.hear("counted", dict.fromkeys(heard, now_ms))

    def silent_ms(self, models: Collection[str], now_ms: int) -> dict[str, int]:
        """For how long each of these models has been silent; those that are not watched are left out, and all if it was looked just now."""
        names = sorted(self._watched.intersection(models))
        if not names or 0 <= now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return {}
        self._looked_ms = now_ms
        counted, looked = self._store.heard("counted", names), self._store.heard("looked", names)
        since = {name: _since(counted.get(name), looked.get(name), now_ms) for name in names}
        moved = {name: ms for name, ms in since.items() if ms != counted.get(name)}
        if moved:
            self._store.hear("counted", moved)
        self._store.hear("looked", dict.fromkeys(names, now_ms))
        return {name: max(now_ms - ms, 0) for name, ms in since.items()}


def _since(counted_ms: int | None, looked_ms: int | None, now_ms: int) -> int:
    """Since when a model has been silent: from now on if it is new, and without the time after the last look if nobody was there."""
    if counted_ms is None or looked_ms is None:
        return now_ms if counted_ms is None else counted_ms
    if now_ms - looked_ms < _UNSEEN_MS:
        return counted_ms
    return now_ms - max(looked_ms - counted_ms, 0)
