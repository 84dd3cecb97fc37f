"""Mergeable aggregates: everything that a window reports comes from these, no raw row is kept.

An aggregate is one integer vector (every count of one model, version, segment and pane side by side), one table of moments, and a sample
of values that the reference has not. Where a count stands is said by a layout, which follows from the model's reference alone. Merging is
addition, so it is associative, commutative and has the zero aggregate as neutral element: exactly for counts, to rounding for moments.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.unseen import Unseen, decoded_unseen, encoded_unseen, merged_unseen

Counts = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

N, MEAN, M2, MINIMUM, MAXIMUM = range(5)  # columns of the moments table
MOMENTS_LIMIT = 1e140  # values further from zero count as this in the moments: the squares of 10^28 of them have a finite sum
_HEADER = struct.Struct("<16sBII")  # layout, encoding of the counts, how many counts are stored, rows of moments
_DTYPES: tuple[np.dtype[np.unsignedinteger], ...] = tuple(
    np.dtype(f"<u{size}") for size in (1, 2, 4, 8)
)  # the low bits of the encoding choose one
_BLOCK = 8_192  # values whose moments are found at once, 64 KB that stay in the cache: many rows of a few events, or one row of many
_SPARSE = 0x80  # bit of the encoding: (index, count) pairs of the counts that are not zero


class LayoutMismatch(ValueError):
    """Two aggregates, or an aggregate and its reader, disagree about what stands where: they come from different references."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each count of an aggregate stands: `width` counts and `moments` rows, named by a 16-byte fingerprint of what made it."""

    fingerprint: bytes
    width: int
    moments: int

    @property
    def nbytes(self) -> int:
        """The size of such an aggregate in memory."""
        return 8 * self.width + 40 * self.moments


@dataclass(slots=True)
class Aggregate:
    """Counts `(width,)` int64 and moments `(rows, 5)` float64 (n, mean, sum of squared deviations, minimum, maximum)."""

    layout: Layout
    counts: Counts
    moments: Floats
    unseen: Unseen = field(default_factory=dict)

    @classmethod
    def zero(cls, layout: Layout) -> "Aggregate":
        """The neutral element."""
        return cls(layout, np.zeros(layout.width, np.int64), zero_moments(layout.moments))

    def merge(self, other: "Aggregate") -> "Aggregate":
        """The aggregate of both sets of events; neither is modified."""
        if self.layout.fingerprint != other.layout.fingerprint:
            raise LayoutMismatch(
                f"cannot merge aggregates: layouts {self.layout.fingerprint.hex()} and {other.layout.fingerprint.hex()}, "
                "expected equal ones; both must come from one reference"
            )
        counts, moments = self.counts + other.counts, merge_moments(self.moments, other.moments)
        return Aggregate(self.layout, counts, moments, merged_unseen((self.unseen, other.unseen)))

    @staticmethod
    def merge_all(aggregates: "Sequence[Aggregate]") -> "Aggregate":
        """One or more of one layout at once: a dozen panes take less than half of what merging one after the other does."""
        first, *others = aggregates
        if len(others) < 2:
            return first.merge(others[0]) if others else first
        assert all(one.layout.fingerprint == first.layout.fingerprint for one in others)
        counts: Counts = np.add.reduce([one.counts for one in aggregates])
        moments = merge_all_moments(np.array([one.moments for one in aggregates]))
        return Aggregate(first.layout, counts, moments, merged_unseen(one.unseen for one in aggregates))

    def encode(self, used: Codes | None = None) -> bytes:
        """The aggregate as bytes: counts dense or sparse, in the narrowest unsigned type, whichever is smaller; all in the widest, modulo
        2^64, if a part of a pane has taken back what another part has counted.

        `used`: positions of the counts that are not zero, ascending, where that is known.
        """
        used = np.flatnonzero(self.counts) if used is None else used
        largest, least = int(self.counts[used].max(initial=0)), int(self.counts[used].min(initial=0))
        width = next(i for i, dtype in enumerate(_DTYPES) if largest < 256**dtype.itemsize) if least >= 0 else len(_DTYPES) - 1
        dtype = _DTYPES[width]
        sparse = used.size * (4 + dtype.itemsize) < self.counts.size * dtype.itemsize
        stored = self.counts[used] if sparse else self.counts
        return b"".join(
            (
                _HEADER.pack(self.layout.fingerprint, width | (_SPARSE if sparse else 0), stored.size, self.layout.moments),
                used.astype("<u4").tobytes() if sparse else b"",
                stored.astype(dtype).tobytes(),
                self.moments.astype("<f8").tobytes(),
                encoded_unseen(self.unseen),
            )
        )

    @classmethod
    def decode(cls, layout: Layout, data: bytes) -> "Aggregate":
        """The aggregate that `encode` made. Raises LayoutMismatch when it was made on another layout."""
        fingerprint, encoding, stored, rows = _HEADER.unpack_from(data)
        if fingerprint != layout.fingerprint:
            raise LayoutMismatch(f"cannot read an aggregate: layout {fingerprint.hex()}, expected {layout.fingerprint.hex()}")
        position, counts = _HEADER.size, np.zeros(layout.width, np.int64)
        dtype, where = _DTYPES[encoding & ~_SPARSE], np.arange(layout.width)
        if encoding & _SPARSE:
            where = np.frombuffer(data, "<u4", stored, position).astype(np.int64)
            position += 4 * stored
        counts[where] = np.frombuffer(data, dtype, stored, position).astype(np.int64)
        position += dtype.itemsize * stored
        moments = np.frombuffer(data, "<f8", rows * 5, position).reshape(rows, 5).astype(np.float64)
        return cls(layout, counts, moments, decoded_unseen(data[position + 40 * rows :]))


def distinct(codes: Codes) -> tuple[Codes, Codes]:
    """The values that occur, ascending, and each code's place among them, (n,): `np.unique` without sorting where codes lie close together.

    >>> distinct(np.array([7, 5, 7]))
    (array([5, 7]), array([1, 0, 1]))
    """
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if codes.size and low == high:  # as a rule, where a batch is of one group or one pane
        return codes[:1].copy(), np.zeros(codes.size, np.int64)
    if high - low > 4 * codes.size:
        values, places = np.unique(codes, return_inverse=True)
        return values, places
    shifted = codes - low
    values = np.flatnonzero(np.bincount(shifted))
    place = np.zeros(high - low + 1, np.int64)
    place[values] = np.arange(values.size)
    return values + low, place[shifted]


def mapped(numbers: Mapping[Any, int], keys: Iterable[Any]) -> Codes:
    """The number of each key, (n,); KeyError for one without. Packed as C integers first, which numpy does one by one, and slowly.

    >>> mapped({"a": 1, "b": 2}, ["b", "a"])
    array([2, 1])
    """
    found = tuple(map(numbers.__getitem__, keys))
    return np.frombuffer(struct.pack(f"{len(found)}q", *found), np.int64)


def zero_moments(rows: int) -> Floats:
    """The moments of no values, (rows, 5)."""
    moments = np.zeros((rows, 5))
    moments[:, MINIMUM], moments[:, MAXIMUM] = np.inf, -np.inf
    return moments


def grouped_moments(groups: Codes, n_groups: int, values: Floats) -> Floats:
    """Moments of each row of `values` within each group, (n_groups, rows, 5); NaN is left out, MOMENTS_LIMIT stands for what is beyond."""
    rows, n = values.shape
    moments = np.tile(zero_moments(rows), (n_groups, 1, 1))
    if n == 0:
        return moments
    sizes = np.bincount(groups, minlength=n_groups)
    used = np.flatnonzero(sizes)
    narrow = np.uint16 if n_groups <= 2**16 else np.int64  # of which a stable sort takes two passes
    order = np.argsort(groups.astype(narrow), kind="stable") if used.size > 1 else slice(None)
    block = max(_BLOCK // n, 1)
    for start in range(0, rows, block):
        part = np.clip(values[start : start + block, order], -MOMENTS_LIMIT, MOMENTS_LIMIT)
        moments[used, start : start + block] = _moments_of_runs(part, sizes[used]).swapaxes(0, 1)
    return moments


def _moments_of_runs(x: Floats, sizes: Codes) -> Floats:
    """Moments of each run of the values in each row, (rows, runs, 5); the values are used up."""
    starts, n = np.cumsum(sizes) - sizes, np.broadcast_to(sizes, (len(x), sizes.size))
    least, greatest = np.fmin.reduceat(x, starts, axis=1), np.fmax.reduceat(x, starts, axis=1)
    absent = np.isnan(x)
    if some := bool(absent.any()):
        n = n - np.add.reduceat(absent, starts, axis=1, dtype=np.int64)
        least[n == 0], greatest[n == 0], x[absent] = np.inf, -np.inf, 0
    mean = np.add.reduceat(x, starts, axis=1) / np.maximum(n, 1)
    x -= np.repeat(mean, sizes, axis=1)
    if some:
        x[absent] = 0
    return np.stack((n, mean, np.add.reduceat(x * x, starts, axis=1), least, greatest), axis=2)


def merge_all_moments(moments: Floats) -> Floats:
    """Moments of all sets of values, (rows, 5), from those of each, (sets, rows, 5); deviations are from the common mean."""
    sizes, means = moments[..., N], moments[..., MEAN]
    n = sizes.sum(axis=0)
    merged = np.empty(moments.shape[1:])
    merged[:, N], merged[:, MEAN] = n, (sizes * means).sum(axis=0) / np.maximum(n, 1)
    merged[:, M2] = (moments[..., M2] + sizes * (means - merged[:, MEAN]) ** 2).sum(axis=0)
    merged[:, MINIMUM], merged[:, MAXIMUM] = moments[..., MINIMUM].min(axis=0), moments[..., MAXIMUM].max(axis=0)
    return merged


def merge_moments(a: Floats, b: Floats) -> Floats:
    """Moments of both sets of values, (rows, 5), by the pairwise update of Chan, Golub & LeVeque (1983): no sum of squares is formed."""
    n = a[:, N] + b[:, N]
    share = b[:, N] / np.maximum(n, 1)
    delta = b[:, MEAN] - a[:, MEAN]
    merged = np.empty_like(a)
    merged[:, N] = n
    merged[:, MEAN] = a[:, MEAN] + delta * share
    merged[:, M2] = a[:, M2] + b[:, M2] + delta**2 * a[:, N] * share
    merged[:, MINIMUM] = np.minimum(a[:, MINIMUM], b[:, MINIMUM])
    merged[:, MAXIMUM] = np.maximum(a[:, MAXIMUM], b[:, MAXIMUM])
    return merged
