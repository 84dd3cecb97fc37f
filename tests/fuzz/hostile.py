"""Messages that nobody should send: JSON put together as text, so that it may hold what no encoder writes.

An event here is a list of members, key and value each as raw JSON: a key may come twice, a value may be a number that no double holds, a
string of a mebibyte, ten thousand brackets, or no JSON at all.
"""

import json
from typing import Any

from hypothesis import strategies as st

from tests.builders import MODEL, at

Member = tuple[bytes, bytes]

LIMITS = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20, 2**128 - 1, 10**308)
NUMBERS = [b"%d" % (sign * limit) for limit in LIMITS for sign in (1, -1)]
NUMBERS += [b"-0", b"-0.0", b"0.1", b"1e2", b"1.0", b"1e22", b"1e304", b"1.7976931348623157e308", b"5e-324", b"1e-400", b"1e15", b"1e11"]
BEYOND = [b"1e400", b"-1e400", b"1" + b"0" * 400, b"9" * 4300, b"9" * 5000, b"-" + b"9" * 20_000, b"NaN", b"Infinity", b"-Infinity"]
STRINGS = [
    b'""',
    b'"\\u0000"',
    b'"\\ud83d\\ude00"',
    b'" "',
    b'"\\n|\\t"',
    b'"0"',
    b'"true"',
    b'"\xc3\xa9"',
    b'"e\xcc\x81"',
    b'"%s"' % (b"x" * 201),
]
STRINGS += [b'"2023-11-14T22:13:20Z"', b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59.999999999-14:00"', b'"1e400"', b'"NaN"']
BROKEN = [
    b"",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"tru",
    b"'a'",
    b"[1,]",
    b"{1:2}",
    b'"',
    b'"\n"',
    b'"\x00"',
    b'"\\x41"',
    b"/**/1",
    b"\xef\xbb\xbf1",
]
BROKEN += [b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"']
DEEP = [opening * depth + closing * depth for depth in (100, 990, 1030, 10_000) for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"))]
DEEP = [value.replace(b":}", b":1}") for value in DEEP] + [b"[" * 100_000]
OTHERS = [b"null", b"true", b"false", b"[]", b"{}", b'[null,"a"]', b'{"0":0.5,"1":"a"}', b'{"a":1,"a":[]}', b'{"0":0.25,"1":0.75,"0":1}']
MEBIBYTE = [b'"%s"' % (b"x" * (1 << 20)), b'"%s"' % (b"\xff" * (1 << 20)), b'{"%s":1}' % (b"y" * (1 << 20))]
LARGE = [b'"%s"' % (b"\xff" * 400_000), b'"%s"' % (b"x" * 300_000), b'"%s"' % (b"\\u0000" * 50_000), b'{"%s":0.5}' % (b"y" * 300_000)]
EVERY_VALUE = [*NUMBERS, *BEYOND, *STRINGS, *BROKEN, *DEEP, *OTHERS, *MEBIBYTE, *LARGE]

FIELDS = (b"prediction_id", b"timestamp", b"model", b"version", b"prediction", b"label", b"score", b"ignored")
FEATURES = (b"amount", b"country", b"channel", b"new", b"unknown")

_scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
_trees = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6
)
plain_values = _trees.map(lambda tree: json.dumps(tree).encode())
values = plain_values | st.sampled_from([*NUMBERS, *STRINGS, *OTHERS])
values |= st.sampled_from([value for value in (*BEYOND, *BROKEN, *DEEP) if len(value) <= 5000])  # longer ones make no better examples


def whole(id_: str, seconds: float, said: object) -> list[Member]:
    """A valid event that is a prediction and a label at once; features and segments come with `event`."""
    fields: dict[str, Any] = {"prediction_id": id_, "timestamp": at(seconds), "model": MODEL, "version": "7", "prediction": said}
    return [(key.encode(), json.dumps(value).encode()) for key, value in (fields | {"label": said, "score": 0.5}).items()]


def whole_features() -> list[Member]:
    """A valid value for every feature of the tests' reference."""
    return [(b"amount", b"15.5"), (b"country", b'"DE"'), (b"channel", b"1"), (b"new", b"true")]


def as_object(members: list[Member]) -> bytes:
    """The members as one JSON object."""
    return b"{" + b",".join(b'"' + key + b'":' + value for key, value in members) + b"}"


def as_event(fields: list[Member], features: list[Member], segments: list[Member]) -> bytes:
    """The bytes of an event."""
    return as_object([*fields, (b"features", as_object(features)), (b"segments", as_object(segments))])


@st.composite
def changed(draw: st.DrawFn, members: list[Member], keys: tuple[bytes, ...]) -> list[Member]:
    """Members of which some are dropped, given another value, or given twice."""
    found = list(members)
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2, 4)))):
        key = draw(st.sampled_from(keys))
        change = draw(st.sampled_from(("drop", "replace", "replace", "twice")))
        kept = [member for member in found if member[0] != key]
        new = [] if change == "drop" else [(key, draw(values))]
        found = [*(found if change == "twice" else kept), *new]
    return draw(st.permutations(found)) if draw(st.booleans()) else found


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """An event with some of its fields, features and segments spoilt; now and then bytes of it, too."""
    id_, seconds = draw(st.sampled_from("abcdefgh")), draw(st.integers(0, 600))
    fields = draw(changed(whole(id_, seconds, draw(st.sampled_from(("0", "1", 0, 1, True, "x")))), FIELDS))
    features = draw(changed(whole_features(), FEATURES))
    event = as_event(fields, features, draw(changed([(b"plan", b'"gold"')], (b"plan", b"unknown"))))
    if draw(st.integers(0, 9)) == 0:
        event = as_object([*fields, (draw(st.sampled_from((b"features", b"segments"))), draw(values))])
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(event)))
        event = event[:place] + draw(st.binary(max_size=3)) + event[place + draw(st.integers(0, 3)) :]
    return event


texts = st.text(alphabet='{}[]":,\\0123456789.eE+-ntrufalsd \t\n\x00\ufeff', max_size=40).map(lambda text: text.encode())
messages: st.SearchStrategy[bytes | None] = events() | events() | events() | plain_values | texts | st.binary(max_size=40) | st.none()
