"""The published schemas: generated from the code that writes the messages, valid, and true of messages it encodes."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
import yaml

from config.schemas.build_schemas import FOLDER, MESSAGES, build
from stream.alerts import encode

ASYNCAPI = FOLDER.parent / "asyncapi.yaml"
NAMES = sorted(path.name for path in FOLDER.glob("*.schema.json"))
FILE_OF_MESSAGE = {
    "prediction": "prediction.schema.json",
    "label": "label.schema.json",
    "result": "result.schema.json",
    "alert": "alert.schema.json",
    "lateEvent": "late-event.schema.json",
    "deadLetter": "dead-letter.schema.json",
}


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def asyncapi() -> Any:
    return yaml.safe_load(ASYNCAPI.read_text(encoding="utf-8"))


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(load(name))


def examples() -> list[Any]:
    """(message, payload) of every example in the AsyncAPI document."""
    return [
        pytest.param(message, example["payload"], id=f"{message}-{example['name']}")
        for message, content in asyncapi()["components"]["messages"].items()
        for example in content["examples"]
    ]


def test_committed_schemas_are_what_the_code_generates() -> None:
    committed = {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES if name in build()}
    assert committed == build(), "run: python config/schemas/build_schemas.py"


def test_every_message_that_goes_out_has_a_schema() -> None:
    assert set(get_args(encode.__annotations__["message"])) == set(MESSAGES.values())


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_and_names_itself(name: str) -> None:
    schema = load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:driftstream:schema:{name.removesuffix('.schema.json')}"
    assert schema["title"]
    assert schema["description"]


@pytest.mark.parametrize(("message", "payload"), examples())
def test_example_fits_its_schema(message: str, payload: Any) -> None:
    validator(FILE_OF_MESSAGE[message]).validate(payload)


@pytest.mark.parametrize(("message", "payload"), [example for example in examples() if example.values[0] not in ("prediction", "label")])
def test_example_is_what_the_code_would_write(message: str, payload: Any) -> None:
    """Reading it into our type and writing it again loses nothing and adds nothing."""
    type_ = MESSAGES[FILE_OF_MESSAGE[message].removesuffix(".schema.json")]
    written = encode(msgspec.json.decode(json.dumps(payload), type=type_))
    assert json.loads(written) == payload


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("prediction", {"timestamp": 1, "model": "m", "prediction": "1"}),
        ("prediction", {"prediction_id": "1", "timestamp": 1, "model": "m", "prediction": "1", "features": {"a": [1]}}),
        ("prediction", {"prediction_id": "1", "timestamp": 1, "model": "m", "prediction": "1", "features": {}, "score": 1.2}),
        ("label", {"prediction_id": "1", "timestamp": None, "label": "1"}),
        ("alert", {"status": "gone"}),
        ("dead-letter", {}),
    ],
)
def test_broken_message_does_not_fit(name: str, broken: Any) -> None:
    assert not validator(f"{name}.schema.json").is_valid(broken)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == "$ref"] + [ref for v in node.values() for ref in references(v)]
    return [ref for item in node for ref in references(item)] if isinstance(node, list) else []


def resolves(document: Any, folder: Path, reference: str) -> bool:
    path, _, pointer = reference.partition("#")
    node = json.loads((folder / path).read_text(encoding="utf-8")) if path else document
    for key in pointer.split("/")[1:]:
        node = node[key]
    return isinstance(node, dict)


def test_all_references_of_the_asyncapi_document_resolve() -> None:
    document = asyncapi()
    found = references(document)
    assert all(resolves(document, ASYNCAPI.parent, reference) for reference in found)
    assert {reference for reference in found if not reference.startswith("#")} == {f"schemas/{name}" for name in NAMES}


def test_asyncapi_document_has_all_six_topics_in_the_right_direction() -> None:
    document = asyncapi()
    direction = {
        document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["address"]: operation["action"]
        for operation in document["operations"].values()
    }
    assert direction == {
        "driftstream.predictions": "receive",
        "driftstream.labels": "receive",
        "driftstream.results": "send",
        "driftstream.alerts": "send",
        "driftstream.late": "send",
        "driftstream.dead-letter": "send",
    }
