"""What pydantic says about a configuration, in our words: `key.path: value, expected rule`.

The value shown is the text in the file (`Document.shown` keeps the secrets out). The value of an unknown key is never shown: it may be a
misspelt secret.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from stream.settings_file import Document, path_text, quoted
from stream.settings_values import KeyPath, Section

_RULES = {
    "missing": "a value: it has no default",
    "model_type": "a mapping",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}


def explain(error: ValidationError, root: type[Section], document: Document) -> Iterator[str]:
    """One line for each problem, without those of a value that misses its environment variable, which the document reports."""
    for details in error.errors(include_url=False, include_input=False):
        path = details["loc"]
        if path in document.unset:
            continue
        if details["type"] == "extra_forbidden":
            yield f"{path_text(path)}: unknown key, expected {_known_keys(root, path)}"
        elif path[-1:] == ("[key]",):
            yield f"{path_text(path[:-1])}: {quoted(str(path[-2]))}, expected {_rule(details)}"
        else:
            yield f"{path_text(path)}: {document.shown(path)}, expected {_rule(details)}"


def _rule(details: Mapping[str, Any]) -> str:
    context = details.get("ctx", {})
    return str(context.get("rule") or context.get("expected") or _RULES.get(details["type"]) or details["msg"])


def _known_keys(root: type[Section], path: KeyPath) -> str:
    """The keys that are valid where `path` ends, the one that may have been meant last."""
    keys = _section_at(root, path[:-1]).key_names()
    nearest = get_close_matches(str(path[-1]), keys, n=1)
    return f"one of {', '.join(keys)}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _section_at(annotation: Any, path: KeyPath) -> type[Section]:
    """The section at `path` below a section, a container of sections, or an optional one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, UnionType):
        return _section_at(arguments[0], path)
    if origin is not None and path:
        return _section_at(arguments[-1] if issubclass(origin, Mapping) else arguments[0], path[1:])
    if path:
        field = next(field for name, field in annotation.model_fields.items() if (field.alias or name) == path[0])
        return _section_at(field.annotation, path[1:])
    section: type[Section] = annotation
    return section
