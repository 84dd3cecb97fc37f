"""Reading rows: types that hold for the whole file, missing values, blocks that do not depend on the format."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from stream.reference import InvalidReferenceError
from stream.reference_rows import BLOCK_ROWS, Column, blocks, numbers, texts
from tests.stream.reference_data import FORMATS, Row, write


def text_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def column(path: Path, name: str = "x") -> Column:
    (block,) = blocks(path)
    return block.columns[name]


@pytest.mark.parametrize("extension", FORMATS)
def test_columns_have_the_same_kinds_and_values_in_every_format(tmp_path: Path, extension: str) -> None:
    rows = [
        {"i": 1, "f": 0.1, "w": 3.0, "s": "a,b", "b": True, "m": None},
        {"i": -2, "f": None, "w": 4.0, "s": 'say "é"\n', "b": False, "m": None},
        {"i": None, "f": 1e300, "w": 5.0, "s": None, "b": None, "m": None},
    ]
    (block,) = blocks(write(tmp_path, extension, rows))
    assert {name: set(found.kinds) for name, found in block.columns.items()} == {
        "i": {"integer"}, "f": {"number"}, "w": {"integer"}, "s": {"text"}, "b": {"boolean"}, "m": set(),
    }  # fmt: skip
    cells = {name: found.cells for name, found in block.columns.items()}
    np.testing.assert_array_equal(numbers(cells["i"]), [1, -2, np.nan])
    np.testing.assert_array_equal(numbers(cells["f"]), [0.1, np.nan, 1e300])
    np.testing.assert_array_equal(numbers(cells["m"]), [np.nan] * 3)
    assert texts(cells["i"], "integer").to_pylist() == ["1", "-2", None]
    assert texts(cells["w"], "integer").to_pylist() == ["3", "4", "5"]
    assert texts(cells["s"], "text").to_pylist() == ["a,b", 'say "é"\n', None]
    assert texts(cells["b"], "boolean").to_pylist() == ["true", "false", None]


@pytest.mark.parametrize("extension", FORMATS)
def test_fields_of_events_are_columns(tmp_path: Path, extension: str) -> None:
    rows = [{"prediction": "yes", "features": {"a": 1, "b": "x"}}, {"prediction": "no", "features": {"a": 2, "b": None}}]
    (block,) = blocks(write(tmp_path, extension, rows))
    assert {"prediction", "features.a", "features.b"} <= block.columns.keys()
    assert numbers(block.columns["features.a"].cells).tolist() == [1, 2]


@pytest.mark.parametrize("extension", [".jsonl", ".parquet"])
def test_event_without_features_has_none_of_them(tmp_path: Path, extension: str) -> None:
    rows: list[Row] = [{"features": {"a": 1}}, {"features": None}, {"features": {"a": 3}}]
    np.testing.assert_array_equal(numbers(column(write(tmp_path, extension, rows), "features.a").cells), [1, np.nan, 3])


@pytest.mark.parametrize("extension", FORMATS)
def test_blocks_are_cut_after_the_same_rows_in_every_format(tmp_path: Path, extension: str) -> None:
    n = 2 * BLOCK_ROWS + 5
    found = list(blocks(write(tmp_path, extension, [{"x": i} for i in range(n)])))
    assert [block.rows for block in found] == [BLOCK_ROWS, BLOCK_ROWS, 5]
    assert np.concatenate([numbers(block.columns["x"].cells) for block in found]).tolist() == list(range(n))


def test_parquet_row_groups_do_not_cut_blocks(tmp_path: Path) -> None:
    n = BLOCK_ROWS + 100
    pa.parquet.write_table(pa.table({"x": range(n)}), tmp_path / "rows.parquet", row_group_size=1000)
    assert [block.rows for block in blocks(tmp_path / "rows.parquet")] == [BLOCK_ROWS, 100]


@pytest.mark.parametrize("extension", FORMATS)
def test_columns_that_are_not_wanted_are_left_out(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path, extension, [{"x": 1, "y": 2}])
    (block,) = blocks(path, {"y"}.__contains__)
    assert list(block.columns) == ["y"]


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        (["1", "-2", ""], {"integer"}),
        (["1", "2.5"], {"number"}),
        (["1", "2.0"], {"integer"}),
        ([" 1", "2 "], {"integer"}),
        (["NaN", "NA", "3"], {"integer"}),
        (["inf", "3"], {"number"}),
        (["1e3", "-.5"], {"number"}),
        (["NaN", "", "null"], set()),
        (["true", "False", "TRUE", "NA"], {"boolean"}),
        (["true", "1"], {"text"}),
        (["1", "x"], {"text"}),
        (["1"] * 20 + ["x"], {"text"}),
        (["00501", "10115"], {"text"}),
        (["0x1F"], {"text"}),
        (["0.5", "0"], {"number"}),
        (["9007199254740993"], {"integer"}),
        (["99999999999999999999"], {"number"}),
        (["2024-05-01"], {"text"}),
    ],
)
def test_csv_column_is_what_all_its_cells_can_be(tmp_path: Path, cells: list[str], kinds: set[str]) -> None:
    path = text_file(tmp_path, "rows.csv", "x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    assert column(path).kinds == kinds


def test_text_that_spells_a_missing_number_is_still_a_category(tmp_path: Path) -> None:
    found = column(text_file(tmp_path, "rows.csv", "x,y\nNA,1\nDE,1\n,1\n"))
    assert texts(found.cells, "text").to_pylist() == ["NA", "DE", None]


def test_integers_beyond_float_precision_keep_their_digits_as_categories(tmp_path: Path) -> None:
    found = column(text_file(tmp_path, "rows.csv", "x\n9007199254740993\n9007199254740992\n"))
    assert texts(found.cells, "integer").to_pylist() == ["9007199254740993", "9007199254740992"]


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([1, 2.5], {"number"}),
        ([1, 2.0], {"integer"}),
        ([2**63, 1], {"number"}),
        ([2**53 + 1, 0.5], {"number"}),
        (["2024-05-01"], {"text"}),
        ([""], {"text"}),
        ([None], set()),
        ([1, "a", True, None], {"integer", "text", "boolean"}),
        ([{}, [1]], {"object", "array"}),
    ],
)
def test_json_column_is_what_stands_in_it(tmp_path: Path, values: list[Any], kinds: set[str]) -> None:
    assert column(write(tmp_path, ".jsonl", [{"x": value} for value in values])).kinds == kinds


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        (pa.array(["a", None, "b"]).dictionary_encode(), {"text"}),
        (pa.array(["a"], pa.large_string()), {"text"}),
        (pa.array([None], pa.string()), {"text"}),
        (pa.array([None], pa.int32()), set()),
        (pa.array([1.0, np.nan]), {"integer"}),
        (pa.array([np.nan]), set()),
        (pa.array([2**64 - 1], pa.uint64()), {"integer"}),
        (pa.array([1.5], pa.float16()), {"number"}),
        (pa.array([Decimal("1.50")]), {"number"}),
        (pa.array([datetime(2024, 5, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC")), {"timestamp[ms, tz=UTC]"}),
        (pa.array([b"x"]), {"binary"}),
        (pa.array([[1]]), {"list<element: int64>"}),
    ],
)
def test_parquet_column_is_what_its_type_says(tmp_path: Path, cells: pa.Array, kinds: set[str]) -> None:
    pa.parquet.write_table(pa.table({"x": cells}), tmp_path / "rows.parquet")
    assert column(tmp_path / "rows.parquet").kinds == kinds


def test_unusual_types_still_have_their_values() -> None:
    assert numbers(pa.array([Decimal("1.50"), None])).tolist()[0] == 1.5
    assert texts(pa.array([1.0, np.nan, None]), "integer").to_pylist() == ["1", None, None]
    assert texts(pa.array([2**64 - 1], pa.uint64()), "integer").to_pylist() == ["18446744073709551615"]
    assert np.signbit(numbers(pa.array([-0.0]))).tolist() == [False]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    for name, text in (("rows.jsonl", '\ufeff{"x":1}\r\n\n{"x":2}\n\n'), ("rows.csv", "\ufeffx\r\n1\r\n2\r\n")):
        assert numbers(column(text_file(tmp_path, name, text)).cells).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.txt", "x\n1\n", [".csv, .jsonl"]),
        ("rows.parquet.gz", "", [".parquet"]),
        ("rows.parquet", "no parquet", ["rows.parquet"]),
        ("rows.csv", "", ["rows.csv"]),
        ("rows.csv", "a,b\n1,2\n3\n", ["Expected 2 columns, got 1"]),
        ("rows.csv", "a,a\n1,2\n", ["['a']", "expected each name once"]),
        ("rows.csv.gz", "not compressed", ["rows.csv.gz"]),
        ("rows.jsonl.gz", "not compressed", ["rows.jsonl.gz"]),
        ("rows.jsonl", '{"x":1}\n\n{"x":\n', ["line 3"]),
        ("rows.jsonl", '{"x":1}\n[1]\n', ["line 2", "expected a JSON object"]),
    ],
)
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, said: list[str]) -> None:
    path = text_file(tmp_path, name, text)
    with pytest.raises(InvalidReferenceError) as caught:
        list(blocks(path))
    assert [part for part in (str(path), *said) if part not in str(caught.value)] == []


@pytest.mark.parametrize("extension", FORMATS)
def test_missing_file_is_named(tmp_path: Path, extension: str) -> None:
    with pytest.raises(InvalidReferenceError, match="nothing"):
        list(blocks(tmp_path / f"nothing{extension}"))


@pytest.mark.parametrize("extension", [".csv.gz", ".jsonl.gz"])
def test_truncated_file_is_named(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path, extension, [{"x": str(hash(i))} for i in range(3000)])
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InvalidReferenceError, match="rows"):
        list(blocks(path))


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    for name, data in (("rows.csv", b"x,y\n\xff,1\n"), ("head.csv", b"x,\xff\n1,1\n"), ("rows.jsonl", b'{"x":"\xff"}\n')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidReferenceError, match=name):
            list(blocks(tmp_path / name))
