"""The worker's windows, without labels, in Quix Streams: `python -m benchmarks.peers.quix_job JOB windows|panes`.

Labels are left out: Quix joins by message key within equal partitions, and ours arrive on another partition than their prediction, so all
events would have to go through Kafka once more. State and changelog topics are as Quix has them by default. What would be slow is avoided:

- windows are kept per message key, here the prediction's id; regrouping by model would send all events through Kafka once more, so the
  key is read as a constant, and each partition has windows of its own (the worker merges those of the partitions, Quix is not asked to);
- a reducer would read, change and write each window's histograms, about 2000 numbers, for each event: so the positions of its values
  are collected, once an event, and counted when the window closes;
- `panes`: the long windows are made from the closed short ones, not from events, as the worker does.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

import quixstreams
from quixstreams import Application, message_context
from quixstreams.dataframe.windows.aggregations import Collector
from quixstreams.models import Deserializer

from benchmarks.peers.job import Answer, Coder, Job, Window


class Constant(Deserializer):
    """The same key for every event."""

    def __call__(self, value: bytes, ctx: Any) -> str:
        return "fraud"


class Histograms(Collector):
    """Positions of all values, counted at the end: pairs of position and count."""

    def result(self, items: Iterable[list[int]]) -> list[tuple[int, int]]:
        return sorted(Counter(chain.from_iterable(items)).items())


class Merged(Collector):
    """Histograms of several windows, added up."""

    def result(self, items: Iterable[list[tuple[int, int]]]) -> list[tuple[int, int]]:
        total: Counter[int] = Counter()
        for item in items:
            total.update(dict(item))
        return sorted(total.items())


def main() -> None:
    """Count all predictions, then answer."""
    job, way = Job.read(sys.argv[1]), sys.argv[2]
    answer = Answer(versions={"quixstreams": quixstreams.__version__})
    app = Application(
        job.brokers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        state_dir=f"{job.folder}/state",
        loglevel="WARNING",
        on_message_processed=lambda topic, partition, offset: processed(),
    )

    def processed() -> None:
        answer.predictions += 1
        if answer.predictions == 1:
            answer.start()
        elif answer.predictions == job.messages["predictions"]:
            answer.stop()
            app.stop()

    def late(*_: object) -> bool:
        answer.late += 1
        return False

    def closed(size: int) -> Any:
        def note(window: dict[str, Any]) -> None:
            answer.windows.append(Window.of(size, window["start"], message_context().partition, window["histograms"]))

        return note

    code = Coder(job.features).positions
    source = app.topic(
        job.topics["predictions"], key_deserializer=Constant(), timestamp_extractor=lambda value, headers, time, kind: value["timestamp"]
    )
    results = app.topic(job.topics["results"])
    events = app.dataframe(source).apply(lambda value: code(value["features"]))
    grace = job.out_of_orderness_ms
    (short, _), (long, slide) = job.windows
    tumbling = events.tumbling_window(short, grace_ms=grace, on_late=late).agg(histograms=Histograms()).final("partition")
    tumbling.update(closed(short)).to_topic(results)
    if way == "windows":
        hopping = events.hopping_window(long, slide, grace_ms=grace, on_late=late).agg(histograms=Histograms()).final("partition")
    else:
        hopping = tumbling.hopping_window(long, slide, on_late=late).agg(histograms=Merged("histograms")).final("partition")
    hopping.update(closed(long)).to_topic(results)
    app.run()
    answer.write(job.folder)


if __name__ == "__main__":
    main()
