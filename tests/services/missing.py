"""What becomes of a test whose service this machine cannot offer: skipped on a laptop, failed in CI, where a skip would go unnoticed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class MissingService(Exception):
    """Says what is missing and how to provide it."""


@contextmanager
def skip_or_fail() -> Iterator[None]:
    """Turns MissingService into a skip, or into a failure when the environment says CI=true."""
    try:
        yield
        return
    except MissingService as missing:
        reason = str(missing)
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
