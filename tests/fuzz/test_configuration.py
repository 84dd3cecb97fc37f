"""The configuration loader, whatever the file holds: settings that can be used, or a ConfigError, soon, and without a secret in it.

The shipped configuration is changed as text, so that it may hold what no YAML writer writes: a key twice, anchors and aliases, tags, merge
keys, values without end. `test_settings_file.py` has trees of every shape.
"""

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.model import Model
from stream.settings import Settings, load_settings, settings_summary
from stream.settings_file import ConfigError
from tests.fuzz.effort import examples

EXAMPLE = (Path(__file__).parents[2] / "config" / "driftstream.yaml").read_text(encoding="utf-8")
SECRET = "s3cr3t"
ENVIRON = {"SECRET": SECRET, "EMPTY": "", "URL": f"redis://me:{SECRET}@host:port/0", "LONG": SECRET * 1000}
SECONDS_MAX = 10  # most take milliseconds; what grows with the square of the file takes minutes

LINES = [line.split("#")[0].rstrip() for line in EXAMPLE.splitlines() if line.split("#")[0].strip()]
VALUE = re.compile(r"(?<=: )[^\s{\[].*$|[^\s{}\[\],:]+(?=[,}\]])")  # what stands behind a key of a line, or in brackets

CHANGES = (*["value"] * 8, *["key"] * 2, "drop", "twice", "elsewhere", "indent", "insert")

laughs = "&a [x,x,x,x,x,x,x,x,x]"
scalars = st.sampled_from(
    ["", "~", "null", "true", "0", "-1", "1e400", "9" * 400, "1m", "99999999999999d", "1m30s", "0s", "3650d", "off", "nan", ".inf", "-0.0"]
)
scalars |= st.sampled_from(
    [
        "${SECRET}",
        "${URL}",
        "${EMPTY}",
        "${LONG}",
        "${UNSET}",
        "${UNSET:-1m}",
        "a${SECRET}b",
        "${SECRET",
        "${SECRET:-",
        "$${SECRET}",
        "${}",
        "'${SECRET}'",
    ]
)
scalars |= st.sampled_from(
    ["2026-11-20", "12:30:45", "0x1F", "0b1", "1_000", "<<", "=", "@a", "`a`", "%a", "'\0'", '"\\uD800"', '"\\0"', "'\u2028'"]
)
scalars |= st.sampled_from(
    ["const:x", "kafka:key", "kafka:header:a", "a..b", "a:b", "(other)", "a|b", "x" * 201, "x" * 5000, "e\u0301", "\U0001f600"]
)
scalars |= st.text(max_size=12).map(json.dumps)
collections = st.sampled_from(
    [
        "{}",
        "[]",
        "[[]]",
        "{a: {b: {c: d}}}",
        "{a: 1, a: 2}",
        "{? [a, b] : c}",
        "[~, ~]",
        "{<<: {group: a}}",
        "[0, 1, '0']",
        "{psi: {warning: 0.5}}",
        "[{size: 1m}, {size: 1m}]",
        "[{size: 7d}, {size: 1ms}]",
        "[" * 100 + "]" * 100,
        "[" * 5000,
        "{a: " * 300 + "}" * 300,
        "&a [*a]",
        "&a {b: *a}",
        "*unknown",
        f"[{laughs}, *a, *a]",
        "[" + ", ".join(f"k{i}" for i in range(3000)) + "]",
        "{" + ", ".join(f"k{i}: {i}" for i in range(3000)) + "}",
    ]
)
tags = st.sampled_from(
    ["", "", "", "&x ", "!x ", "!!str ", "!!int ", "!!binary ", "!!null ", "!!set ", "!s3cr3t! ", "&s3cr3t ", "*s3cr3t "]
)
tags |= st.sampled_from(["!!python/object/apply:os.abort ", "!!python/name:os.abort ", "!<tag:yaml.org,2002:python/object/new:os.abort> "])
values = scalars | scalars | collections | st.builds("{}{}".format, tags, scalars | collections)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """The shipped configuration with some of its lines changed."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        change = draw(st.sampled_from(CHANGES))
        if change == "value" and len(line) < 500 and (found := list(VALUE.finditer(line))):
            place = draw(st.sampled_from(found))
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def load(folder: Path, content: str | bytes) -> Settings | ConfigError:
    """Settings that can be used, or a ConfigError that names the file in each line, has a problem to tell, and no secret."""
    path = folder / "driftstream.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    started = time.perf_counter()
    found: Settings | ConfigError
    try:
        found = load_settings(path, ENVIRON)
    except ConfigError as error:
        found = error
    assert time.perf_counter() - started < SECONDS_MAX
    if isinstance(found, ConfigError):
        assert found.file == path
        assert found.problems
        assert all(line.startswith(f"{path}: ") for line in str(found).split("\n"))
        assert found.__context__ is None  # it would hold the values
        assert SECRET not in str(found)
    else:
        assert settings_summary(found)
        models = [Model.build(found.model(name), None) for name in found.models]
        assert all(model.settings.windows and model.settings.pane_ms > 0 for model in models)
    return found


@examples(250)
@given(configurations())
def test_a_changed_configuration_is_loaded_or_refused(folder: Path, text: str) -> None:
    load(folder, text)


@examples(100)
@given(
    st.binary(max_size=300)
    | st.text(alphabet="{}[]:,-&*!|>'\"%@`#?\n\t a1$~<=.\\\x85\ufeff\u2028", max_size=80).map(str.encode)
    | st.tuples(st.integers(0, len(EXAMPLE)), st.binary(max_size=4), st.integers(0, 4)).map(
        lambda cut: EXAMPLE.encode()[: cut[0]] + cut[1] + EXAMPLE.encode()[cut[0] + cut[2] :]
    )
    | st.text(max_size=60).map(lambda text: text.encode("utf-16"))
)
def test_any_bytes_are_loaded_or_refused(folder: Path, content: bytes) -> None:
    load(folder, content)


def grown(levels: int) -> str:
    """Ten aliases of ten aliases of ... a text."""
    return "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10) if i else 'x'}]\n" for i in range(levels))


def many_aliases(text: str, n: int) -> str:
    """One value, given many times."""
    return f"kafka: {{options: {{a: &a {text}, {', '.join(f'b{i}: *a' for i in range(n))}}}}}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(grown(9), id="a billion laughs"),
        pytest.param(
            "".join(f"k{i}: &k{i} {{a: {f'*k{i - 1}' if i else 'x'}, b: *k{max(i - 1, 0)}}}\n" for i in range(60)), id="of mappings"
        ),
        pytest.param(many_aliases("'" + "${SECRET}" * 10_000 + "'", 2000), id="variables"),
        pytest.param(many_aliases("x" * 100_000, 10_000), id="a long text"),
        pytest.param("kafka: {group: '%s'}" % ("${a:-" * 100_000), id="defaults without an end"),
        pytest.param("kafka: {group: '%s'}" % ("${" * 50_000), id="variables without an end"),
        pytest.param("[" * 1_000_000, id="brackets"),
        pytest.param("- " * 500_000, id="dashes"),
        pytest.param("? " * 500_000, id="keys"),
        pytest.param("a: " * 300_000, id="colons"),
        pytest.param("a: '" + "\n" * 1_000_000, id="a text without an end"),
        pytest.param("".join(f"k{i}: 1\n" for i in range(20_000)), id="unknown keys"),
        pytest.param("k" * 1_000_000 + ": 1", id="a long key"),
        pytest.param("#\n" * 1_000_000, id="two mebibytes"),
    ],
)
def test_no_file_takes_long_or_much(folder: Path, text: str) -> None:
    assert isinstance(load(folder, text), ConfigError)


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_secret_in_any_line_is_not_shown(folder: Path, number: int) -> None:
    """It comes from the environment, beside a mistake in each other section that makes all of it be reported."""
    for place in VALUE.finditer(LINES[number]):
        for text in ("${SECRET}", "${URL}", "x${SECRET}", "[${SECRET}]", "{a: ${SECRET}}"):
            line = LINES[number][: place.start()] + text + LINES[number][place.end() :]
            load(folder, "\n".join([*LINES[:number], line, *LINES[number + 1 :], "unknown: 1"]))
