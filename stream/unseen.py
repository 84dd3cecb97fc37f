"""Values of categories that a reference has not: a sample of each feature's, with exact counts, that merges.

Of the distinct values those with the least hashes are kept. One that is among the least of a union is among the least of each part that has
it, so no part has let go of it: its count is exact however a stream is cut, ordered and merged. Up to KEPT values the sample is complete.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Final

import msgspec
import xxhash

KEPT: Final = 8
TEXT_MAX: Final = 100  # characters of a value; it is cut there, and those that begin alike are one
_NBYTES: Final = 640  # that one takes at most: 400 of its text, 49 of that as an object, the rest for its count and its place

Unseen = Mapping[int, Mapping[str, int]]  # by the position of the count that all such values of a feature share


def texts(values: Sequence[Any]) -> list[str]:
    """Each value as a reference would name it, cut."""
    return [(str(value).lower() if type(value) is bool else str(value))[:TEXT_MAX] for value in values]


def merged_unseen(parts: Iterable[Unseen]) -> Unseen:
    """The sample of all parts together."""
    sums: dict[int, Counter[str]] = {}
    for part in parts:
        for position, counts in part.items():
            sums.setdefault(position, Counter()).update(counts)
    return {position: _least(counts) for position, counts in sums.items()}


def unseen_nbytes(unseen: Unseen) -> int:
    """What it may take in memory."""
    return _NBYTES * sum(map(len, unseen.values()))


def encoded_unseen(unseen: Unseen) -> bytes:
    """As bytes; none for nothing."""
    return msgspec.msgpack.encode(unseen) if unseen else b""


def decoded_unseen(data: bytes) -> Unseen:
    """What `encoded_unseen` made bytes of."""
    return msgspec.msgpack.decode(data, type=dict[int, dict[str, int]]) if data else {}


def _least(counts: Mapping[str, int]) -> dict[str, int]:
    kept = nsmallest(KEPT, counts, key=_rank) if len(counts) > KEPT else counts
    return {text: counts[text] for text in kept}


def _rank(text: str) -> tuple[int, str]:
    return xxhash.xxh3_64_intdigest(text.encode()), text
