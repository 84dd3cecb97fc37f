"""The configuration loader, whatever the file holds: settings that can be used, or a ConfigError, soon, and without a secret in it.

The shipped configuration is changed as text; `test_settings_file.py` has trees of every shape.
"""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.model import Model
from stream.settings import Settings, load_settings
from stream.settings_file import ConfigError
from stream.settings_summary import settings_summary
from tests.fuzz.effort import examples
from tests.fuzz.hostile_yaml import EVERY_VALUE, EXAMPLE, LINES, configurations, with_value

SECRET = "s3cr3t"
ENVIRON = {"SECRET": SECRET, "EMPTY": "", "URL": f"redis://me:{SECRET}@host:port/0", "LONG": SECRET * 1000}
SECONDS_MAX = 10  # most take milliseconds; what grows with the square of the file takes minutes


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


@examples(60)
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


@pytest.mark.parametrize("number", [number for number, line in enumerate(LINES) if "classes:" not in line])
def test_a_secret_in_any_line_is_not_shown(folder: Path, number: int) -> None:
    """It comes from the environment; a mistake elsewhere makes an error of it in any case. Class names are no secret: a rule lists them."""
    for text in ('"${URL}"', "'x${SECRET}'", "['${SECRET}']"):
        for content in with_value(number, text):
            load(folder, content + "unknown: 1")


@pytest.mark.parametrize("section", ["options:", "classes:"])
def test_every_hostile_value_is_loaded_or_refused(folder: Path, section: str) -> None:
    number = next(i for i, line in enumerate(LINES) if line.strip().startswith(section))
    for value in EVERY_VALUE:
        load(folder, "\n".join([*LINES[:number], f"{LINES[number].split(':')[0]}: {value}", *LINES[number + 1 :]]))
