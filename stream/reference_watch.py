"""References that may change under a running worker: which files they are, whether what is in them is new, and that it can be used.

Of a changed configuration only the models' `reference` and `references` are taken; everything else needs a restart. What cannot be used is
refused, with the reason in the log, and the references before it stay.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stream.model import Model, with_variants
from stream.reference import InvalidReferenceError
from stream.schema import FieldMappingError
from stream.settings import Settings
from stream.settings_file import ConfigError

log = logging.getLogger(__name__)


class ReferenceWatch:
    """The models as their references stand now."""

    def __init__(
        self,
        config: Path,
        load: Callable[[Path], Settings],
        build: Callable[[Settings], dict[str, Model]],
        attempt: Callable[[Settings, Mapping[str, Model]], object],
    ) -> None:
        """`load` reads the configuration, `build` makes its models; what they raise at first goes to the caller.

        `attempt` tries models that have changed before they are taken; those at first are tried by being used.
        """
        self._config, self._load, self._build, self._attempt = config, load, build, attempt
        self.settings = load(config)
        self._named = _named(self.settings)
        self._seen = self._marks()  # before they are read: what changes meanwhile is looked at again
        self.models: Mapping[str, Model] = build(self.settings)
        self._every_s = self.settings.worker.references_every_ms / 1000
        self._looked_s = time.monotonic()

    def changed(self) -> bool:
        """Whether the references are others than before, looked at every `worker.references_every`; the models then have the new ones."""
        if time.monotonic() - self._looked_s < self._every_s:
            return False
        self._looked_s, seen = time.monotonic(), self._marks()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            settings = self._relisted(self._load(self._config))
            self._named = _named(settings)  # also if they cannot be used yet
            self._seen = self._marks() | {self._config: seen[self._config]}
            models = self._build(settings)
            self._attempt(settings, models)
        except (ConfigError, InvalidReferenceError, FieldMappingError, OSError) as error:
            log.error("cannot take the changed references, those before them stay: %s", error)
            return False
        before, after = _ids(self.models), _ids(models)
        self.settings, self.models = settings, models
        for model, version in sorted(before.keys() | after.keys()):
            old, new = before.get((model, version)), after.get((model, version))
            if old != new:
                log.warning("%s, version %s: the reference is %s from now on, not %s", model, version or "(all)", new, old)
        return after != before

    def _relisted(self, found: Settings) -> Settings:
        """The settings that the worker began with, with the lists of references that it finds now."""
        models = {
            name: section.model_copy(
                update={"reference": found.models[name].reference, "references": found.models[name].references}
                if name in found.models
                else {}
            )
            for name, section in self.settings.models.items()
        }
        return self.settings.model_copy(update={"models": models})

    def _marks(self) -> dict[Path, tuple[int, ...] | None]:
        """What tells a file that was written anew: of the configuration and of each reference it names."""
        return {path: _mark(path) for path in (self._config, *self._named)}


def _named(settings: Settings) -> list[Path]:
    """The files of all references."""
    return [path for one in settings.models.values() for path in (one.reference, *one.references.values()) if path is not None]


def _ids(models: Mapping[str, Model]) -> dict[tuple[str, str], str | None]:
    """The reference of each model, and of each version that has its own."""
    return {
        (one.settings.name, one.version or ""): one.reference.reference_id if one.reference else None
        for one in with_variants(models.values())
    }


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
