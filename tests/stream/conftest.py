"""Fixtures of the tests of the configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream.settings import Settings, load_settings
from stream.settings_file import ConfigError


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """The settings in a text, with these variables set."""

    def load(text: str | bytes, **environ: str) -> Settings:
        path = tmp_path / "driftstream.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_settings(path, environ)

    return load


@pytest.fixture
def problems(load: Callable[..., Settings], tmp_path: Path) -> Callable[..., list[str]]:
    """What is wrong with a text, a line for each problem without the file's name, which is checked."""

    def problems(text: str | bytes, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        file = tmp_path / "driftstream.yaml"
        assert caught.value.file == file
        lines = str(caught.value).split("\n")
        assert all(line.startswith(f"{file}: ") for line in lines)
        assert caught.value.__context__ is None  # pydantic's error would print the values
        return [line.removeprefix(f"{file}: ") for line in lines]

    return problems
