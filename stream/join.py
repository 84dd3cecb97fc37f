"""The join of labels with predictions: packed rows, and what a match means.

A row stands under a 128-bit hash of the prediction id, whatever topic partition, key or partitioner its events came by: some bits choose
the shard and the bucket, eight bytes are the field. Whichever event comes second completes the match and counts the outcome. The row
remembers which event (side, partition, offset) that was, so that a replay of this event counts the outcome again while a
duplicate, or a replay of the first event, does not.

Where events tell a score for each class (`class_scores`), these bytes stand beside the bucket, for those predictions that have them, and
come with a prediction's row wherever that is found.

A label that says something else than the one that stands, and is newer, corrects it: by its own time, or at the same time by its place in
the partition. Labels after the first that are newer are few: they stand beside the bucket, in the order in which they came, each with
whether the prediction was there by then and whether it said something else, so that a replay of any label finds the one that it replaced,
and a replay of the prediction the one that stood when it came.

Rows live in generations of event time that are dropped whole by watermark. A generation is `max_delay / GENERATIONS` long, so a row
stays for `max_delay` to `max_delay * (1 + 1 / GENERATIONS)`. A label is looked for in its own generation, the TRAIL before and the one
after (clocks differ a little), a prediction in its own, the one before and the TRAIL after; nearest first is not needed, ids are unique.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import xxhash

SHARDS: Final = 8  # one script call each a batch; changing it orphans the pending rows
BUCKETS: Final = 1024  # hashes a shard and generation; up to 512 rows in one stay a listpack (4 M rows a generation)
GENERATIONS: Final = 4
TRAIL: Final = GENERATIONS + 1

# What one side knows of itself. In Redis it waits as its flags and its row; once they have met, the flags and both rows remain, the
# prediction's in front: 33, 29 and 61 bytes, under the 64 that keep a bucket a listpack. Times have no more than 48 bits, and stand last,
# so that their upper two bytes need not be kept.
# source: partition in the top 16 bits, offset below. behind: ms that time had passed the label when it could first be counted, below 0
# if it had not.
# value: what the prediction says is at stake, or the label where it is a number; NaN for none.
PREDICTION: Final = np.dtype([("source", "<u8"), ("cls", "<u2"), ("group", "<u4"), ("score", "<f8"), ("value", "<f4"), ("time", "<i8")])
LABEL: Final = np.dtype([("source", "<u8"), ("cls", "<u2"), ("value", "<f8"), ("behind", "<i4"), ("time", "<i8")])
ALSO: Final = np.dtype([("event", "<i8"), ("row", LABEL)])
ADDRESS: Final = np.dtype([("id", "<u8"), ("bucket", "<u2"), ("generation", "<u2"), ("flags", "u1")])  # flags: of the row while it waits
ROWS_FORMAT: Final = 2  # of all this; state that was written in another one is refused
_UNKEPT: Final = 2  # bytes of a time

Side = Literal["predictions", "labels"]

# The status of a row. CORRECTED: the outcome that was counted is replaced. REPLACED: so is a label that still waits for its prediction.
STORED, DUPLICATE, MATCHED, EXPIRED, CORRECTED, REPLACED = range(6)
# Flags, the first byte of a stored row. TOO_LATE: the prediction came after the last window by its time. REVISED: there are corrections.
HAS_PREDICTION, HAS_LABEL, BY_LABEL, LATE_PREDICTION, TOO_LATE, REVISED = 1, 2, 4, 8, 16, 32

IdHashes = npt.NDArray[np.uint8]
_COLUMNS: Final = ("hashes", "rows", "flags", "closed", "scores")


def id_hashes(ids: Sequence[str | int]) -> IdHashes:
    """128-bit hash of each id as a text, (n, 16) uint8."""
    try:
        digests = b"".join(map(xxhash.xxh3_128_digest, map(str.encode, ids)))  # type: ignore[arg-type]
    except TypeError:
        return id_hashes(list(map(str, ids)))
    return np.frombuffer(digests, np.uint8).reshape(-1, 16)


@dataclass(frozen=True, slots=True)
class JoinBatch:
    """Events of one side that look for the other: `hashes` (n, 16), rows (n,) `PREDICTION` or `LABEL`.

    Of predictions: `flags` (n,), LATE_PREDICTION and TOO_LATE; `closed` (n,), where time stood, behind which a waiting label is late;
    `scores`, (n, width), those by class, packed, all 0 where there are none. Of labels it is as wide, and empty.
    """

    side: Side
    hashes: IdHashes
    rows: npt.NDArray[np.void]
    flags: npt.NDArray[np.uint8]
    closed: npt.NDArray[np.int64]
    scores: npt.NDArray[np.uint8]

    @classmethod
    def of_labels(cls, hashes: IdHashes, rows: npt.NDArray[np.void], width: int = 0) -> "JoinBatch":
        """Labels, which have neither flags nor a clock of their own; `width`: of the scores by class of what they look for."""
        n = len(rows)
        return cls("labels", hashes, rows, np.zeros(n, np.uint8), np.zeros(n, np.int64), np.zeros((n, width), np.uint8))

    @classmethod
    def concat(cls, batches: "Sequence[JoinBatch]") -> "JoinBatch":
        """The events of all of them, which are of one side, in order."""
        return cls(batches[0].side, *(np.concatenate([getattr(batch, name) for batch in batches]) for name in _COLUMNS))

    def at(self, where: npt.NDArray[np.bool_]) -> "JoinBatch":
        """The events where `where`, (n,), holds."""
        return JoinBatch(self.side, *(getattr(self, name)[where] for name in _COLUMNS))

    def shards(self) -> npt.NDArray[np.uint8]:
        """The shard of each event, (n,)."""
        return self.hashes[:, 8] % SHARDS

    def buckets(self) -> npt.NDArray[np.uint16]:
        """The bucket of each event within its shard, (n,)."""
        return self.hashes[:, 9:11].copy().view("<u2").ravel() % np.uint16(BUCKETS)

    def kept(self) -> npt.NDArray[np.void]:
        """The rows as they are kept, (n,)."""
        return _kept(self.rows)

    def packed(self, generations: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """What the script reads: (n,) of an address and a row, of predictions also where time stood and the scores by class; `generations`
        is each event's index into the generations named beside it."""
        rows, width = self.kept(), self.scores.shape[1]
        fields: list[Any] = [("address", ADDRESS), ("row", rows.dtype)]
        if self.side == "predictions":
            fields += [("closed", "<i8"), ("scores", "u1", (width,))]
        packed = np.zeros(len(rows), np.dtype(fields))
        address = packed["address"]
        address["id"] = self.hashes[:, :8].copy().view("<u8").ravel()
        address["bucket"], address["generation"], packed["row"] = self.buckets(), generations, rows
        address["flags"] = self.flags + (HAS_PREDICTION if self.side == "predictions" else HAS_LABEL)
        if self.side == "predictions":
            packed["closed"], packed["scores"] = self.closed, self.scores
        return packed


@dataclass(frozen=True, slots=True)
class Matches:
    """What the join found: `status` (n,); `flags` (n,) of the stored row and the other side's row in `others` (n,), where matched or
    corrected; of labels also that prediction's `scores` by class, (n, width). `also` (m,): the label that a label has corrected; the
    labels that had corrected a waiting one when its prediction came, in order, while `others` has the first.
    """

    status: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    others: npt.NDArray[np.void]
    scores: npt.NDArray[np.uint8]
    also: npt.NDArray[np.void]

    @classmethod
    def none(cls, batch: JoinBatch) -> "Matches":
        """Every event stored, none matched."""
        n = len(batch.rows)
        other = LABEL if batch.side == "predictions" else PREDICTION
        return cls(np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, other), np.zeros_like(batch.scores), np.zeros(0, ALSO))

    def split(self, sizes: Sequence[int]) -> "list[Matches]":
        """What was found for each of the batches, of these sizes, that were looked for together."""
        parts = []
        for start, end in itertools.pairwise((0, *itertools.accumulate(sizes))):
            first, last = np.searchsorted(self.also["event"], (start, end))
            also = self.also[first:last].copy()
            also["event"] -= start
            part = slice(start, end)
            parts.append(Matches(self.status[part], self.flags[part], self.others[part], self.scores[part], also))
        return parts

    def at(self, where: npt.NDArray[np.intp]) -> "Matches":
        """What was found for some of the events, (k,) ascending."""
        also = self.also
        if also.size:
            also = also[np.isin(also["event"], where)]
            also["event"] = np.searchsorted(where, also["event"])
        return Matches(self.status[where], self.flags[where], self.others[where], self.scores[where], also)

    @classmethod
    def of_answers(cls, batch: JoinBatch, answers: "Iterable[tuple[npt.NDArray[np.intp], bytes, bytes, bytes, bytes]]") -> "Matches":
        """Of the shards' answers: which events, a status each, flags and the other side's row for each that matched or corrected, the
        labels beside, each time after their number, for each that corrected, and each prediction whose label was corrected, and for each
        label that matched or corrected the scores by class."""
        found, also = cls.none(batch), [np.zeros(0, ALSO)]
        others = found.others.view(f"V{found.others.itemsize}")  # copied as bytes: field by field takes three times as long
        for where, statuses, met_rows, labels, scores in answers:
            status = np.frombuffer(statuses, np.uint8)
            found.status[where] = status
            met = where[(status == MATCHED) | (status == CORRECTED)]
            rows = np.frombuffer(met_rows, np.uint8).reshape(met.size, 1 + found.others.itemsize - _UNKEPT)
            found.flags[met] = rows[:, 0]
            others[met] = _whole(rows[:, 1:], found.others.dtype).view(others.dtype)
            if batch.side == "labels":
                found.scores[met] = np.frombuffer(scores, np.uint8).reshape(met.size, found.scores.shape[1])
            has = found.flags[met] >= REVISED if batch.side == "predictions" else found.status[met] == CORRECTED
            also.append(_listed(met[has], labels))
        return replace(found, also=np.sort(np.concatenate(also), order="event", kind="stable"))

    def put(self, where: npt.NDArray[np.bool_], found: "Matches") -> "Matches":
        """With what was found for the events where `where`, (n,), holds; there was nothing for any before."""
        self.status[where], self.flags[where] = found.status, found.flags
        self.others[where], self.scores[where] = found.others, found.scores
        also = found.also.copy()
        also["event"] = np.flatnonzero(where)[also["event"]]
        return replace(self, also=also)


def _listed(events: npt.NDArray[np.intp], labels: bytes) -> npt.NDArray[np.void]:
    """The labels beside some events, of each a number and so many rows."""
    size, at, numbers, rows = LABEL.itemsize - _UNKEPT, 0, [], []
    for _ in events:
        numbers.append(labels[at])
        rows.append(np.frombuffer(labels, np.uint8, labels[at] * size, at + 1).reshape(-1, size))
        at += 1 + labels[at] * size
    also = np.zeros(sum(numbers), ALSO)
    if rows:
        also["event"], also["row"] = np.repeat(events, numbers), _whole(np.concatenate(rows), LABEL)
    return also


def _kept(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The rows without the upper bytes of their times, (n,)."""
    size = rows.dtype.itemsize
    return rows.view(np.uint8).reshape(-1, size)[:, : size - _UNKEPT].copy().view(f"V{size - _UNKEPT}").ravel()


def _whole(kept: npt.NDArray[np.uint8], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """The rows that `_kept` made, of which these are the bytes, (n, kept)."""
    rows = np.zeros((len(kept), dtype.itemsize), np.uint8)
    rows[:, :-_UNKEPT] = kept
    return rows.view(dtype).ravel()


def sources(partition: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Which event it is, within its topic: what tells a replay from a duplicate."""
    return np.uint64(partition << 48) | offsets.astype(np.uint64)
