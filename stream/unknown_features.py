"""Features that predictions have and no reference of their model: a hint that the schema has changed.

The decoder skips what nobody asked for, which is why it is fast. So one message in `EVERY` is read again, as a whole. Nothing is scored
or judged by what is found: it depends on which messages these are, and is forgotten with the worker.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from stream.model import Model, with_variants

log = logging.getLogger(__name__)

EVERY: Final = 1_021  # offsets; a prime, so that models which take turns in a partition are all looked at
NAMES_MAX: Final = 20  # of a model, lest names that differ from event to event pile up
_NAME_SHOWN: Final = 100  # characters of a name


def looked_at(offsets: npt.NDArray[np.int64]) -> list[int]:
    """Positions of the offsets whose messages are read as a whole.

    >>> looked_at(np.arange(2_000, 4_000))
    [42, 1063]
    """
    return np.flatnonzero(offsets % EVERY == 0).tolist()


class UnknownFeatures:
    """What this worker has found. A model without a reference knows no features, and is left alone."""

    def __init__(self, models: Mapping[str, Model], path: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> None:
        """`path`: where the object with the features stands in an event; `others`: paths of fields that are no features."""
        self._path = path
        beside = {other[len(path)] for other in others if len(other) > len(path) and other[: len(path)] == path}
        names = {name: {slot.feature.name for one in with_variants([model]) for slot in one.slots} for name, model in models.items()}
        self._known = {model: known | beside for model, known in names.items() if known}
        self._found: dict[str, set[str]] = {model: set() for model in self._known}

    def look(self, model: str, event: bytes) -> int:
        """How many names of features in this event of the model are new, most `NAMES_MAX` in all; they are logged, this once."""
        if model not in self._known or len(self._found[model]) >= NAMES_MAX:
            return 0
        found = self._found[model]
        names = {name[:_NAME_SHOWN] for name in self._names(event) - self._known[model]} - found
        new = sorted(names)[: NAMES_MAX - len(found)]
        if new:
            found.update(new)
            log.warning("model %s: predictions have features that its reference does not have: %s", model, ", ".join(map(repr, new)))
        return len(new)

    def _names(self, event: bytes) -> set[str]:
        try:
            at = orjson.loads(event)
        except orjson.JSONDecodeError:  # the decoder takes some that this does not: it skips texts without looking at their bytes
            return set()
        for key in self._path:
            at = at.get(key) if isinstance(at, dict) else None
        return set(at) if isinstance(at, dict) else set()
