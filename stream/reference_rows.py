"""Rows of a reference's data, from CSV, Parquet or JSON lines, as blocks of typed columns. Nothing is counted here.

Invariant: the same rows come in the same blocks from every format, so whatever is summed over them is the same float. One block is in
memory at a time. JSON lines are not read by Arrow: it fixes every type by the first block, and takes a text like "2024-05-01" for a time.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from stream.reference import InvalidReferenceError

Kind = Literal["boolean", "integer", "number", "text"]

BLOCK_ROWS = 8_192  # 2 MB of events of 256 bytes; a change moves the last digits of moments, and so every reference_id
EVENT = "features"  # the struct that makes a row an event; its fields are the columns "features.name", as they may be called in a CSV too
EVENT_FIELD = EVENT + "."
_EXACT_INTEGER = 2.0**53  # beyond it a float64 no longer tells neighbouring integers apart
_HEAD = 16  # cells tried before all the others
_JSON_KINDS = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "array"}
_BLANKS = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", NA, NaN, null ...: no number, but possibly a category (Namibia is NA)
_BOOLEANS = pa.array(["true", "false"])


@dataclass(frozen=True, slots=True)
class Column:
    """Cells of one column in one block.

    `kinds` is what stands in them: one `Kind`, none for no value at all, else what makes the column unusable (several, or another type).
    """

    kinds: frozenset[str]
    cells: pa.Array


@dataclass(frozen=True, slots=True)
class Block:
    """Up to `BLOCK_ROWS` consecutive rows; a column without a value in them may be absent."""

    rows: int
    columns: dict[str, Column]


def blocks(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Block]:
    """All rows of a file, in order; columns that are not `wanted` are left out. Raises InvalidReferenceError if it cannot be read."""
    read = _READERS[_extension(path)]
    try:
        yield from read(path, wanted)
    except InvalidReferenceError:
        raise
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InvalidReferenceError(f"cannot read reference data: path={str(path)!r}: {error}") from error


def is_textual(path: Path) -> bool:
    """Whether cells have no type of their own, so that numbers and texts in one column are all texts."""
    return _extension(path) == ".csv"


def numbers(cells: pa.Array) -> npt.NDArray[np.float64]:
    """Cells as float64; NaN where there is none. Zero has one sign."""
    if pa.types.is_string(cells.type):
        cells = _trimmed(cells)
    values: npt.NDArray[np.float64] = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values + 0.0


def texts(cells: pa.Array, kind: Kind) -> pa.Array:
    """Cells as the canonical texts of categories: "true", "-12", any text; null where there is none."""
    textual = pa.types.is_string(cells.type)
    if kind == "boolean" and textual:
        cells = pc.utf8_lower(_trimmed(cells))
    if kind == "integer":
        cells = _integers(_trimmed(cells) if textual else cells)
    return pc.cast(cells, pa.string())


def _extension(path: Path) -> str:
    name = path.name.lower()
    extension = Path(name.removesuffix(".gz")).suffix
    if extension not in _READERS or (extension == ".parquet" and name.endswith(".gz")):
        raise InvalidReferenceError(
            f"cannot read reference data: path={str(path)!r}, expected .csv, .jsonl (either also with .gz) or .parquet"
        )
    return extension


def _csv_blocks(path: Path, wanted: Callable[[str], bool]) -> Iterator[Block]:
    """Every cell is read as text: a type guessed from the first rows need not hold for the rest."""
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as head:
        used = [name for name in _distinct(path, head.schema.names) if wanted(name)]
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(used, pa.string()), include_columns=used, null_values=[""], strings_can_be_null=True
    )
    with pyarrow.csv.open_csv(path, parse_options=parse, convert_options=convert) as batches:
        for table in _tables(batches):
            yield Block(table.num_rows, {name: _untyped(table[name].combine_chunks()) for name in used})


def _parquet_blocks(path: Path, wanted: Callable[[str], bool]) -> Iterator[Block]:
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        used = [name for name in _distinct(path, file.schema_arrow.names) if name == EVENT or wanted(name)]
        for table in _tables(file.iter_batches(BLOCK_ROWS, columns=used)):
            cells = {name: table[name].combine_chunks() for name in table.column_names}
            events = cells.get(EVENT)
            if events is not None and pa.types.is_struct(events.type):
                fields = zip(events.type.names, events.flatten(), strict=True)
                cells |= {EVENT_FIELD + name: field for name, field in fields if wanted(EVENT_FIELD + name)}
            yield Block(table.num_rows, {name: _typed(column) for name, column in cells.items()})


def _distinct(path: Path, names: list[str]) -> list[str]:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidReferenceError(f"cannot read reference data: path={str(path)!r}, columns {repeated}: expected each name once")
    return names


def _tables(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of `BLOCK_ROWS`, the last one shorter."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= BLOCK_ROWS:
            table = pa.Table.from_batches(pending)
            whole = table.num_rows - table.num_rows % BLOCK_ROWS
            yield from (table.slice(start, BLOCK_ROWS) for start in range(0, whole, BLOCK_ROWS))
            pending = table.slice(whole).to_batches()
    if any(part.num_rows for part in pending):
        yield pa.Table.from_batches(pending)


def _jsonl_blocks(path: Path, wanted: Callable[[str], bool]) -> Iterator[Block]:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        rows = (_json_object(path, number, line) for number, line in enumerate(file, 1) if line.strip())
        while block := list(islice(rows, BLOCK_ROWS)):
            columns = _json_columns(block, wanted, "")
            events = [row.get(EVENT) for row in block]
            if any(type(event) is dict for event in events):
                fields = [event if type(event) is dict else {} for event in events]
                columns |= _json_columns(fields, wanted, EVENT_FIELD)
            yield Block(len(block), columns)


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InvalidReferenceError(f"cannot read reference data: path={str(path)!r}, line {number}: {error}") from error
    if type(row) is not dict:
        raise InvalidReferenceError(f"cannot read reference data: path={str(path)!r}, line {number}: expected a JSON object")
    return row


def _json_columns(rows: list[dict[str, Any]], wanted: Callable[[str], bool], prefix: str) -> dict[str, Column]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {prefix + name: _json_column([row.get(name) for row in rows]) for name in names if wanted(prefix + name)}


def _json_column(values: list[Any]) -> Column:
    types = set(map(type, values)) - {type(None)}
    if types <= {int, float}:
        try:
            return _typed(pa.array(values, pa.float64() if float in types else pa.int64()))
        except (pa.ArrowInvalid, OverflowError):  # an integer that needs more bits
            return _typed(pa.array([None if value is None else float(value) for value in values], pa.float64()))
    if types in ({bool}, {str}):
        return _typed(pa.array(values))
    return Column(frozenset(_JSON_KINDS[kind] for kind in types), pa.nulls(len(values)))


def _typed(cells: pa.Array) -> Column:
    """A column whose cells have a type; floats that are all whole are integers."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind, is_a = cells.type, pa.types
    if is_a.is_integer(kind):
        kinds = {"integer"} if cells.null_count < len(cells) else set()
    elif is_a.is_floating(kind) or is_a.is_decimal(kind):
        kinds = _number_kinds(numbers(cells))
    elif is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        cells, kinds = pc.cast(cells, pa.string()), {"text"}
    else:
        kinds = {"boolean"} if is_a.is_boolean(kind) else set() if is_a.is_null(kind) else {str(kind)}
    return Column(frozenset(kinds), cells)


def _untyped(cells: pa.Array) -> Column:
    """A column of texts, typed by what all of them can be read as: text at the head is enough to make it text."""
    head = _readable_as(cells[:_HEAD])
    return Column(frozenset(head if head == {"text"} else _readable_as(cells)), cells)


def _readable_as(cells: pa.Array) -> set[str]:
    """Leading zeros make a code ("00501"), not a number."""
    values = pc.drop_null(_trimmed(cells))
    if len(values) == 0:
        return set()
    if pc.any(pc.match_substring_regex(values, r"^[-+]?0[0-9xX]")).as_py():
        return {"text"}
    if _can_be_cast(values, pa.int64()):
        return {"integer"}
    if _can_be_cast(values, pa.float64()):
        return _number_kinds(numbers(values))
    return {"boolean"} if pc.all(pc.is_in(pc.utf8_lower(values), _BOOLEANS)).as_py() else {"text"}


def _can_be_cast(values: pa.Array, kind: pa.DataType) -> bool:
    try:
        for part in (values[:_HEAD], values):  # a cell that fails costs thirty times one that does not; mostly the first ones fail too
            pc.cast(part, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _number_kinds(values: npt.NDArray[np.float64]) -> set[str]:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return set()
    return {"integer"} if ((np.abs(present) <= _EXACT_INTEGER) & (np.floor(present) == present)).all() else {"number"}


def _trimmed(cells: pa.Array) -> pa.Array:
    """Texts without the spaces around them, null for those that stand for no value."""
    trimmed = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.is_in(trimmed, _BLANKS), pa.scalar(None, pa.string()), trimmed)


def _integers(cells: pa.Array) -> pa.Array:
    """Whole numbers, in whatever way they are written ("12", "12.0"), as an integer array."""
    if pa.types.is_integer(cells.type):
        return cells
    try:
        return pc.cast(cells, pa.int64())
    except pa.ArrowInvalid:
        return pa.array(numbers(cells), from_pandas=True).cast(pa.int64())  # from_pandas: NaN is null


_READERS: dict[str, Callable[[Path, Callable[[str], bool]], Iterator[Block]]] = {
    ".csv": _csv_blocks,
    ".jsonl": _jsonl_blocks,
    ".parquet": _parquet_blocks,
}
