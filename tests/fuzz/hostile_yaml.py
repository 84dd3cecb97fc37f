"""YAML that nobody should write: scalars, collections and tags as text, and the shipped configuration changed by them.

As text it may hold what no YAML writer writes: a key twice, anchors and aliases, tags, merge keys, values without end.
"""

import json
import re
from pathlib import Path

from hypothesis import strategies as st

EXAMPLE = (Path(__file__).parents[2] / "config" / "driftstream.yaml").read_text(encoding="utf-8")
LINES = [line.split("#")[0].rstrip() for line in EXAMPLE.splitlines() if line.split("#")[0].strip()]
VALUE = re.compile(r"(?<=: )[^\s{\[].*$|[^\s{}\[\],:]+(?=[,}\]])")  # what stands behind a key of a line, or in brackets
CHANGES = (*["value"] * 8, *["key"] * 2, "drop", "twice", "elsewhere", "indent", "insert")

SCALARS = ["", "~", "null", "true", "0", "-1", "1e400", "9" * 400, "1m", "99999999999999d", "1m30s", "0s", "3650d", "off", "nan", ".inf"]
SCALARS += [
    "${SECRET}",
    "${URL}",
    "${EMPTY}",
    "${LONG}",
    "${UNSET}",
    "${UNSET:-1m}",
    "a${SECRET}b",
    "$${SECRET}",
    "'${SECRET}'",
    "@a",
    "`a`",
]
SCALARS += [
    "${SECRET",
    "${SECRET:-",
    "${}",
    "2026-11-20",
    "12:30:45",
    "0x1F",
    "0b1",
    "1_000",
    "<<",
    "=",
    "%a",
    "'\0'",
    '"\\uD800"',
    '"\\0"',
]
SCALARS += [
    "const:x",
    "kafka:key",
    "kafka:header:a",
    "a..b",
    "a:b",
    "(other)",
    "a|b",
    '"a\\"b"',
    "x" * 201,
    "x" * 5000,
    "e\u0301",
    "\U0001f600",
]
SCALARS += ['"\\UFFFFFFFF"', '"\\U00110000"', '"\\x', "'\u2028'", "'\x85'", "-0.0"]
LAUGHS = "&a [x,x,x,x,x,x,x,x,x]"
COLLECTIONS = ["{}", "[]", "[[]]", "[~, ~]", "{a: {b: {c: d}}}", "{a: 1, a: 2}", "{? [a, b] : c}", "{<<: {group: a}}", "[0, 1, '0']"]
COLLECTIONS += ["{psi: {warning: 0.5}}", "[{size: 1m}, {size: 1m}]", "[{size: 7d}, {size: 1ms}]", "&a [*a]", "&a {b: *a}", "*unknown"]
COLLECTIONS += ["[" * 100 + "]" * 100, "[" * 5000, "{a: " * 300 + "}" * 300, f"[{LAUGHS}, *a, *a]"]
COLLECTIONS += ["[" + ", ".join(f"k{i}" for i in range(3000)) + "]", "{" + ", ".join(f"k{i}: {i}" for i in range(3000)) + "}"]
TAGS = [
    "&x ",
    "!x ",
    "!!str ",
    "!!int ",
    "!!binary ",
    "!!null ",
    "!!set ",
    "!s3cr3t! ",
    "!s3cr3t ",
    "&s3cr3t ",
    "*s3cr3t ",
    "&s3cr3t &s3cr3t ",
]
TAGS += ["!!python/object/apply:os.abort ", "!!python/name:os.abort ", "!<tag:yaml.org,2002:python/object/new:os.abort> ", "!<s3cr3t"]
EVERY_VALUE = [*SCALARS, *COLLECTIONS, *(tag + value for tag in TAGS for value in ("x", "[x]", "{a: x}"))]

scalars = st.sampled_from(SCALARS) | st.text(max_size=12).map(json.dumps)
collections = st.sampled_from(COLLECTIONS)
values = scalars | scalars | collections | st.builds("{}{}".format, st.sampled_from(TAGS), scalars | collections)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """The shipped configuration with some of its lines changed."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line, change = lines[at], draw(st.sampled_from(CHANGES))
        if len(line) > 500:
            continue  # the patterns take the square of a line's length
        places = list(VALUE.finditer(line))
        if change == "value" and places:
            place = draw(st.sampled_from(places))
            lines[at] = line[: place.start()] + draw(values) + line[place.end() :]
        elif change == "key":
            lines[at] = re.sub(r"[\w.]+(?=:)", lambda _: draw(scalars), line, count=1)
        elif change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "twice":
            lines.insert(at, line)
        elif change == "elsewhere":
            lines.insert(draw(st.integers(0, len(lines))), lines.pop(at))
        elif change == "indent":
            lines[at] = " " * draw(st.integers(0, 6)) + line.lstrip()
        else:
            lines.insert(at, draw(values))
    return "\n".join(lines) + "\n"


def with_value(number: int, text: str) -> list[str]:
    """The shipped configuration with `text` in place of each value in one of its lines."""
    line = LINES[number]
    lines = [line[: place.start()] + text + line[place.end() :] for place in VALUE.finditer(line)]
    return ["\n".join([*LINES[:number], changed, *LINES[number + 1 :]]) + "\n" for changed in lines]
