"""What the scenario sends, for the tests of it and of its publishing."""

from stream.simulate import Batch, FraudScenario

START_MS = 1_767_225_600_000


def run(scenario: FraudScenario, seconds: int, rate: int, tick_ms: int = 100) -> Batch:
    """All that a scenario sends in so many seconds."""
    everything = Batch([], [])
    for _ in range(seconds * 1000 // tick_ms):
        batch = scenario.advance(scenario.now_ms + tick_ms, rate)
        everything.predictions.extend(batch.predictions)
        everything.labels.extend(batch.labels)
    return everything
