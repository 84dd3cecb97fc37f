"""What a worker notices of its reference files: contents, not dates; of the configuration only the lists of references."""

import logging
import os
from pathlib import Path

import pytest

from stream.app import build_models, try_models
from stream.reference_watch import ReferenceWatch
from stream.settings import load_settings
from tests.builders import MODEL, categorical, reference

FIRST, SECOND = (reference(categorical("x", ["a"], [n, 100 - n])) for n in (10, 20))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    FIRST.save(tmp_path / "a.json")
    SECOND.save(tmp_path / "b.json")
    return write(tmp_path, "reference: a.json")


def write(folder: Path, model: str, rest: str = "") -> Path:
    path = folder / "driftstream.yaml"
    path.write_text(f"worker: {{references_every: 100ms}}\n{rest}\nmodels: {{{MODEL}: {{classes: [x, y], {model}}}}}\n")
    return path


def watching(config: Path, monkeypatch: pytest.MonkeyPatch) -> ReferenceWatch:
    """A watch for which time has always passed."""
    watch = ReferenceWatch(config, lambda path: load_settings(path, {}), build_models, try_models)
    monkeypatch.setattr(watch, "_every_s", -1.0)
    return watch


def ids(watch: ReferenceWatch) -> dict[str, str]:
    model = watch.models[MODEL]
    return {one.version or "": one.reference.reference_id for one in (model, *model.variants.values()) if one.reference}


def test_new_contents_are_a_change_and_a_new_date_is_none(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching(config, monkeypatch)
    assert not watch.changed()
    os.utime(config.with_name("a.json"), (1, 1))
    assert not watch.changed()
    SECOND.save(config.with_name("a.json"))
    assert watch.changed()
    assert ids(watch) == {"": SECOND.reference_id}
    assert not watch.changed()


def test_the_list_of_references_is_taken_from_the_configuration_and_nothing_else(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching(config, monkeypatch)
    write(config.parent, 'reference: a.json, positive: y, references: {"7": b.json}', "time: {idle_after: 7s}")
    assert watch.changed()
    assert ids(watch) == {"": FIRST.reference_id, "7": SECOND.reference_id}
    assert watch.settings.time.idle_after_ms == 30_000
    assert watch.models[MODEL].settings.positive is None
    FIRST.save(config.with_name("b.json"))
    assert watch.changed()
    assert ids(watch) == {"": FIRST.reference_id, "7": FIRST.reference_id}


@pytest.mark.parametrize("broken", ["gone", "no json", "no yaml"])
def test_what_cannot_be_used_is_refused_once_and_the_old_stays(
    config: Path, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watching(config, monkeypatch)
    held = config.with_name("a.json")
    match broken:
        case "gone":
            held.unlink()
        case "no json":
            held.write_text("{")
        case "no yaml":
            config.write_text("models: [")
    with caplog.at_level(logging.ERROR):
        assert not watch.changed()
        assert not watch.changed()
    assert caplog.text.count("cannot take the changed references") == 1
    assert ids(watch) == {"": FIRST.reference_id}
    write(config.parent, "reference: a.json")
    SECOND.save(held)
    assert watch.changed()
    assert ids(watch) == {"": SECOND.reference_id}


def test_a_file_that_was_named_too_early_is_taken_when_it_comes(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching(config, monkeypatch)
    write(config.parent, 'reference: a.json, references: {"7": c.json}')
    assert not watch.changed()
    assert ids(watch) == {"": FIRST.reference_id}
    SECOND.save(config.with_name("c.json"))
    assert watch.changed()
    assert ids(watch) == {"": FIRST.reference_id, "7": SECOND.reference_id}
