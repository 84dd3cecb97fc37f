"""The configuration file as it is written: YAML to mappings, lists and text, with the environment filled in.

Every scalar stays text, quoted or not: its place in the tree says what it means (`settings_values`). So no class name becomes a boolean, no
password a number, and a port may come from the environment. No key is known here. What cannot be read at all raises `ConfigError`;
what can be read around is collected, to be reported with the rest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from stream.settings_values import KeyPath

_BYTES_MAX = 1 << 20  # of a file; one of this size is read in about a second
_NODES_MAX = 100_000  # a few lines of nested aliases would otherwise grow to any size
_CHARACTERS_MAX = 1 << 22  # of all values, for the same reason
_SHOWN_MAX = 80  # characters of a value or key in a message
# The last alternative takes all the rest when a default has no end: looking for it again at each `${` would take the square of the length.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|[A-Za-z_][A-Za-z0-9_]*:-[^}]*\Z)?")
_STANDARD_TAG = "tag:yaml.org,2002:"

Tree = Mapping[str, "Tree"] | Sequence["Tree"] | str | None


class ConfigError(Exception):
    """A configuration that cannot be used: the file, and all problems, one line each."""

    def __init__(self, file: Path, problems: Sequence[str]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: {problem}" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that could be read. `problems`: what is wrong so far; `unset`: the key paths whose variable is not set, "" in the tree."""

    tree: Tree
    templates: Mapping[KeyPath, str]
    problems: Sequence[str]
    unset: frozenset[KeyPath]

    def shown(self, path: KeyPath) -> str:
        """The value at `path` as a message may show it.

        No secret may pass: options of Kafka and the address of Redis are masked, of other addresses the part before "@" is; a value from
        the environment is shown as the `${NAME}` it came from.
        """
        value = self._value(path)
        if not isinstance(value, str):
            return "nothing" if value is None else "a mapping" if isinstance(value, Mapping) else "a list"
        if path[:2] == ("kafka", "options"):
            return "'***'"
        text = self.templates.get(path, value)
        if path == ("redis", "url"):
            return quoted(re.sub(r"^([a-z]*://)?.*", r"\1***", text, count=1, flags=re.DOTALL))
        return quoted(f"***@{text.rpartition('@')[2]}" if "@" in text else text)

    def _value(self, path: KeyPath) -> Tree:
        value = self.tree
        for step in path:
            if isinstance(value, Mapping) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value


def quoted(text: str) -> str:
    """`text` on one line, in quotes, cut to a readable length."""
    return repr(text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…")


def path_text(path: KeyPath) -> str:
    """The key path as messages show it; a key that would garble the line is quoted."""
    steps = (str(step) for step in path)
    return ".".join(step if step.isprintable() and 0 < len(step) <= _SHOWN_MAX else quoted(step) for step in steps) or "(top level)"


def read_document(path: Path, environ: Mapping[str, str]) -> Document:
    """The file at `path` with `${NAME}` and `${NAME:-default}` replaced from `environ`; `$${` stands for `${`."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            raise ConfigError(path, [f"larger than {_BYTES_MAX} bytes, expected at most that"])
        text = content.decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}, expected a YAML file"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"line {line}: not UTF-8, expected a YAML file in UTF-8"
    else:
        return _parse(path, text, environ)
    raise ConfigError(path, [problem])


def _parse(path: Path, text: str, environ: Mapping[str, str]) -> Document:
    reader = _Reader(environ)
    try:
        node = _root(text)
        tree = None if node is None else reader.tree(node, ())
    except _SyntaxError as error:
        problem = str(error)
    except RecursionError:
        problem = "nested too deeply, expected no more levels than the documented keys need"
    else:
        return Document(tree, reader.templates, reader.problems, frozenset(reader.unset))
    raise ConfigError(path, [problem])


class _SyntaxError(Exception):
    pass


def _root(text: str) -> yaml.Node | None:
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _SyntaxError(f"line {line}, column {column}: character {error.character:#x}, expected only printable ones") from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark or loader.get_mark(), error.problem or ""
    except (ValueError, OverflowError):  # an escape beyond Unicode, a version number without end
        mark, problem = loader.get_mark(), "number out of range"
    raise _SyntaxError(f"line {mark.line + 1}, column {mark.column + 1}: {_without_values(problem)}, expected valid YAML")


def _without_values(problem: str) -> str:
    """An unquoted password that starts with & * or ! is read as anchor, alias or tag, which PyYAML's messages repeat."""
    return re.sub(r"(anchor|alias|handle) .*", r"\1", problem, flags=re.DOTALL)


class _Reader:
    """One walk over the nodes of a document."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.templates: dict[KeyPath, str] = {}
        self.problems: list[str] = []
        self.unset: set[KeyPath] = set()
        self.nodes = self.characters = 0

    def tree(self, node: yaml.Node, path: KeyPath) -> Tree:
        self.nodes += 1
        if self.nodes > _NODES_MAX:
            raise _SyntaxError(
                f"line {node.start_mark.line + 1}: too large, expected at most {_NODES_MAX} values, aliases counted each time"
            )
        if not node.tag.startswith(_STANDARD_TAG):
            self.report(path, "has a tag, expected none: quote a value that starts with '!'")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.tree(child, (*path, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Tree]:
        result: dict[str, Tree] = {}
        lines: dict[str, int] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(path, f"the key in line {line} is a mapping or a list, expected text")
                continue
            key = key_node.value
            if key in lines:
                self.report((*path, key), f"given in line {lines[key]} and in line {line}, expected one of them")
            lines[key] = line
            result[key] = self.tree(child, (*path, key))
        return result

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> str | None:
        """The text; None for a plain scalar that says nothing, and for a reference alone that comes to nothing."""
        if node.style is None and node.value in ("", "~", "null"):
            return None
        self.take(len(node.value))
        text = _REFERENCE.sub(lambda reference: self.replacement(reference, node.value, path), node.value)
        return None if not text and _REFERENCE.fullmatch(node.value) else text

    def replacement(self, reference: re.Match[str], template: str, path: KeyPath) -> str:
        """The text for one `${...}`; an empty variable takes the default too, as in a shell."""
        name, default = reference["name"], reference["default"]
        if reference[0] == "$${":
            return "${"
        if name in self.environ and (self.environ[name] or default is None):
            self.templates[path] = template
            self.take(len(self.environ[name]))
            return self.environ[name]
        if default is None:
            rule = (
                f"the environment variable {name} to be set, or ${{{name}:-default}}"
                if name
                else "${NAME} or ${NAME:-default}; $${ gives ${"
            )
            self.report(path, f"{quoted(reference[0] if name else '${')}, expected {rule}")
            self.unset.add(path)
        return default or ""

    def take(self, characters: int) -> None:
        """Count the text of a value, which an alias or a variable may repeat."""
        self.characters += characters
        if self.characters > _CHARACTERS_MAX:
            raise _SyntaxError(f"too large, expected at most {_CHARACTERS_MAX} characters, aliases and variables counted each time")

    def report(self, path: KeyPath, problem: str) -> None:
        self.problems.append(f"{path_text(path)}: {problem}")
