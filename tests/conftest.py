"""Services for the tests. Ports are drawn free, data lives in temporary folders, and what a fixture starts it ends."""

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from stream.embedded import RedisServer
from tests.services.kafka import kafka_broker
from tests.services.missing import skip_or_fail


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with skip_or_fail():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with skip_or_fail():
        return (yield)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a real broker that all tests share; see tests/services/kafka.py for where it comes from."""
    with kafka_broker() as address:
        yield address


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a real Redis that all tests share: DRIFTSTREAM_TEST_REDIS, or a server of our own."""
    if url := os.environ.get("DRIFTSTREAM_TEST_REDIS"):
        yield url
    else:
        with RedisServer() as server:
            yield server.url


@pytest.fixture
def redis_namespace(redis_url: str) -> Iterator[str]:
    """A string for one test to put into the names of its keys; the keys go when the test ends."""
    namespace = f"test-{uuid.uuid4().hex}"
    yield namespace
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"*{namespace}*", count=1000):
            client.unlink(key)


@pytest.fixture
def topic_names() -> Callable[[str], str]:
    """Gives topic names that no other test uses: topic_names("labels") is the same name whenever one test asks."""
    suffix = uuid.uuid4().hex
    return lambda name: f"{name}-{suffix}"
