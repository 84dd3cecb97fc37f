"""The end of a run: everything counted and delivered, and what came out compared with what the oracle says had to."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis

from stream.balance import Balance
from stream.store import UnitId
from tests.chaos.crew import Crew
from tests.chaos.observer import wrong_sheets
from tests.oracle import Recomputed
from tests.services.fraud import MAX_DELAY_MS, TIMING, FraudLoad, is_readable
from tests.services.topics import wait_until

SETTLE_S: Final = 240.0
WHEN: Final = ("closed_at", "watermark", "emitted_at", "first_fired_at")  # what a message that is made again may say differently
MOST: Final = 20  # differences of one kind that are told


@dataclass(frozen=True)
class Judgement:
    """How much was compared, what differed, and what the load did not have that a proof needs."""

    predictions: int
    labels: int
    windows: int
    alerts: int
    differences: list[str]
    lacking: list[str]


def settle(load: FraudLoad, crew: Crew) -> None:
    """Send the last events; returns when all is counted, closed and delivered, and the workers have ended in order."""
    load.close()
    ends: Mapping[UnitId, int | None] = {unit: len(records) + 1 for unit, records in load.sent.items()}
    last_ms = load.scenario.now_ms + MAX_DELAY_MS // 2 - TIMING.out_of_orderness_ms

    def done() -> bool:
        try:
            views = load.view()
            with load.store() as store:
                clock = store.clock()
        except redis.RedisError:
            return False
        counted = {unit: view.next_offset for unit, view in views.items()} == ends
        return counted and min(clock) == last_ms and not any(view.outbox for view in views.values())

    wait_until(done, within_s=SETTLE_S, otherwise=lambda: f"{_standing(load, ends)}\n{crew.logs()}")
    crew.scale(0)  # the last thing that a worker does is to close and to deliver


def _standing(load: FraudLoad, ends: Mapping[UnitId, int | None]) -> str:
    views = load.view()
    at = ", ".join(f"{unit} at {view.next_offset} of {ends[unit]}" for unit, view in views.items())
    return f"not everything was counted and delivered: {at}; in the outboxes {sum(view.outbox for view in views.values())}"


def judge(load: FraudLoad, *, emptied: bool = False) -> Judgement:
    """Everything that was published and counted against the oracle.

    Args:
        emptied: Redis was, so the counters begin anew in the middle, and a late label may be noted in two windows.
    """
    expected = load.expected()
    alerts = load.expected_alerts(expected)
    balance = load.balance()
    differences = load.mismatches(expected, late_labels=not emptied)
    differences += _different_copies(load, "results", "result_id") + _different_copies(load, "alerts", "alert_id")
    differences += alert_differences((record.json for record in load.read("alerts")), alerts)
    differences += _sent_aside(load, expected)
    differences += wrong_sheets(balance)
    differences += [] if emptied else _balance(load, expected, balance)
    differences += [f"outbox of {unit}: {view.outbox} messages are not delivered" for unit, view in load.view().items() if view.outbox]
    sides = Counter(dict.fromkeys(("predictions", "labels"), 0))
    for unit, records in load.sent.items():
        sides[unit.side] += len(records)
    return Judgement(sides["predictions"], sides["labels"], len(expected.windows), len(alerts), differences, _lacking(load, expected))


def _different_copies(load: FraudLoad, topic: str, id_: str) -> list[str]:
    """Messages that came more than once under one id, and said something else; what is known by a revision may differ after a loss."""
    first: dict[str, Any] = {}
    found = []
    for record in load.read(topic):
        said = {name: value for name, value in record.json.items() if name not in WHEN}
        if said.get("by", said.get("performance", {}).get("by")) == "prediction_time":
            continue
        if said.get("subject") == "performance":  # a late label is noted where time stands when it meets its prediction
            said["counts"] = {name: n for name, n in said["counts"].items() if name != "late"}
        if first.setdefault(said[id_], said) != said:
            found.append(f"{topic}: {said[id_]} was published again with other contents, for the window {said['window']}")
    return found[:MOST]


def alert_differences(alerts: Iterable[Mapping[str, Any]], expected: Mapping[str, str]) -> list[str]:
    """Which alerts of those expected, by id, are not among the published, and which are too many. Those by prediction time depend on what
    was known when it was looked at: they are left out."""
    published = {alert["alert_id"]: alert for alert in alerts if "by" not in alert}
    missing = [f"no alert {expected[id_]}" for id_ in expected.keys() - published.keys()]
    unexpected = [
        f"unexpected alert: {alert['dedup_key']} {alert['status']} {alert['severity']} at {alert['value']!r}, {alert['window']}"
        for id_, alert in published.items()
        if id_ not in expected
    ]
    return sorted(missing)[:MOST] + sorted(unexpected)[:MOST]


def _sent_aside(load: FraudLoad, expected: Recomputed) -> list[str]:
    """Late events and dead letters: each once by its place in Kafka, none missing."""
    unreadable = {record[:3] for records in load.sent.values() for record in records if not is_readable(record.value)}
    letters = {_origin(record.json) for record in load.read("dead_letter")}
    late = {_origin(event) for event in (record.json for record in load.read("late")) if event["subject"] == "traffic"}
    found = [f"dead letters: {len(letters)}, expected {len(unreadable)}"] if letters != unreadable else []
    wanted = expected.predictions["late"]
    return found + ([f"late predictions on their topic: {len(late)}, expected {wanted}"] if len(late) != wanted else [])


def _lacking(load: FraudLoad, expected: Recomputed) -> list[str]:
    """What never went wrong in the load."""
    had = {
        "late predictions": expected.predictions["late"],
        "repeated predictions": expected.predictions["duplicate"],
        "repeated labels": expected.labels["duplicate"],
        "corrected labels": expected.labels["corrected"],
        "labels corrected in another partition": expected.either["corrected"],
        "late labels": sum(window.late for key, window in expected.windows.items() if key.subject == "performance"),
        "labels before their predictions": sum(view.counters.get("completed", 0) for view in load.view().values()),
        "unreadable messages": sum(not is_readable(record.value) for records in load.sent.values() for record in records),
    }
    return [f"the load had no {what}" for what, n in had.items() if n == 0]


def _origin(message: Mapping[str, Any]) -> tuple[str, int, int]:
    origin = message["origin"]
    return origin["topic"], origin["partition"], origin["offset"]


def _balance(load: FraudLoad, expected: Recomputed, balance: Balance) -> list[str]:
    """The two sheets against the messages: each was counted once, with its outcome."""
    unreadable = Counter(unit.side for unit, records in load.sent.items() for record in records if not is_readable(record.value))
    last, predictions, labels = load.partitions, expected.predictions, Counter(expected.labels)
    either = balance.labels.outcomes["corrected"] - labels["corrected"]
    if 0 <= either <= expected.either["corrected"]:
        labels.update(corrected=either, duplicate=-either)
    unique = predictions["counted"] + last.predictions + predictions["late"]
    wanted = {
        "joined": {"matched": labels["matched"], "pending": unique - labels["matched"], "expired": 0, "unlabelled": 0},
        "predictions": {
            "counted": predictions["counted"] + last.predictions,
            "late": predictions["late"],
            "duplicate": predictions["duplicate"],
            "malformed": unreadable["predictions"],
        },
        "labels": {
            "matched": labels["matched"],
            "pending": labels["waiting"] + last.labels,
            "expired": 0,
            "duplicate": labels["duplicate"],
            "corrected": labels["corrected"],
            "malformed": unreadable["labels"],
        },
    }
    found = [f"lost: {balance.lost}, expected 0"] if balance.lost else []
    for side, sheet in (("predictions", balance.predictions), ("labels", balance.labels), ("joined", balance.joined)):
        if dict(sheet.outcomes) != wanted[side] or sheet.consumed != sum(wanted[side].values()):
            found.append(f"balance of the {side}: {sheet}, expected {sum(wanted[side].values())} consumed = {wanted[side]}")
    return found
