"""Fixtures of the tests of the configuration, and both stores for those of the stores."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from stream.settings import Settings, load_settings
from stream.settings_file import ConfigError
from tests.builders import Monitor
from tests.stream.stores import Backend, MemoryBackend, RedisBackend, in_redis

hypothesis.settings.register_profile("driftstream", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("driftstream")


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


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """State for workers to share: in memory, and in a real Redis."""
    if request.param == "memory":
        yield MemoryBackend()
    else:
        with in_redis(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_namespace")) as held:
            yield held


@pytest.fixture
def redis_backend(redis_url: str, redis_namespace: str) -> Iterator[RedisBackend]:
    """State in a real Redis, for what only Redis has."""
    with in_redis(redis_url, redis_namespace) as held:
        yield held


@pytest.fixture
def watch() -> Iterator[Callable[..., Monitor]]:
    """Starts monitors; when the test ends, every message that they sent must be valid by its schema."""
    monitors: list[Monitor] = []

    def watch(*args: Any, **more: Any) -> Monitor:
        monitors.append(Monitor(*args, **more))
        return monitors[-1]

    yield watch
    for monitor in monitors:
        monitor.validate()
