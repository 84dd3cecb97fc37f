"""Writes the JSON Schemas of what driftstream publishes, from the types in `stream.results` and `stream.alerts`:
`python config/schemas/build_schemas.py`.

The schemas of what it reads, `prediction.schema.json` and `label.schema.json`, are written by hand.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from stream.alerts import Alert, DeadLetter, LateEvent
from stream.results import Result

FOLDER = Path(__file__).parent
MESSAGES = {"result": Result, "alert": Alert, "late-event": LateEvent, "dead-letter": DeadLetter}


def schema(name: str, message: type) -> dict[str, Any]:
    """The schema of one message, its own keywords at the top and the types it uses in `$defs`."""
    generated = msgspec.json.schema(message)
    definitions = generated["$defs"]
    own = definitions.pop(message.__name__)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:driftstream:schema:{name}"}
    return {**head, **own} | ({"$defs": definitions} if definitions else {})


def build() -> dict[str, str]:
    """File names and contents."""
    return {f"{name}.schema.json": json.dumps(schema(name, message), indent=2) + "\n" for name, message in MESSAGES.items()}


if __name__ == "__main__":
    for file_name, content in build().items():
        (FOLDER / file_name).write_text(content, encoding="utf-8")
