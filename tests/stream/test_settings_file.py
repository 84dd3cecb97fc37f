"""Reading the configuration file: YAML that is none, variables, secrets; and that nothing but ConfigError ever comes out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stream.settings import Settings, load_settings
from stream.settings_file import ConfigError
from stream.settings_summary import settings_summary

CONFIG = Path(__file__).parents[2] / "config"
ONE_MODEL = 'models: {fraud: {classes: ["0", "1"]}}\n'

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


# What is not even YAML


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file or directory, expected a YAML file"):
        load_settings(tmp_path / "nowhere.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kafka:\n  brokers: [a\n", "line 3, column 1: expected ',' or ']', but got '<stream end>', expected valid YAML"),
        ("kafka: @a\n", "line 1, column 8: found character '@' that cannot start any token, expected valid YAML"),
        ("a: 1\n--- \nb: 2\n", "line 2, column 1: but found another document, expected valid YAML"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8, expected a YAML file in UTF-8"),
        ("a: 1\nb: x\0\n", "line 2, column 5: character 0x0, expected only printable ones"),
        ('a: "\\UFFFFFFFF"\n', "line 1, column 7: number out of range, expected valid YAML"),
        ("[" * 2_000, "nested too deeply, expected no more levels than the documented keys need"),
        ("a: &a [*a]\n", "nested too deeply, expected no more levels than the documented keys need"),
    ],
)
def test_file_that_is_not_yaml_is_reported_with_line_and_column(problems: Problems, text: str | bytes, problem: str) -> None:
    assert problems(text) == [problem]


def test_nested_aliases_cannot_grow_without_end(problems: Problems) -> None:
    levels = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10) if i else 'x'}]\n" for i in range(9))
    (problem,) = problems(levels)
    assert problem.endswith("too large, expected at most 100000 values, aliases counted each time")


def test_aliases_of_a_long_text_cannot_grow_without_end(problems: Problems) -> None:
    aliases = ", ".join(f"k{i}: *long" for i in range(1000))
    for text in ("x" * 10_000, "${V}" * 10):
        (problem,) = problems(f"kafka: {{options: {{k: &long '{text}', {aliases}}}}}\n{ONE_MODEL}", V="x" * 1000)
        assert problem == "too large, expected at most 4194304 characters, aliases and variables counted each time"


def test_file_larger_than_a_mebibyte_is_not_read(problems: Problems) -> None:
    assert problems("ü" * (1 << 20)) == ["larger than 1048576 bytes, expected at most that"]


def test_defaults_without_an_end_are_one_problem_and_show_nothing(problems: Problems) -> None:
    assert problems(f"kafka: {{options: {{sasl.password: '${{P}}{'${P:-hunter2' * 50_000}'}}}}\n{ONE_MODEL}", P="x") == [
        "kafka.options.sasl.password: '${', expected ${NAME} or ${NAME:-default}; $${ gives ${"
    ]


def test_alias_stands_for_its_value(load: Load) -> None:
    settings = load("models:\n  a: {classes: &classes [x, y]}\n  b: {classes: *classes}\n")
    assert settings.model("b").classes == ("x", "y")


def test_key_given_twice_is_an_error(problems: Problems) -> None:
    text = f"kafka:\n  group: a\n  start: latest\n  group: b\n{ONE_MODEL}"
    assert problems(text) == ["kafka.group: given in line 2 and in line 4, expected one of them"]


def test_key_that_is_no_text_and_tag_are_errors(problems: Problems) -> None:
    assert problems(f"kafka: {{[a]: b}}\n{ONE_MODEL}") == ["kafka: the key in line 1 is a mapping or a list, expected text"]
    assert problems(f"kafka: {{group: !x b}}\n{ONE_MODEL}") == ["kafka.group: has a tag, expected none: quote a value that starts with '!'"]


# Environment and secrets


def test_variables_are_filled_in(load: Load) -> None:
    text = """
        kafka: {brokers: "${HOST}:${PORT:-9092}", group: "$${HOST}", options: {sasl.password: "${PASSWORD}"}}
        worker: {web_port: "${WEB_PORT}"}
        models: {fraud: {classes: [x, y], positive: "${POSITIVE:-}", reference: "${HOME_OF}/fraud.json"}}
        """
    settings = load(text, HOST="kafka", PASSWORD="0123", WEB_PORT="9000", HOME_OF="/data")
    assert settings.kafka.brokers == "kafka:9092"
    assert settings.kafka.group == "${HOST}"
    assert settings.kafka.client_options() == {"sasl.password": "0123"}
    assert settings.worker.web_port == 9000
    assert settings.model("fraud").positive is None
    assert settings.model("fraud").reference == Path("/data/fraud.json")


def test_empty_variable_takes_the_default(load: Load) -> None:
    assert load("kafka: {brokers: '${KAFKA:-a:1}'}\n" + ONE_MODEL, KAFKA="").kafka.brokers == "a:1"


def test_unset_variable_is_an_error_with_its_key_path(problems: Problems) -> None:
    assert problems("redis: {url: 'redis://:${PASSWORD}@a:1/0'}\n" + ONE_MODEL) == [
        "redis.url: '${PASSWORD}', expected the environment variable PASSWORD to be set, or ${PASSWORD:-default}"
    ]
    assert problems("kafka: {group: 'a ${9} b'}\n" + ONE_MODEL) == ["kafka.group: '${', expected ${NAME} or ${NAME:-default}; $${ gives ${"]


def test_variable_is_not_read_as_yaml_or_filled_in_again(load: Load) -> None:
    settings = load("kafka: {group: '${GROUP}'}\n" + ONE_MODEL, GROUP="${HOME} {a: 1} # x")
    assert settings.kafka.group == "${HOME} {a: 1} # x"


def test_value_from_the_environment_is_shown_as_its_name(problems: Problems) -> None:
    (problem,) = problems("kafka: {brokers: '${PASSWORD}'}\n" + ONE_MODEL, PASSWORD="hunter2")
    assert problem == "kafka.brokers: '${PASSWORD}', expected host:port, or several with commas between"


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {options: {sasl.password: [hunter2]}}",
        "kafka: {options: hunter2}",
        "kafka: {options: {sasl.password: hunter2, acks: hunter2}, brokers: x}",
        "kafka: {sasl.password: hunter2}",
        "kafka: {opttions: {sasl.password: hunter2}}",
        "kafka: {brokers: 'me:hunter2@kafka:port'}",
        "redis: 'redis://:hunter2@a:1/0'",
        "redis: {url: 'redis://:hunter2@a:port/0'}",
        "redis: {url: 'redis://hunter2'}\nkafka: x",
        "redis: {url: hunter2}",
        "redis: {url: 'redis://localhost:1/x?password=hunter2'}",
        "redis: {url: '${REDIS:-http://hunter2}'}",
        "redis: {password: hunter2}",
        "kafka: {options: {sasl.password: *hunter2}}",
        "kafka: {options: {sasl.password: !hunter2 x}}",
        "kafka: {options: {sasl.password: !hunter2! x}}",
        "kafka: {options: {sasl.password: &hunter2 x, a: &hunter2 y}}",
        "kafka: {options: {sasl.password: hunter2",
    ],
)
def test_secret_is_never_shown(problems: Problems, text: str) -> None:
    assert "hunter2" not in "\n".join(problems(f"{text}\n{ONE_MODEL}", REDIS="http://hunter2"))


def test_secret_is_not_in_repr_or_summary(load: Load) -> None:
    settings = load(
        "kafka: {options: {security.protocol: SASL_SSL, sasl.password: '${P}'}}\nredis: {url: 'redis://me:${P}@a:1/0'}\n" + ONE_MODEL,
        P="hunter2",
    )
    assert settings.kafka.client_options() == {"security.protocol": "SASL_SSL", "sasl.password": "hunter2"}
    assert "hunter2" not in repr(settings) + str(settings) + settings_summary(settings)


# Whatever the file holds, there are settings or a ConfigError


def outcome(folder: Path, content: bytes) -> Settings | ConfigError:
    path = folder / "driftstream.yaml"
    path.write_bytes(content)
    try:
        return load_settings(path, {"SET": "x y"})
    except ConfigError as error:
        return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


KEYS = st.sampled_from([*Settings.key_names(), "fraud", "classes", "size", "slide", "psi", "features", "warning", "options", "url"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=20)
    | st.sampled_from(["1m", "0.1", "off", "${SET}", "${UNSET}", "${SET:-1}", "${", "redis://a", "a:1"])
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=5))


@hypothesis.settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"%@`#?\n a1$~<=", max_size=60).map(str.encode))
@example(content=b"%YAML 1." + b"9" * 5_000 + b"\n--- a")
@example(content=b"? [a]\n: b")
@example(content=b"\xef\xbb\xbfmodels: {a: {classes: [x, y]}}")
def test_no_bytes_raise_anything_but_config_error(folder: Path, content: bytes) -> None:
    found = outcome(folder, content)
    assert isinstance(found, Settings) or found.problems


def paths(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


def replaced(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    copy: Any = dict(tree) if isinstance(tree, Mapping) else list(tree)
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


EXAMPLE = yaml.load((CONFIG / "driftstream.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


@hypothesis.settings(deadline=None)
@given(tree=TREES | st.builds(replaced, st.just(EXAMPLE), st.sampled_from(paths(EXAMPLE)), TREES))
def test_no_tree_raises_anything_but_config_error(folder: Path, tree: Any) -> None:
    found = outcome(folder, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"))
    if isinstance(found, Settings):
        assert all(settings_summary(found) and found.model(name).pane_ms for name in found.models)


@hypothesis.settings(deadline=None)
@given(
    place=st.sampled_from(
        [path for path in paths(EXAMPLE) if path[:1] in (("kafka",), ("redis",)) and "topics" not in path and path[-1] != "group"]
    ),
    shape=st.sampled_from(
        ["s3cr3t", "redis://u:s3cr3t@h:x/0", "${SET}s3cr3t@", ["s3cr3t"], {"sasl.password": "s3cr3t"}, {"a": {"b": "s3cr3t"}}]
    ),
    broken=st.sampled_from(paths(EXAMPLE)),
    value=TREES,
)
def test_no_combination_of_errors_shows_a_secret(
    folder: Path, place: tuple[str, ...], shape: Any, broken: tuple[str, ...], value: Any
) -> None:
    tree = EXAMPLE if place[: len(broken)] == broken or broken[: len(place)] == place else replaced(EXAMPLE, broken, value)
    if place in (
        ("kafka", "brokers"),
        ("kafka", "start"),
        ("kafka", "group_protocol"),
        ("redis", "namespace"),
        ("kafka",),
        ("redis",),
    ) and isinstance(shape, str):
        shape = "u:s3cr3t@h"  # elsewhere than in options and the address, a secret is known by its "@"
    found = outcome(folder, yaml.safe_dump(replaced(tree, place, shape)).encode())
    assert "s3cr3t" not in (str(found) if isinstance(found, ConfigError) else repr(found))
