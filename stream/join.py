"""The join of labels with predictions: packed rows, and what a match means.

A row stands under a 128-bit hash of the prediction id, whatever topic partition, key or partitioner its events came by: some bits choose
the shard and the bucket, eight bytes are the field. Whichever event comes second completes the match and counts the outcome. The row
remembers which event (side, partition, offset) that was, so that a replay of this event counts the outcome again while a
duplicate, or a replay of the first event, does not.

Rows live in generations of event time that are dropped whole by watermark. A generation is `max_delay / GENERATIONS` long, so a row
stays for `max_delay` to `max_delay * (1 + 1 / GENERATIONS)`. A label is looked for in its own generation, the TRAIL before and the one
after (clocks differ a little), a prediction in its own, the one before and the TRAIL after; nearest first is not needed, ids are unique.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import xxhash

SHARDS: Final = 8  # one script call each a batch; changing it orphans the pending rows
BUCKETS: Final = 1024  # hashes a shard and generation; up to 512 rows in one stay a listpack (4 M rows a generation)
GENERATIONS: Final = 4
TRAIL: Final = GENERATIONS + 1

# What one side knows of itself. In Redis it waits as its flags and its row; once they have met, the flags, the row of the first and the
# source of the second remain, the prediction's part in front: at most 35 and 43 bytes, under the 64 that keep a bucket a listpack.
# source: partition in the top 16 bits, offset below. behind: ms that the watermark of its partition was ahead of the label.
# value: what the prediction says is at stake, or the label where it is a number; NaN for none.
PREDICTION: Final = np.dtype([("source", "<u8"), ("time", "<i8"), ("cls", "<u2"), ("group", "<u4"), ("score", "<f8"), ("value", "<f4")])
LABEL: Final = np.dtype([("source", "<u8"), ("time", "<i8"), ("cls", "<u2"), ("behind", "<u4"), ("value", "<f8")])
ADDRESS: Final = np.dtype([("id", "<u8"), ("bucket", "<u2"), ("generation", "<u2"), ("flags", "u1")])  # flags: of the row while it waits

Side = Literal["predictions", "labels"]

STORED, DUPLICATE, MATCHED, EXPIRED = range(4)  # the status of a row
HAS_PREDICTION, HAS_LABEL, BY_LABEL, LATE_PREDICTION = 1, 2, 4, 8  # flags, the first byte of a stored row

IdHashes = npt.NDArray[np.uint8]


def id_hashes(ids: list[str]) -> IdHashes:
    """128-bit hash of each id, (n, 16) uint8."""
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, map(str.encode, ids))), np.uint8).reshape(-1, 16)


@dataclass(frozen=True, slots=True)
class JoinBatch:
    """Events of one side that look for the other: `hashes` (n, 16), `late` predictions (n,), rows (n,) `PREDICTION` or `LABEL`."""

    side: Side
    hashes: IdHashes
    late: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.void]

    @classmethod
    def concat(cls, batches: "Sequence[JoinBatch]") -> "JoinBatch":
        """The events of all of them, which are of one side, in order."""
        return cls(batches[0].side, *(np.concatenate([getattr(batch, name) for batch in batches]) for name in ("hashes", "late", "rows")))

    def at(self, where: npt.NDArray[np.bool_]) -> "JoinBatch":
        """The events where `where`, (n,), holds."""
        return JoinBatch(self.side, self.hashes[where], self.late[where], self.rows[where])

    def shards(self) -> npt.NDArray[np.uint8]:
        """The shard of each event, (n,)."""
        return self.hashes[:, 8] % SHARDS

    def buckets(self) -> npt.NDArray[np.uint16]:
        """The bucket of each event within its shard, (n,)."""
        return self.hashes[:, 9:11].copy().view("<u2").ravel() % np.uint16(BUCKETS)

    def packed(self, generations: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """What the script reads: (n,) of an address and a row; `generations` is each event's index into the generations named beside it."""
        packed = np.zeros(len(self.rows), np.dtype([("address", ADDRESS), ("row", self.rows.dtype)]))
        address = packed["address"]
        address["id"] = self.hashes[:, :8].copy().view("<u8").ravel()
        address["bucket"], address["generation"], packed["row"] = self.buckets(), generations, self.rows
        address["flags"] = HAS_PREDICTION + LATE_PREDICTION * self.late if self.side == "predictions" else HAS_LABEL
        return packed


@dataclass(frozen=True, slots=True)
class Matches:
    """What the join found: `status` (n,); `flags` (n,) of the stored row and the other side's row in `others` (n,), where matched."""

    status: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    others: npt.NDArray[np.void]

    @classmethod
    def none(cls, batch: JoinBatch) -> "Matches":
        """Every event stored, none matched."""
        n = len(batch.rows)
        return cls(np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, other_side(batch.side)))

    def split(self, sizes: Sequence[int]) -> "list[Matches]":
        """What was found for each of the batches, of these sizes, that were looked for together."""
        ends = np.cumsum(sizes)[:-1]
        parts = zip(np.split(self.status, ends), np.split(self.flags, ends), np.split(self.others, ends), strict=True)
        return [Matches(*part) for part in parts]

    def fill(self, where: npt.NDArray[np.intp], statuses: bytes, others: bytes) -> None:
        """Take one shard's answer: a status each, and flags and the other side's row for each that matched."""
        self.status[where] = np.frombuffer(statuses, np.uint8)
        matched = where[self.status[where] == MATCHED]
        found = np.frombuffer(others, np.dtype([("flags", "u1"), ("other", self.others.dtype)]))
        self.flags[matched], self.others[matched] = found["flags"], found["other"]


def sources(partition: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Which event it is, within its topic: what tells a replay from a duplicate."""
    return np.uint64(partition << 48) | offsets.astype(np.uint64)


def other_side(side: Side) -> np.dtype[np.void]:
    """The row type of what a batch of this side is matched with."""
    return LABEL if side == "predictions" else PREDICTION
