"""Prices of outcomes in the configuration: by the names of the cells or of the classes, inherited key by key, refused with key and rule."""

from collections.abc import Callable

import pytest

from detectors.judge import Thresholds
from stream.settings import Settings

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]
EVENTS = "events: {predictions: {value: amount}}\n"
TWO = "classes: ['0', '1'], positive: '1'"
THREE = "classes: [a, b, c]"
NOT_BINARY = "a cell by its classes, under by_class: this one is of a positive class and one other"
AMOUNT = "a number from -1e+09 to 1e+09"


def test_cells_of_a_positive_class_stand_where_they_belong(load: Load) -> None:
    cells = "benefit: {true_positive: 4, false_positive: -3, false_negative: -2, true_negative: 1}"
    found = load(f"models: {{m: {{{TWO}, business: {{{cells}, investigation: 0.5}}}}}}").model("m").business
    assert found is not None
    assert (found.idle, found.investigation, found.operating_per_day, found.value_share) == (0, 0.5, None, None)
    assert found.benefit == ((1.0, -3.0, 0.0), (-2.0, 4.0, 0.0), (0.0, 0.0, 0.0))


def test_cells_by_class_are_by_label_then_by_prediction(load: Load) -> None:
    text = f"models: {{m: {{{THREE}, business: {{idle: b, benefit: {{by_class: {{a: {{c: -7}}, c: {{a: 2, c: 3}}}}}}}}}}}}"
    found = load(text).model("m").business
    assert found is not None
    assert found.idle == 1
    assert found.benefit == ((0.0, 0.0, -7.0, 0.0), (0.0,) * 4, (2.0, 0.0, 3.0, 0.0), (0.0,) * 4)


def test_a_model_changes_what_it_gives_and_inherits_the_rest(load: Load) -> None:
    common = "business: {benefit: {true_positive: 4}, value_share: {true_positive: 0.5}, operating_per_day: 24, roi: {warning: 0.5}}\n"
    models = (
        f"models: {{a: {{{TWO}}}, b: {{{TWO}, business: {{benefit: {{false_positive: -1}}, value_share: {{}}, roi: {{critical: 0}}}}}},\n"
        "  c: {task: regression}, d: {classes: ['0', '1'], labels: false, business: {idle: '0', benefit: {}, value_share: {}}}}"
    )
    settings = load(EVENTS + common + models)
    a, b = (settings.model(name).business for name in "ab")
    assert a is not None
    assert b is not None
    assert (a.benefit, b.benefit) == (((0.0, 0.0, 0.0), (0.0, 4.0, 0.0), (0.0,) * 3), ((0.0, -1.0, 0.0), (0.0,) * 3, (0.0,) * 3))
    assert (a.value_share is None, b.value_share is None, b.operating_per_day) == (False, True, 24.0)
    assert a.rules.thresholds["roi"] == Thresholds(0.5, None, "below")
    assert b.rules.thresholds["roi"] == Thresholds(0.5, 0.0, "below")
    assert (settings.model("c").business, settings.model("d").business) == (None, None)


@pytest.mark.parametrize("section", ["", "business: {}\n", "business: {roi: {warning: 0}, minimum_sample: 7, benefit: {}}\n"])
def test_without_prices_there_is_none(load: Load, section: str) -> None:
    assert load(section + f"models: {{m: {{{TWO}}}}}").model("m").business is None


@pytest.mark.parametrize(
    ("classes", "business", "problem"),
    [
        (TWO, "benefit: {true_positive: much}", f"benefit.true_positive: 'much', expected {AMOUNT}"),
        (TWO, "benefit: {true_positive: nan}", f"benefit.true_positive: 'nan', expected {AMOUNT}"),
        (TWO, "benefit: {by_class: {'1': {'1': 2e9}}}", f"benefit.by_class.1.1: '2e9', expected {AMOUNT}"),
        (TWO, "investigation: -1", "investigation: '-1', expected a number from 0 to 1e+09"),
        (TWO, "operating: 5", "operating: unknown key, expected one of minimum_sample, idle, benefit, value_share, "),
        (TWO, "benefit: {tp: 1}", "benefit.tp: unknown key, expected one of true_positive, false_positive, false_negative, "),
        (TWO, "benefit: {by_class: {x: {'1': 1}}}", "benefit.by_class.x: a mapping, expected one of the classes, 0, 1"),
        (TWO, "benefit: {by_class: {'1': {x: 1}}}", "benefit.by_class.1.x: '1', expected one of the classes, 0, 1"),
        (
            TWO,
            "benefit: {true_positive: 1, by_class: {'1': {'1': 1}}}",
            "benefit.by_class: a mapping, expected nothing beside true_positive and the other three, which say the same cells",
        ),
        (TWO, "idle: x, investigation: 1", "idle: 'x', expected one of the classes, 0, 1: the one whose prediction does nothing"),
        (
            THREE,
            "benefit: {by_class: {a: {b: 1}}}",
            "idle: nothing, expected one of the classes, a, b, c: the one whose prediction does nothing",
        ),
        (
            THREE,
            "idle: a, value_share: {false_negative: -1}",
            f"value_share.false_negative: '-1', expected {NOT_BINARY}",
        ),
        (
            TWO,
            "value_share: {false_negative: -1}",
            "value_share: a mapping, expected a value in the events: say where it stands, events.predictions.value",
        ),
        (TWO, "net_benefit: {warning: low}", "net_benefit.warning: 'low', expected a number from -1e+15 to 1e+15, or off"),
        (TWO, "savings: {warning: -5, critical: 5}", "savings.critical: '5', expected at most the warning threshold -5"),
    ],
)
def test_mistakes_are_told_with_key_value_and_rule(problems: Problems, classes: str, business: str, problem: str) -> None:
    found = problems(f"models: {{m: {{{classes}, business: {{{business}}}}}}}")
    assert any(line.startswith(f"models.m.business.{problem}") for line in found), found


def test_a_model_that_inherits_cells_of_other_classes_is_told_to_give_its_own(problems: Problems, load: Load) -> None:
    common = "business: {idle: a, benefit: {by_class: {a: {b: -1}}}}\n"
    assert problems(f"{common}models: {{m: {{{THREE}}}, n: {{{TWO}}}}}") == [
        "models.n.business.benefit: nothing, expected cells of its own, {} for none: those that it inherits are not of its classes",
        "models.n.business.idle: nothing, expected one of the classes, 0, 1: the one whose prediction does nothing",
    ]
    assert load(f"{common}models: {{m: {{{THREE}}}, n: {{{TWO}, business: {{benefit: {{}}}}}}}}").model("n").business is None


def test_prices_of_a_regression_are_refused(problems: Problems) -> None:
    assert problems("models: {m: {task: regression, business: {investigation: 1}}}") == [
        "models.m.business.investigation: '1', expected none: it is of the outcomes of a classification"
    ]
