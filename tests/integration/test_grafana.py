"""The committed dashboard is the one its script builds, and Grafana will find what it refers to."""

from typing import Any

import yaml

from tests.integration.grafana import CONFIG, DASHBOARD, dashboard, panel_queries
from tests.services.missing import MissingService


def provisioning(name: str) -> Any:
    return yaml.safe_load((CONFIG / "grafana" / "provisioning" / name).read_text(encoding="utf-8"))


def test_committed_dashboard_is_what_the_script_builds() -> None:
    try:
        from config.grafana.build_dashboards import rendered
    except ModuleNotFoundError as missing:
        raise MissingService(f"no {missing.name}: needs the development packages") from None
    assert DASHBOARD.read_text(encoding="utf-8") == rendered(), "run: python config/grafana/build_dashboards.py"


def test_panels_have_a_title_of_their_own_a_description_and_queries() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["targets"] for panel in panels)
    assert {title for title, _ in panel_queries()} == {panel["title"] for panel in panels}


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for position in (panel["gridPos"] for panel in dashboard()["panels"])
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_variables_that_queries_use_are_defined() -> None:
    defined = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert defined == {"datasource", "model", "version", "segment", "window", "method"}


def test_addresses_come_from_the_environment() -> None:
    assert provisioning("datasources/prometheus.yml")["datasources"][0]["url"] == "${DRIFTSTREAM_PROMETHEUS_URL}"
    assert provisioning("dashboards/driftstream.yml")["providers"][0]["options"]["path"] == "${DRIFTSTREAM_DASHBOARDS}"
