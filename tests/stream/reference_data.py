"""Files of scored rows, the same rows in every format that a reference can be built from."""

import csv
import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
Row = dict[str, Any]


def write(folder: Path, extension: str, rows: list[Row]) -> Path:
    """The rows as a file; in CSV the fields of `features` are columns, None is an empty cell."""
    path = folder / f"rows{extension}"
    if extension == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    opened = gzip.open if extension.endswith(".gz") else open
    if extension.startswith(".jsonl"):
        with opened(path, "wb") as file:
            file.write(b"\n".join(map(orjson.dumps, rows)))
        return path
    flat = [
        {name: value for name, value in row.items() if name != "features"}
        | {f"features.{name}": value for name, value in row.get("features", {}).items()}
        for row in rows
    ]
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in flat for name in row))
        writer.writeheader()
        writer.writerows(flat)
    return path
