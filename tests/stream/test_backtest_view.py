"""The back-test as a person sees it: which rows the table has, and a page that is whole, safe and stands alone."""

import re
from collections.abc import Sequence
from io import StringIO
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from rich.console import Console

from detectors.judge import Thresholds
from stream.backtest import History, Outcome, Point, Series, backtest
from stream.backtest_view import CHARTS_MAX, page, rows, span_text, table
from stream.results import AlertKind
from stream.score_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TEXT_HEIGHT, TOP, WIDTH, Level, chart, time_text

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HOSTILE = "</text><script>alert(1)</script>&[bold]\x1b[2J\x00\n"
SVG = "{http://www.w3.org/2000/svg}"
ABOVE = {"psi": Thresholds(None, None, "above")}


def history(scores: dict[str, Sequence[float | None]], *, model: str = "fraud") -> History:
    """A series of hourly windows for each feature."""
    series = {
        Series(model, "1", None, "data_drift", feature, "psi", "1h"): [Point(i * HOUR_MS, score) for i, score in enumerate(values, 1)]
        for feature, values in scores.items()
    }
    return History({"psi"}, series)


def outcomes(scores: History, *thresholds: float) -> list[Outcome]:
    return backtest(scores, {"psi": thresholds}, ABOVE)


def parsed(html: str) -> ElementTree.Element:
    """The page read as XML, which is stricter than HTML."""
    return ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


def coordinates(element: ElementTree.Element) -> list[tuple[float, float]]:
    """The points of all lines through scores."""
    lines = element.iter(f"{SVG}polyline")
    return [(float(x), float(y)) for line in lines for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


# the table


def test_alerting_series_have_a_row_each_and_silent_ones_share_one() -> None:
    scores = history({"amount": [0.3, 0.1, 0.3], "age": [0.0, 0.0, 0.15], "hour": [0.0, 0.0, 0.0]})
    assert rows(outcomes(scores, 0.1, 0.2, 0.9)) == [
        ("psi", "0.1", "age", "", "1h", "1", "0s and on", "1970-01-01 03:00"),
        ("psi", "0.1", "amount", "", "1h", "1", "2h and on", "1970-01-01 01:00"),
        ("psi", "0.1", "other series: 1", "", "", "0", "", ""),
        ("psi", "0.2", "amount", "", "1h", "2", "1h and on", "1970-01-01 01:00"),
        ("psi", "0.2", "other series: 2", "", "", "0", "", ""),
        ("psi", "0.9", "series: 3", "", "", "0", "", ""),
    ]


def test_outputs_stand_in_brackets_beside_features_of_their_name() -> None:
    kinds: tuple[AlertKind, ...] = ("data_drift", "prediction_drift", "label_drift")
    series = {Series("fraud", "1", "country=BR", kind, "score", "psi", "1h"): [Point(HOUR_MS, 0.3)] for kind in kinds}
    assert [row[2:4] for row in rows(outcomes(History({"psi"}, series), 0.1))] == [
        ("score", "country=BR"),
        ("(score)", "country=BR"),
        ("(score)", "country=BR"),
    ]


def test_a_threshold_whose_series_were_never_judged_says_so() -> None:
    assert rows(outcomes(history({"amount": [None, None]}), 0.1)) == [("psi", "0.1", "insufficient data", "", "", "0", "", "")]


def test_models_are_named_where_there_are_several() -> None:
    both = history({"amount": [0.3]}, model="a").series | history({"amount": [0.3]}, model="b").series
    assert [row[2] for row in rows(outcomes(History({"psi"}, both), 0.1))] == ["a 1 amount", "b 1 amount"]


def test_texts_of_events_are_neither_markup_nor_control_characters_on_a_terminal() -> None:
    output = StringIO()
    Console(file=output, width=200, force_terminal=True).print(table(outcomes(history({HOSTILE: [0.3]}), 0.1)))
    assert "[bold]" in output.getvalue()
    assert "\x1b[2J" not in output.getvalue()


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (999, "0s"), (61_000, "1m 1s"), (HOUR_MS, "1h"), (DAY_MS + 59_000, "1d"), (40 * DAY_MS + 5 * HOUR_MS, "40d 5h")],
)
def test_a_length_of_time_has_its_two_largest_units(ms: int, text: str) -> None:
    assert span_text(ms) == text


# the page


def test_page_is_well_formed_and_has_a_chart_for_each_series_and_a_row_for_each_outcome() -> None:
    scores = history({"amount": [0.3, 0.1, 0.3], "age": [0.0, 0.2, 0.0]})
    found = outcomes(scores, 0.1, 0.25)
    root = parsed(page(found, scores.series, "Back-test of fraud"))
    assert len(list(root.iter(f"{SVG}svg"))) == 2
    assert len(list(root.iter("tr"))) == 1 + len(rows(found))


def test_page_has_no_script_and_fetches_nothing_whatever_the_events_say() -> None:
    scores = history({HOSTILE: [0.3, 0.1]}, model=f'{HOSTILE}"onload="x')
    html = page(outcomes(scores, 0.1), scores.series, HOSTILE)
    root = parsed(html)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td"),
        *("svg", "text", "line", "circle", "polyline"),
    }
    assert not any(name.startswith("on") or name in ("href", "src") for element in root.iter() for name in element.attrib)
    assert set(re.findall(r"\w+://[^\"]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "</text><script>alert(1)</script>&[bold]" in "".join(root.itertext())


def test_page_of_nothing_is_well_formed() -> None:
    assert list(parsed(page([], {}, "Back-test")).iter(f"{SVG}svg")) == []


def test_a_series_that_was_never_judged_is_said_to_be_instead_of_an_empty_chart() -> None:
    scores = history({"x<y": [None, None], "z": [0.1, None]})
    html = page(outcomes(scores, 0.1), scores.series, "title")
    assert len(list(parsed(html).iter(SVG + "svg"))) == 1
    assert "<p>x&lt;y: insufficient data in every window.</p>" in html


def test_page_is_bounded_and_keeps_the_series_that_alert() -> None:
    scores = history({f"f{i:03}": [0.0, 0.5 if i % 100 == 99 else 0.0] for i in range(CHARTS_MAX + 20)})
    html = page(outcomes(scores, 0.1), scores.series, "Back-test")
    assert html.count("<svg") == CHARTS_MAX
    assert "20 more series" in html
    assert all(f">f{i}99</text>" in html for i in range(CHARTS_MAX // 100))


# the chart


def drawn(points: Sequence[Point], *levels: Level) -> ElementTree.Element:
    ends = [point.end_ms for point in points]
    return ElementTree.fromstring(chart("amount", points, levels, span_ms=(min(ends), max(ends))))


def test_scores_run_from_left_to_right_and_up() -> None:
    where = coordinates(drawn([Point(HOUR_MS, 0.0), Point(2 * HOUR_MS, 0.5), Point(3 * HOUR_MS, 1.0)]))
    (x0, y0), (x1, y1), (x2, y2) = where
    assert (x0, x2) == (LEFT, WIDTH - RIGHT)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert TOP <= y2 < y0 <= HEIGHT - BOTTOM


def test_a_window_without_score_and_one_that_is_missing_break_the_line() -> None:
    # hours 1 2 - 4 5 (6 and 7 missing) 8 9
    scores = {1: 0.1, 2: 0.2, 3: None, 4: 0.1, 5: 0.2, 8: 0.1, 9: 0.1}
    lines = list(drawn([Point(hour * HOUR_MS, score) for hour, score in scores.items()]).iter(f"{SVG}polyline"))
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2, 2]


def test_of_a_window_that_fired_twice_the_last_score_is_drawn() -> None:
    twice = [Point(HOUR_MS, 0.0), Point(2 * HOUR_MS, 0.0), Point(2 * HOUR_MS, 1.0)]
    assert coordinates(drawn(twice)) == coordinates(drawn([twice[0], twice[2]]))


def test_a_long_series_costs_a_bounded_number_of_points_and_keeps_its_extremes() -> None:
    scores = [Point(i * 1000, 0.5 + (0.4 if i == 54_321 else -0.4 if i == 12_345 else (i % 7) / 100)) for i in range(100_000)]
    where = coordinates(drawn(scores))
    assert len(where) <= 2 * WIDTH
    few = coordinates(drawn([Point(i, score) for i, score in enumerate((0.5, 0.1, 0.9, 0.5))]))
    assert min(y for _, y in where) == min(y for _, y in few)
    assert max(y for _, y in where) == max(y for _, y in few)


def test_thresholds_cross_the_chart_and_alerts_are_marked_on_their_scores() -> None:
    scores = history({"amount": [0.0, 0.3, 0.0, 0.0]})
    ((points),) = scores.series.values()
    found = outcomes(scores, 0.1, 0.2)
    root = drawn(points, *(Level(one.threshold, one.changes) for one in found))
    marks = [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in root.iter(f"{SVG}circle")]
    assert sorted(marks) == sorted(2 * coordinates(root)[1:3])
    assert next(mark[0].text for mark in root.iter(f"{SVG}circle")) == "firing at 0.3, window to 1970-01-01 02:00"
    assert len([line for line in root.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]) == 2
    assert {text.text for text in root.iter(f"{SVG}text")} >= {"amount", "0.1: 1 alert", "0.2: 1 alert"}


def test_auto_has_marks_and_a_name_but_no_line() -> None:
    scores = [Point(HOUR_MS, 0.0, "ok"), Point(2 * HOUR_MS, 0.3, "warning"), Point(3 * HOUR_MS, 0.4, "ok")]
    history = History({"psi"}, {Series("fraud", "1", None, "data_drift", "amount", "psi", "1h"): scores})
    found = backtest(history, {"psi": [0.2, "auto"]}, ABOVE, {"psi": history})
    assert [row[1:6] for row in rows(found)] == [("0.2", "amount", "", "1h", "1"), ("auto", "amount", "", "1h", "1")]
    root = drawn(scores, *(Level(one.threshold, one.changes) for one in found))
    assert [mark[0].text for mark in root.iter(f"{SVG}circle")] == [
        "firing at 0.3, window to 1970-01-01 02:00",
        "firing at 0.3, window to 1970-01-01 02:00",
        "resolved at 0.4, window to 1970-01-01 03:00",
    ]
    assert len([line for line in root.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]) == 1
    assert {text.text for text in root.iter(f"{SVG}text")} >= {"0.2: 1 alert", "auto: 1 alert"}


def test_names_of_thresholds_that_are_close_do_not_cover_each_other() -> None:
    root = drawn([Point(HOUR_MS, 20.0), Point(2 * HOUR_MS, 0.0)], *(Level(threshold, ()) for threshold in (0.1, 0.2, 0.3, 15.0)))
    heights = sorted(float(text.attrib["y"]) for text in root.iter(f"{SVG}text") if (text.text or "").endswith("alerts"))
    assert len(heights) == 4
    assert min(b - a for a, b in pairwise(heights)) >= TEXT_HEIGHT - 0.11


@pytest.mark.parametrize("scores", [[0.0], [0.0, 0.0], [0.7, 0.7], [1e-9, 2e-9], [1e6, 2e6], [None], [-3.0, -2.0]])
def test_any_scores_can_be_drawn(scores: list[float | None]) -> None:
    root = drawn([Point(i * HOUR_MS, score) for i, score in enumerate(scores, 1)], Level(scores[0] or 0.0, ()))
    assert all(TOP - 1 <= y <= HEIGHT for _, y in coordinates(root))
    numbers = [text for text in root.iter(f"{SVG}text") if text.attrib.get("text-anchor") == "end"]
    assert 1 <= len(numbers) <= 7


def test_times_say_what_they_need_to() -> None:
    assert [time_text(ms) for ms in (DAY_MS, DAY_MS + HOUR_MS, DAY_MS + 5_000)] == ["1970-01-02", "1970-01-02 01:00", "1970-01-02 00:00:05"]
