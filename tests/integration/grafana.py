"""The queries of the committed dashboard, ready to be asked of a Prometheus."""

import json
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[2] / "config"
DASHBOARD = CONFIG / "grafana" / "dashboards" / "driftstream.json"

# What Grafana puts in for the variables when the dashboard is opened. Longer names first: one is the beginning of another.
_OPENED = {
    "$__rate_interval": "1m",
    "$version": ".+",
    "$segment": "()",
    "$window": ".+",
    "$method": ".+",
    "$model": ".+",
}


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panel_queries(rate_interval: str = "1m") -> list[tuple[str, str]]:
    """(panel title, expression) of every query, with "All" chosen everywhere and the given interval for rates."""
    return [
        (panel["title"], _opened(target["expr"], rate_interval)) for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]


def _opened(expression: str, rate_interval: str) -> str:
    for variable, value in {**_OPENED, "$__rate_interval": rate_interval}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression
