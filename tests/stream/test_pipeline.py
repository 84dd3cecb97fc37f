"""When windows fire and what is in them: scenarios on a memory store and a clock that moves by hand.

Timelines: event time in seconds runs to the right, events stand where their time is, in order of arrival `a b c`; `W` is the watermark,
`|` the end of a window. Unless a test says otherwise windows are tumbling, one minute long, and the watermark trails by 5 s.
"""

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from stream.store import UnitId
from tests.builders import MODEL, Monitor, at, messages, prediction, seconds_of, settings, small_reference

Watch = Callable[..., Monitor]
P0, P1, L0 = UnitId("predictions", 0), UnitId("predictions", 1), UnitId("labels", 0)
NO_LABELS: dict[str, Any] = {MODEL: {"classes": ["0", "1"], "labels": False}}


def traffic(watch: Watch, *, partitions: int = 1, models: Any = None, references: Any = None, **sections: Any) -> Monitor:
    """A monitor of models without labels."""
    return watch(settings(models or NO_LABELS, **sections), references, partitions=(partitions, 0))


def test_a_tumbling_window_fires_once_when_the_watermark_reaches_its_end(watch: Watch) -> None:
    """
    0 ------------------------ 60 | ----- 65
      a(10)          b(59.999)      c(64.999)   W = 59.999: nothing
                                       d(65)    W = 60: [0, 60) with a and b
    """
    monitor = traffic(watch)
    assert monitor.run(prediction("a", 10), prediction("b", 59.999), prediction("c", 64.999)) == []
    (firing,) = monitor.run(prediction("d", 65))
    assert monitor.windows() == [("traffic", 0, 0, True, 2)]
    assert (firing.result.window.name, firing.result.window.kind, seconds_of(firing.result.window.end)) == ("1m", "tumbling", 60)
    assert monitor.run(prediction("e", 70)) == []
    assert monitor.tick() == []


def test_an_event_at_the_boundary_belongs_to_the_later_window(watch: Watch) -> None:
    """
    0 ---------- 60 | ---------- 120 |
    a(0)            b(60)            c(120)   W reaches 120 at 125
    """
    monitor = traffic(watch)
    monitor.run(*(prediction(str(t), t) for t in (0, 60, 120, 125)))
    assert monitor.windows() == [("traffic", 0, 0, True, 1), ("traffic", 60, 0, True, 1)]


def test_sliding_windows_overlap_and_each_fires_once(watch: Watch) -> None:
    """
    [-60, 60)   a a
    [  0, 120)  a a b
    [ 60, 180)      b
             0 -- a(10) a(50) -- 60 -- b(70) -- 120 -- 180 -- c(300)
    """
    monitor = traffic(watch, windows=[{"size": "2m", "slide": "1m"}])
    monitor.run(prediction("a1", 10), prediction("a2", 50))
    monitor.run(prediction("b", 70))
    assert monitor.windows() == [("traffic", -60, 0, True, 2)]
    monitor.run(prediction("c", 300))
    assert monitor.windows()[1:] == [("traffic", 0, 0, True, 3), ("traffic", 60, 0, True, 1)]
    assert monitor.said("results")[0]["window"]["kind"] == "sliding"


def test_a_window_without_events_does_not_fire(watch: Watch) -> None:
    monitor = traffic(watch)
    monitor.run(prediction("a", 10), prediction("b", 1000))
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]


def test_a_window_waits_for_the_slowest_partition(watch: Watch) -> None:
    """
    0/  a(10) -------- 60 | ---------------- c(100)   W = 95
    1/     b(20) ----- 60 | -- d(64)                  W = 59: holds
    1/                 60 | --- e(65)                 W = 60: [0, 60) of both
    """
    monitor = traffic(watch, partitions=2)
    assert monitor.run(prediction("a", 10), prediction("c", 100)) == []  # partition 1 has not said anything yet
    assert monitor.run(prediction("b", 20), prediction("d", 64), partition=1) == []
    monitor.run(prediction("e", 65), partition=1)
    assert monitor.windows() == [("traffic", 0, 0, True, 2)]


def test_an_idle_partition_leaves_the_others_alone(watch: Watch) -> None:
    """
    0/  a(10) --- 60 | ----------- c(100)
    1/  b(20)                        at its end, and quiet for idle_after: no longer waited for
    """
    monitor = traffic(watch, partitions=2)
    monitor.run(prediction("b", 20), partition=1)
    assert monitor.run(prediction("a", 10), prediction("c", 100)) == []
    monitor.pipeline.units[P1].watermark.at_end = True
    monitor.now_ms += monitor.settings.time.idle_after_ms - 1
    assert monitor.tick() == []
    monitor.now_ms += 1
    monitor.tick()
    assert monitor.windows() == [("traffic", 0, 0, True, 2)]


def test_a_stalled_partition_holds_however_long_it_is_quiet(watch: Watch) -> None:
    """1/ is quiet but not at its end: its events are still to be read."""
    monitor = traffic(watch, partitions=2)
    monitor.run(prediction("b", 20), partition=1)
    monitor.run(prediction("a", 10), prediction("c", 100))
    assert monitor.quiet(P0) == []
    monitor.now_ms += 10**9
    assert monitor.tick() == []


def test_when_all_partitions_are_idle_the_wall_clock_closes(watch: Watch) -> None:
    """
    0 -- a(10) -- 60 |        wall clock: 80 ... 90; idle_after = 30, so the clock is 60 when it shows 90
    """
    monitor = traffic(watch)
    monitor.now_ms = at(10)
    monitor.run(prediction("a", 10))
    monitor.pipeline.units[P0].watermark.at_end = True
    monitor.now_ms = at(89.999)
    assert monitor.tick() == []
    monitor.now_ms = at(90)
    monitor.tick()
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]
    assert monitor.said("results")[0]["watermark"] == monitor.said("results")[0]["window"]["end"]


def test_windows_stay_open_when_all_is_idle_and_when_idle_is_hold(watch: Watch) -> None:
    monitor = traffic(watch, time={"when_idle": "hold"})
    monitor.run(prediction("a", 10))
    assert monitor.quiet() == []
    monitor.now_ms += 10**9
    assert monitor.tick() == []
    monitor.run(prediction("b", 65))
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]


def test_old_events_of_a_partition_that_wakes_are_late(watch: Watch) -> None:
    """
    0/  a(10) -- 60 | ------- 120 | --- c(130)    W = 125, and 1/ is idle: [0, 60), [60, 120) close
    1/                   b(70)                    wakes with an event of a closed window: late
    1/                                d(121)      and goes on with one that is behind W, in an open one: counted
    """
    monitor = traffic(watch, partitions=2)
    monitor.quiet(P1)
    monitor.run(prediction("a", 10), prediction("a2", 70), prediction("c", 130))
    assert monitor.windows() == [("traffic", 0, 0, True, 1), ("traffic", 60, 0, True, 1)]
    monitor.run(prediction("b", 70), prediction("d", 121), partition=1)
    assert monitor.counters(partition=1) == {"consumed": 2, "late": 1, "counted": 1, "unlabelled": 2}
    assert monitor.said("late")[0]["watermark"] == "2023-11-14T22:16:05.000Z"
    monitor.run(prediction("e", 185), partition=1)
    monitor.run(prediction("f", 185))
    assert monitor.windows()[2:] == [("traffic", 120, 0, True, 2)]


def test_a_partition_that_woke_holds_the_clock_again(watch: Watch) -> None:
    monitor = traffic(watch, partitions=2)
    monitor.quiet(P1)
    monitor.run(prediction("a", 70))
    monitor.run(prediction("b", 66), partition=1)
    assert monitor.run(prediction("c", 500)) == []
    monitor.run(prediction("d", 500), partition=1)
    assert monitor.windows() == [("traffic", 60, 0, True, 2)]


def test_a_late_event_goes_to_its_topic_and_changes_nothing(watch: Watch) -> None:
    """
    0 -- a(10) --------- 60 | --- b(66)   W = 61: [0, 60) fires with a
         c(20), too late: to the late topic, and noted in the window where time stood, [60, 120)
    """
    monitor = traffic(watch)
    monitor.run(prediction("a", 10), prediction("b", 66))
    late = prediction("c", 20, features={"x": "kept as it was"})
    assert monitor.run(late) == []
    monitor.run(prediction("d", 125))
    assert monitor.windows() == [("traffic", 0, 0, True, 1), ("traffic", 60, 0, True, 1)]
    assert [result["counts"]["late"] for result in monitor.said("results")] == [0, 1]
    assert monitor.counters() == {"consumed": 4, "counted": 3, "late": 1, "unlabelled": 4}
    (message,) = monitor.said("late")
    assert message == {
        "subject": "traffic",
        "model": MODEL,
        "timestamp": "2023-11-14T22:14:20.000Z",
        "watermark": "2023-11-14T22:15:01.000Z",
        "origin": {"topic": "driftstream.predictions", "partition": 0, "offset": 2},
        "event": late,
    }


def test_an_event_is_late_only_when_its_pane_has_closed(watch: Watch) -> None:
    """
    0 --------------- 60 | -- b(64.999)   W = 59.999
      c(0): older than W, but its window is open: counted
    """
    monitor = traffic(watch)
    monitor.run(prediction("b", 64.999), prediction("c", 0), prediction("d", 65))
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]
    assert monitor.said("late") == []


def test_out_of_orderness_of_zero_takes_a_steady_stream(watch: Watch) -> None:
    monitor = traffic(watch, time={"out_of_orderness": "0s"})
    monitor.run(prediction("a", 59), prediction("b", 60), prediction("c", 59.999))
    assert monitor.counters() == {"consumed": 3, "counted": 2, "late": 1, "unlabelled": 3}
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]


def test_late_event_within_allowed_lateness_updates_window(watch: Watch) -> None:
    """
    0 -- a(10) --- 60 | -- b(65)            W = 60: [0, 60) provisional, a
         c(20), not yet too late            lateness = 30: final at W = 90
    0 ------------------------- 95  d(95)   W = 90: [0, 60) final, a and c
         e(30): late now
    """
    monitor = traffic(watch, time={"allowed_lateness": "30s"})
    monitor.run(prediction("a", 10), prediction("b", 65))
    assert monitor.windows() == [("traffic", 0, 0, False, 1)]
    assert monitor.run(prediction("c", 20)) == []
    assert monitor.run(prediction("b2", 94.999)) == []
    monitor.run(prediction("d", 95))
    monitor.run(prediction("e", 30))
    assert monitor.windows() == [("traffic", 0, 0, False, 1), ("traffic", 0, 1, True, 2)]
    assert monitor.counters() == {"consumed": 6, "counted": 5, "late": 1, "unlabelled": 6}
    first, second = monitor.said("results")
    assert first["result_id"] != second["result_id"]


def test_a_clock_that_jumps_past_the_lateness_fires_the_final_revision_only(watch: Watch) -> None:
    monitor = traffic(watch, time={"allowed_lateness": "30s"})
    monitor.run(prediction("a", 10), prediction("b", 500))
    assert monitor.windows() == [("traffic", 0, 0, True, 1)]


def test_sliding_windows_with_lateness_fire_provisionally_and_finally(watch: Watch) -> None:
    monitor = traffic(watch, windows=[{"size": "2m", "slide": "1m"}], time={"allowed_lateness": "1m"})
    for second in range(0, 360, 15):
        monitor.run(prediction(str(second), second))
    fired = [(start, revision, final, n) for _, start, revision, final, n in monitor.windows()]
    assert {one for one in fired if one[2]} == {(-60, 1, True, 4), (0, 1, True, 8), (60, 1, True, 8), (120, 1, True, 8)}
    assert {one for one in fired if not one[2]} == {
        (-60, 0, False, 4),
        (0, 0, False, 8),
        (60, 0, False, 8),
        (120, 0, False, 8),
        (180, 0, False, 8),
    }


def test_models_have_windows_of_their_own_and_share_the_watermark(watch: Watch) -> None:
    """
    short   [0, 30) [30, 60)   a            of model short
    long    [0, 120)             b             of model long
    0 -- a(10) - 30 | -- b(50) - 60 | --- 120 | - c(125)
    """
    models = {"short": {"classes": ["0", "1"], "labels": False, "windows": [{"size": "30s"}]}}
    models |= {"long": {"classes": ["0", "1"], "labels": False, "windows": [{"name": "slow", "size": "2m"}]}}
    monitor = traffic(watch, models=models, partitions=3)
    for partition in range(3):
        monitor.run(prediction("a", 10) | {"model": "short"}, prediction("b", 50) | {"model": "long"}, partition=partition)
    for partition in range(3):
        monitor.run(prediction("c", 125) | {"model": "short"}, partition=partition)
    said = [
        (r["model"], r["window"]["name"], seconds_of(r["window"]["start"]), r["counts"]["predictions"]) for r in monitor.said("results")
    ]
    assert sorted(said) == [("long", "slow", 0, 3), ("short", "30s", 0, 3)]


def test_versions_and_segments_are_judged_apart_beside_all_traffic(watch: Watch) -> None:
    models = {MODEL: {"classes": ["0", "1"], "labels": False, "segments": ["country", "plan"]}}
    monitor = traffic(watch, models=models, references={MODEL: small_reference()})
    for i, (country, plan, version) in enumerate([("DE", 1, "v1"), ("FR", 1, "v1"), ("DE", None, "v1"), ("DE", 2, "v2")]):
        monitor.run(prediction(str(i), i, version=version, features={"country": country}, segments={"plan": plan}))
    monitor.quiet()
    said = {(r["version"], r["segment"]): r["counts"]["predictions"] for r in monitor.said("results")}
    assert said == {
        ("v1", None): 3,
        ("v1", "country=DE"): 2,
        ("v1", "country=FR"): 1,
        ("v1", "plan=1"): 2,
        ("v1", "plan=(none)"): 1,
        ("v2", None): 1,
        ("v2", "country=DE"): 1,
        ("v2", "plan=2"): 1,
    }


def test_versions_beyond_the_limit_are_counted_together_also_after_a_restart(watch: Watch) -> None:
    monitor = traffic(watch, models={MODEL: {"classes": ["0", "1"], "labels": False, "versions_max": 2}})
    monitor.run(*(prediction(str(i), i, version=f"v{i % 4}") for i in range(8)))
    monitor.start()
    monitor.run(*(prediction(str(i), i, version=f"v{3 - i % 4}") for i in range(8, 16)))
    monitor.quiet()
    assert {r["version"]: r["counts"]["predictions"] for r in monitor.said("results")} == {"v0": 4, "v1": 4, "(other)": 8}


def test_a_future_event_is_a_dead_letter_and_moves_no_watermark(watch: Watch) -> None:
    monitor = traffic(watch)
    monitor.now_ms = at(100)
    ahead = monitor.settings.time.max_future_skew_ms
    assert monitor.run(prediction("a", 10), prediction("b", 0) | {"timestamp": at(100) + ahead + 1}) == []
    assert monitor.counters() == {"consumed": 2, "counted": 1, "malformed": 1, "unlabelled": 1}
    assert monitor.said("dead_letter")[0]["reason"] == "future_time"


@pytest.mark.parametrize(
    "raw", [b"{", b"\xff\x00", b"[]", None, b"x" * 600_000, b"x" * 720_000], ids=["cut", "binary", "array", "tombstone", "big", "huge"]
)
def test_a_dead_letter_carries_the_raw_bytes_and_where_they_stood(watch: Watch, raw: bytes | None) -> None:
    monitor = traffic(watch)
    monitor.run(prediction("a", 1), raw)
    (letter,) = monitor.said("dead_letter")
    assert base64.b64decode(letter["value_base64"]) == (raw or b"")[:700_000]
    assert letter["value_bytes"] == len(raw or b"")
    assert letter["origin"] == {"topic": "driftstream.predictions", "partition": 0, "offset": 1}
    assert letter["key_base64"] is None
    assert len(monitor.sink.values("driftstream.dead-letter")[0]) < 1_000_000  # what Kafka takes by default


def test_a_late_event_with_garbled_bytes_is_valid_json_all_the_same(watch: Watch) -> None:
    monitor = traffic(watch)
    raw = orjson.dumps(prediction("a", 1, note="XX")).replace(b"XX", b"\xff\xfe")
    monitor.run(prediction("b", 100), raw)
    assert monitor.said("late")[0]["event"]["note"] == "??"


def test_messages_of_an_older_epoch_are_left_to_their_owner(watch: Watch) -> None:
    monitor = traffic(watch)
    monitor.log(prediction("a", 1))
    old = monitor.pipeline
    monitor.start()
    monitor.read()
    monitor.tick()
    old.units[P0].advance_to(1)
    assert old.checkpoint(monitor.now_ms) == [P0]  # refused and dropped
    assert old.units == {}
    assert monitor.counters() == {"consumed": 1, "counted": 1, "unlabelled": 1}


def test_a_model_without_labels_is_not_joined_so_duplicates_are_not_recognised(watch: Watch) -> None:
    monitor = watch(settings(NO_LABELS | {"other": {"classes": ["0", "1"]}}), partitions=(1, 1))
    other = prediction("a", 1) | {"model": "other"}
    monitor.run(prediction("a", 1), prediction("a", 2), other, other)
    monitor.quiet()
    assert monitor.counters() == {"consumed": 4, "counted": 3, "duplicate": 1, "unlabelled": 2}
    said = {(r["model"], r["subject"]): r["counts"]["predictions"] for r in monitor.said("results")}
    assert said == {(MODEL, "traffic"): 2, ("other", "traffic"): 1, ("other", "performance"): 1}


def test_the_tally_is_what_was_counted_since_it_was_last_taken(watch: Watch) -> None:
    monitor = watch(settings(), partitions=(1, 1))
    events: list[Any] = [prediction("a", 100), prediction("b", 1), prediction("a", 100), b"{"]
    monitor.log(*events)
    monitor.read()
    tally = monitor.pipeline.take_tally()
    assert tally.consumed == {"driftstream.predictions": 4}
    assert tally.predictions == {(MODEL, "unversioned"): 1}
    assert (tally.late, tally.duplicates, tally.dead_letters) == ({(MODEL, "traffic"): 1}, {MODEL: 1}, {"malformed_json": 1})
    assert monitor.pipeline.take_tally().consumed == {}


def test_what_is_sent_aside_fits_into_a_message_of_kafka(watch: Watch) -> None:
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "labels": False}}), partitions=(1, 0))
    monitor.run(prediction("a", 600))
    garbled = orjson.dumps(prediction("b", 0, note="NOTE")).replace(b"NOTE", b"\xff" * 500_000)
    batch = messages([garbled, b"x" * 700_000], first=1, keys=[b"k" * 60_000] * 2)
    monitor.pipeline.process([batch], monitor.now_ms)
    monitor.pipeline.checkpoint(monitor.now_ms)
    monitor.deliver()
    aside = [message for message in monitor.sink.delivered if "results" not in message.topic]
    assert {message.topic for message in aside} == {"driftstream.dead-letter", "driftstream.late"}
    assert all(len(message.key or b"") + len(message.value) < 1_000_000 for message in aside)
    (event,) = monitor.said("late")
    assert event["event"]["note"] == "?" * 500_000
