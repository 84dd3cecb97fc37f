"""The worker's job in plain Faust, as we would write it for production if there were no other way.

    python -m benchmarks.peers.faust_job JOB

An agent per topic, an event at a time. What we know to be slow is avoided: Faust's windowed tables, which write an event into each window
that covers it and close them by the wall clock; a Redis round trip per event; asyncio's own loop; the leader topic; aiokafka's checksums.
It does less than the worker, and is not charged for it: it does not check types, score, judge, fence zombies, or tie offsets to state.
"""

import asyncio
import os
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

import mode.loop

mode.loop.use("uvloop")  # before faust is imported; what its documentation recommends for speed

import faust  # noqa: E402
import orjson  # noqa: E402
import redis.asyncio  # noqa: E402
from faust.types import TP  # noqa: E402

from benchmarks.peers.job import Answer, Coder, Job, Window  # noqa: E402

CHECKPOINT_S = 1.0  # as the worker
JOIN_BATCH = 1_000  # events whose join shares a round trip: fewer cost more, more do not cost noticeably less

job = Job.read(sys.argv.pop(1))
answer = Answer(confusion=[[0] * len(job.classes) for _ in job.classes], versions={"faust-streaming": faust.__version__})
client = redis.asyncio.Redis.from_url(job.redis)
app = faust.App(
    job.group,
    broker=f"kafka://{job.brokers}",
    store="memory://",
    value_serializer="raw",  # bytes to the agent: orjson on them is faster than Faust's codecs and models
    key_serializer="raw",
    topic_disable_leader=True,
    topic_allow_declare=False,
    datadir=job.folder,
    broker_check_crcs=False,  # librdkafka does not check them either
    broker_commit_interval=CHECKPOINT_S,
)
topics = {name: app.topic(topic, value_type=bytes, key_type=bytes) for name, topic in job.topics.items()}
code = Coder(job.features).positions
classes = {name: i for i, name in enumerate(job.classes)}

# Traffic is counted per partition and pane of 10 s, once per event however many windows cover it: a partition has one owner, so a pane is
# written whole, which is far cheaper than an HINCRBY per bin. Outcomes meet in whichever agent comes second, so they are added up in Redis.
panes: dict[tuple[int, int], list[int]] = {}
dirty: set[tuple[int, int]] = set()
newest: dict[str, dict[int, int]] = {"predictions": {}, "labels": {}}
outcomes: dict[int, Counter[str]] = defaultdict(Counter)
waiting: dict[str, list[tuple[str, str]]] = {"predictions": [], "labels": []}
partitions: dict[str, set[int]] = {"predictions": set(), "labels": set()}
closed_ms: int | None = None
checkpointing = asyncio.Lock()


@app.on_partitions_assigned.connect
async def assigned(app: faust.App, assigned: set[TP], **_: object) -> None:
    for side in partitions:
        partitions[side] = {tp.partition for tp in assigned if tp.topic == job.topics[side]}
    for partition in partitions["predictions"]:
        async for key in client.scan_iter(f"{job.group}:pane:{partition}:*"):
            blob = await client.get(key)
            panes[partition, int(key.rpartition(b":")[2])] = array("q", blob).tolist()
    answer.start()


@app.agent(topics["predictions"])
async def count_predictions(stream: faust.Stream[bytes]) -> None:
    times, pending = newest["predictions"], waiting["predictions"]
    async for event in stream.events():
        prediction = orjson.loads(event.value)
        partition, time_ms = event.message.partition, prediction["timestamp"]
        start = time_ms // job.pane_ms * job.pane_ms
        if time_ms > (seen := times.get(partition, 0)):
            times[partition] = time_ms
        if start + job.pane_ms <= seen - job.out_of_orderness_ms:
            answer.late += 1
        else:
            at = partition, start
            pane = panes.get(at)
            if pane is None:
                pane = panes[at] = [0] * job.width
            for position in code(prediction["features"]):
                pane[position] += 1
            dirty.add(at)
            pending.append((prediction["prediction_id"], f"p{classes[prediction['prediction']]}"))
        answer.predictions += 1
        if len(pending) >= JOIN_BATCH or answer.predictions == job.messages["predictions"]:
            await join("predictions")
            await finish_if_done()


@app.agent(topics["labels"])
async def count_labels(stream: faust.Stream[bytes]) -> None:
    times, pending = newest["labels"], waiting["labels"]
    async for event in stream.events():
        label = orjson.loads(event.value)
        partition, time_ms = event.message.partition, label["timestamp"]
        if time_ms > times.get(partition, 0):
            times[partition] = time_ms
        pending.append((label["prediction_id"], f"l{classes[label['label']]} {time_ms}"))
        answer.labels += 1
        if len(pending) >= JOIN_BATCH or answer.labels == job.messages["labels"]:
            await join("labels")
            await finish_if_done()


async def join(side: str) -> None:
    """Both sides write one key per prediction with SET GET: atomic, so exactly one of them, the second, finds the other; in any order."""
    events, waiting[side][:] = list(waiting[side]), []
    if not events:
        return
    pipeline = client.pipeline(transaction=False)
    for name, payload in events:
        pipeline.set(f"{job.group}:{name}", payload, px=job.max_delay_ms, get=True)
    for (_, payload), found in zip(events, await pipeline.execute(), strict=True):
        if found is not None and found[:1] != payload[:1].encode():
            prediction, label = (payload, found.decode()) if side == "predictions" else (found.decode(), payload)
            labelled, time_ms = label[1:].split()
            outcomes[int(time_ms) // job.pane_ms * job.pane_ms][f"{labelled} {prediction[1:]}"] += 1
            answer.confusion[int(labelled)][int(prediction[1:])] += 1
            answer.joined += 1


@app.timer(CHECKPOINT_S)
async def every_second() -> None:
    await checkpoint()


async def checkpoint() -> None:
    """Write what has changed, then close the windows that the watermark has passed."""
    async with checkpointing:
        await join("predictions")
        await join("labels")
        pipeline = client.pipeline(transaction=True)
        for partition, start in dirty:
            pipeline.set(f"{job.group}:pane:{partition}:{start}", array("q", panes[partition, start]).tobytes(), px=job.max_delay_ms)
        for start, cells in outcomes.items():
            for cell, n in cells.items():
                pipeline.hincrby(f"{job.group}:outcomes:{start}", cell, n)
        dirty.clear()
        outcomes.clear()
        await pipeline.execute()
        async for window, start in due():
            await close(window, start)


async def due() -> AsyncIterator[tuple[int, int]]:
    """Size and start of the windows that the watermark of both topics has passed since the last time."""
    global closed_ms
    if any(newest[side].keys() != partitions[side] or not newest[side] for side in newest):
        return
    watermark = min(time_ms for times in newest.values() for time_ms in times.values()) - job.out_of_orderness_ms
    if closed_ms is None:
        closed_ms = min(start for _, start in panes)
    until = watermark // job.pane_ms * job.pane_ms
    for end in range(closed_ms + job.pane_ms, until + 1, job.pane_ms):
        for size, slide in job.windows:
            if end % slide == 0:
                yield size, end - size
        closed_ms = end
        longest = max(size for size, _ in job.windows)
        for at in [at for at in panes if at[1] <= end - longest]:
            del panes[at]


async def close(size: int, start: int) -> None:
    """Merge the panes of a window, of all partitions and so from Redis, and publish it."""
    starts = range(start, start + size, job.pane_ms)
    pipeline = client.pipeline(transaction=False)
    pipeline.mget([f"{job.group}:pane:{partition}:{pane}" for pane in starts for partition in range(len(partitions["predictions"]))])
    for pane in starts:
        pipeline.hgetall(f"{job.group}:outcomes:{pane}")
    blobs, *cells = await pipeline.execute()
    counts = list(map(sum, zip(*(array("q", blob) for blob in blobs if blob), strict=True)))
    confusion: Counter[str] = Counter()
    for found in cells:
        confusion.update({cell.decode(): int(n) for cell, n in found.items()})
    result = {"size_ms": size, "start_ms": start, "counts": counts, "confusion": dict(confusion)}
    await topics["results"].send(value=orjson.dumps(result))
    answer.windows.append(Window.of(size, start, -1, enumerate(counts)))


async def finish_if_done() -> None:
    """When all is counted and written: answer, and end at once, since Faust's orderly end is no part of the job."""
    if answer.predictions == job.messages["predictions"] and answer.labels == job.messages["labels"]:
        await checkpoint()
        answer.stop()
        answer.write(job.folder)
        os._exit(0)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "warn"]
    app.main()
