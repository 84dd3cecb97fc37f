"""Money against sums over the raw rows, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from detectors.business import Business, Prices, business

BENEFIT = np.array([[0.0, -5.0], [-20.0, 10.0]])
SHARE = np.array([[0.0, -0.02], [-1.0, 0.9]])
Rows = list[tuple[int, int, float]]
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 10**6).map(lambda cents: cents / 100)), max_size=40)


def counted(some: Rows) -> tuple[np.ndarray, np.ndarray]:
    confusion, values = np.zeros((2, 2), np.int64), np.zeros((2, 2))
    for label, prediction, value in some:
        confusion[label, prediction] += 1
        values[label, prediction] += value
    return confusion, values


def of(some: Rows, prices: Prices) -> Business:
    confusion, values = counted(some)
    return business(confusion, prices, values)


@settings(deadline=None, max_examples=150)
@given(rows)
def test_money_is_the_sum_over_the_rows(some: Rows) -> None:
    found = of(some, Prices(idle=0, benefit=BENEFIT, value_share=SHARE, investigation=3.0, operating=7.0))
    gained = sum(BENEFIT[label, prediction] + SHARE[label, prediction] * value for label, prediction, value in some)
    nothing_done = sum(BENEFIT[label, 0] + SHARE[label, 0] * value for label, _, value in some)
    spent = 7.0 + 3.0 * sum(prediction for _, prediction, _ in some)
    near = {"rel": 1e-9, "abs": 1e-6}
    assert found.benefit == pytest.approx(gained, **near)
    assert found.net_benefit == pytest.approx(gained - spent, **near)
    assert found.savings == pytest.approx(gained - spent - nothing_done, **near)
    assert found.roi == pytest.approx((gained - spent) / spent, **near)
    assert found.expected_value == (pytest.approx((gained - spent) / len(some), **near) if some else None)
    assert (found.rows, found.alerts) == (len(some), sum(prediction for _, prediction, _ in some))


@settings(deadline=None, max_examples=100)
@given(rows, rows, rows)
def test_windows_add_up_to_days_in_any_order(a: Rows, b: Rows, c: Rows) -> None:
    hour = Prices(idle=0, benefit=BENEFIT, value_share=SHARE, investigation=3.0, operating=7.0)
    day = of(a + b + c, Prices(idle=0, benefit=BENEFIT, value_share=SHARE, investigation=3.0, operating=21.0))
    one, other = of(a, hour).merge(of(b, hour)).merge(of(c, hour)), of(c, hour).merge(of(b, hour).merge(of(a, hour)))
    for merged in (one, other):
        assert (merged.rows, merged.alerts, merged.spent) == (day.rows, day.alerts, day.spent)
        for name in ("benefit", "net_benefit", "savings", "roi"):
            assert getattr(merged, name) == pytest.approx(getattr(day, name), rel=1e-9, abs=1e-6)


def test_doing_nothing_saves_nothing_and_spends_nothing() -> None:
    found = of([(0, 0, 5.0), (1, 0, 80.0), (1, 0, 20.0)], Prices(idle=0, benefit=BENEFIT, value_share=SHARE, investigation=3.0))
    assert (found.alerts, found.spent, found.savings, found.roi) == (0, 0.0, 0.0, None)


SOME: Rows = [(0, 0, 1.0), (0, 1, 2.0), (1, 1, 3.0), (1, 0, 4.0)]


@pytest.mark.parametrize(
    ("prices", "absent"),
    [
        (Prices(idle=0), {"cells", "benefit", "net_benefit", "expected_value", "roi", "idle", "savings", "spent"}),
        (Prices(idle=0, operating=9.0), {"cells", "benefit", "net_benefit", "expected_value", "roi", "idle", "savings"}),
        (Prices(idle=0, benefit=BENEFIT), {"spent", "roi"}),
        (Prices(idle=0, value_share=SHARE), {"spent", "roi"}),
        (Prices(idle=0, benefit=BENEFIT, investigation=1.0), set[str]()),
    ],
)
def test_what_is_not_configured_is_absent_not_zero(prices: Prices, absent: set[str]) -> None:
    found = of(SOME, prices)
    names = ("cells", "benefit", "net_benefit", "expected_value", "roi", "idle", "savings", "spent")
    assert {name for name in names if getattr(found, name) is None} == absent
    assert {name for name in names if getattr(found.merge(found), name) is None} == absent


def test_a_share_of_values_is_absent_where_events_carry_none() -> None:
    confusion, _ = counted(SOME)
    assert business(confusion, Prices(idle=0, benefit=BENEFIT, value_share=SHARE)).net_benefit is None


def test_value_by_cell_and_several_kinds_of_alert() -> None:
    labels, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 1])
    benefit = np.array([[0.0, -1.0, -2.0], [-10.0, 5.0, 3.0], [-50.0, 8.0, 20.0]])
    found = business(confusion_matrix(labels, predictions), Prices(idle=0, benefit=benefit, investigation=1.0))
    assert found.cells == ((0.0, -1.0, 0.0), (0.0, 5.0, 0.0), (-50.0, 8.0, 20.0))
    assert (found.alerts, found.net_benefit, found.idle) == (4, -18.0 - 4.0, -160.0)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"idle": 2, "benefit": BENEFIT}, "idle=2, expected the index of a class"),
        ({"idle": -1}, "idle=-1"),
        ({"idle": 0, "benefit": np.zeros((2, 3))}, r"expected one \(k, k\)"),
        ({"idle": 0, "benefit": BENEFIT, "value_share": np.zeros((3, 3))}, r"expected one \(k, k\)"),
        ({"idle": 0, "benefit": BENEFIT * np.nan}, "of finite numbers"),
        ({"idle": 0, "operating": -1.0}, r"operating=-1\.0, expected a finite number >= 0"),
        ({"idle": 0, "investigation": np.inf}, "investigation=inf"),
    ],
)
def test_prices_that_do_not_fit_are_refused(prices: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prices(**prices)


def test_a_matrix_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confusion\.shape=\(3, 3\) vs \(2, 2\)"):
        business(np.eye(3, dtype=np.int64), Prices(idle=0, benefit=BENEFIT))
