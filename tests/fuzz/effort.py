"""How long the fuzz tests look: a few seconds each, or as long as DRIFTSTREAM_FUZZ says.

    DRIFTSTREAM_FUZZ=25 python -m pytest tests/fuzz --timeout=0

tries twenty-five times as many examples. An environment variable rather than a profile of hypothesis: each test has its own number of
examples, in proportion to what one costs.
"""

import os

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("DRIFTSTREAM_FUZZ", "1"))


def examples(n: int) -> settings:
    """The settings of a test that tries `n` examples in an ordinary run."""
    return settings(max_examples=n * EFFORT, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
