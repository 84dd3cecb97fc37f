"""The short run of `make chaos` that CI does, and that its parts do what they say."""

from pathlib import Path
from typing import Final

import pytest
import redis

from stream.embedded import RedisServer
from stream.store import Checkpoint, Partitions, Source, UnitId
from stream.store_redis import RedisStore
from tests.chaos.faults import DEFAULT
from tests.chaos.judging import alert_differences
from tests.chaos.proxy import RedisProxy
from tests.chaos.scenario import EMPTIED, Plan, run
from tests.oracle import Family, Key, Monitored, Recomputed, Window
from tests.oracle_alerts import Limits, expected_alerts
from tests.services.topics import wait_until

UNIT = UnitId("predictions", 0)


KEEPING: Final = tuple(fault for fault in DEFAULT if fault != EMPTIED)  # the state, and with it the counters from the first message on
LOSING: Final = (EMPTIED, "killed after a join", "Redis lost its tail, back at once")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "plan", [Plan(7, 1.3, 50_000, KEEPING), Plan(8, 0.4, 20_000, LOSING)], ids=["the state is kept", "the state is lost on the way"]
)
def test_faults_leave_every_count_and_alert_as_the_oracle_has_them(tmp_path: Path, plan: Plan) -> None:
    said: list[str] = []
    verdict = run(plan, tmp_path, said.append)
    assert verdict.passed, "\n".join([*said, *verdict.lines()])
    assert {recovery.fault for recovery in verdict.recoveries} == set(plan.faults)
    assert verdict.ended == []
    assert verdict.judgement is not None
    assert verdict.judgement.predictions >= plan.events
    assert min(verdict.judgement.windows, verdict.judgement.alerts) > 100


def checkpoint(epoch: int, sequence: int) -> Checkpoint:
    return Checkpoint(UNIT, epoch, sequence, sequence, 0, {}, {"consumed": sequence}, {}, [])


def test_proxy_loses_the_answer_to_a_checkpoint_that_redis_has_executed() -> None:
    with RedisServer() as server, RedisProxy(server.url) as proxy:
        direct = RedisStore(server.url, "test", max_delay_ms=1)
        through = RedisStore(proxy.url, "test", max_delay_ms=1)
        for store in (direct, through):
            store.begin(Source("", "", "", Partitions(1, 0)))
        epoch = direct.acquire(UNIT, []).epoch
        assert through.checkpoint([checkpoint(epoch, 1)]) == []
        assert proxy.lost == 0
        proxy.lose_an_answer()
        assert through.checkpoint([checkpoint(epoch, 2)]) == [], "the script is repeated, and says that it was written before"
        assert proxy.lost == 1
        assert direct.view([UNIT])[UNIT].counters == {"consumed": 2}
        through.close_connections()
        direct.close_connections()


def test_proxy_closes_connections_while_redis_is_away() -> None:
    with RedisServer() as server, RedisProxy(server.url) as proxy, redis.Redis.from_url(proxy.url) as client:
        assert client.ping()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        wait_until(client.ping)


def window(pairs: list[tuple[str, str]]) -> Window:
    return Window(predictions=len(pairs), pairs=pairs)


def test_oracle_expects_an_alert_at_each_change_of_severity_and_none_of_too_few_rows() -> None:
    """accuracy: 1.0, 0.8 (warning), one row that is wrong, 0.8, 0.6 (critical), 1.0."""
    right, wrong = ("1", "1"), ("1", "0")
    pairs = [[right] * 5, [right] * 4 + [wrong], [wrong], [right] * 4 + [wrong], [right] * 3 + [wrong] * 2, [right] * 5]
    model = Monitored("m", (Family("w", 1_000, 1_000),), positive="1")
    expected = Recomputed({Key("m", "performance", "1", None, "w", i * 1_000): window(rows) for i, rows in enumerate(pairs)})
    alerts = expected_alerts([model], expected, drift={}, performance={"accuracy": Limits(0.9, 0.7, minimum_sample=5)})
    rule = "m|1||performance||accuracy|w"
    assert list(alerts.values()) == [
        f"{rule} firing warning at 0.8 in the window to 1970-01-01T00:00:02.000Z",
        f"{rule} firing critical at 0.6 in the window to 1970-01-01T00:00:05.000Z",
        f"{rule} resolved critical at 1.0 in the window to 1970-01-01T00:00:06.000Z",
    ]


def test_missing_and_unexpected_alerts_are_told() -> None:
    alert = {"dedup_key": "rule", "status": "firing", "severity": "warning", "value": 0.8, "window": {}}
    published = [{"alert_id": "a", **alert}, {"alert_id": "a", **alert}, {"alert_id": "b", **alert}]
    assert alert_differences(published, {"a": "the first", "b": "the second"}) == []
    missing, unexpected = alert_differences(published, {"a": "the first", "c": "the third"})
    assert missing == "no alert the third"
    assert unexpected.startswith("unexpected alert: rule firing warning at 0.8")
