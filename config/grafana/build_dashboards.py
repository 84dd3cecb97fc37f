"""Writes the Grafana dashboard: `python config/grafana/build_dashboards.py`, which needs the development packages."""

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, statetimeline, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

FILE = Path(__file__).parent / "dashboards" / "driftstream.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OF_MODEL = 'model=~"$model",version=~"$version"'
OF_WINDOW = OF_MODEL + ',segment=~"$segment",window=~"$window"'
# What "All" means for a segment: the series without one, which stand for all traffic. An empty group, since Grafana ignores an empty text.
NO_SEGMENT = "()"
WINDOW_END = "driftstream_window_end_seconds"
SEVERITIES = ValueMap(
    options={
        "-1": ValueMappingResult(text="too little data", color="gray", index=0),
        "0": ValueMappingResult(text="ok", color="green", index=1),
        "1": ValueMappingResult(text="warning", color="orange", index=2),
        "2": ValueMappingResult(text="critical", color="red", index=3),
    }
)
STATUSES = ValueMap(
    options={
        "-1": ValueMappingResult(text="too little data", color="gray", index=0),
        "0": ValueMappingResult(text="healthy", color="green", index=1),
        "1": ValueMappingResult(text="warning", color="orange", index=2),
        "2": ValueMappingResult(text="degraded", color="red", index=3),
    }
)
LOSSES = "brier|(multiclass_)?log_loss|calibration_error|mape|smape|wape"  # metrics that are no share of rows, or are bad when high
IN_UNITS = "mae|rmse|bias|(absolute_)?error_p.."  # of the label
LIFTS = "lift|top_decile_lift"
ESTIMATED = "accuracy|precision|recall|f1|roc_auc"
Query = tuple[str, str]  # expression, legend


def graph(title: str, description: str, unit: str, *queries: Query) -> timeseries.Panel:
    """Lines over time, a third of the width."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(8)
        .height(8)
        .line_width(1)
        .fill_opacity(5)
        .show_points(VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for query in targets(queries):
        panel = panel.with_target(query)
    return panel


def verdicts(title: str, description: str, *queries: Query, names: ValueMap = SEVERITIES) -> statetimeline.Panel:
    """Severities over time, or what `names` has, one row for each series."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(8)
        .height(8)
        .mappings([names])
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value=None, color="green")]))
        .merge_values(True)
        .show_value(VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    )
    for query in targets(queries):
        panel = panel.with_target(query)
    return panel


def targets(queries: tuple[Query, ...]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + i)).datasource(SOURCE).range()
        for i, (expr, legend) in enumerate(queries)
    ]


def variable(
    name: str,
    description: str,
    *,
    metric: str,
    within: str = "",
    multi: bool = False,
    all_value: str | None = None,
    default: str | None = None,
) -> dashboard.QueryVariable:
    """A template variable with the values that a label has."""
    query = f"label_values({metric}{{{within}}}, {name})" if within else f"label_values({metric}, {name})"
    built = (
        dashboard.QueryVariable(name)
        .label(name)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi)
    )
    if all_value is not None:
        built = built.include_all(True).all_value(all_value)
    return built if default is None else built.current(VariableOption(selected=True, text=default, value=default))


def quantiles(histogram: str, where: str = "", by: str = "", of: str = "") -> list[Query]:
    buckets = f"sum by ({by + ', ' if by else ''}le) (rate({histogram}_bucket{where}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {buckets})", f"p{q * 100:.0f}{of}") for q in (0.5, 0.99)]


def drift_scores() -> timeseries.Panel:
    panel = graph(
        "Drift score by feature",
        "Of the newest closed window. Dashed: the lowest threshold that a score was judged by.",
        "short",
        (
            f'max by (model, version, feature) (driftstream_drift_score{{{OF_WINDOW},method=~"$method"}})',
            "{{feature}} ({{model}} {{version}})",
        ),
        (f'min by (method, severity) (driftstream_drift_threshold{{{OF_WINDOW},method=~"$method"}})', "{{method}} {{severity}} threshold"),
    )
    dashed = DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [10, 10]})
    for level, color in (("warning", "orange"), ("critical", "red")):
        panel = panel.override_by_regexp(
            f"/{level} threshold$/",
            [dashed, DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})],
        )
    return panel


def drift_panels() -> list[Builder[Panel]]:
    return [
        graph(
            "Predictions per second",
            "Counted in a window, so without late events and duplicates.",
            "reqps",
            (f"sum by (model, version) (rate(driftstream_predictions_total{{{OF_MODEL}}}[$__rate_interval]))", "{{model}} {{version}}"),
        ),
        drift_scores(),
        verdicts(
            "Drift severity",
            "The verdict on each feature's score.",
            (
                f'max by (model, version, feature) (driftstream_drift_severity{{{OF_WINDOW},method=~"$method"}})',
                "{{feature}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Drift of the model",
            "Share of the features that have drifted, and their PSI weighted by importance.",
            "short",
            (
                f'max by (model, version, metric) (driftstream_model_score{{{OF_WINDOW},metric=~"drifted_ratio|weighted_drift"}})',
                "{{metric}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Data quality",
            "The ten largest shares of predictions whose value is missing, of the wrong type, unseen, out of range or an outlier.",
            "percentunit",
            (
                f"topk(10, max by (model, version, feature, metric) (driftstream_quality_ratio{{{OF_WINDOW}}}))",
                "{{feature}} {{metric}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Quality score",
            "1 is as good as the reference: the ten worst features, and the model as a whole.",
            "percentunit",
            (
                f"bottomk(10, min by (model, version, feature) (driftstream_quality_score{{{OF_WINDOW}}}))",
                "{{feature}} ({{model}} {{version}})",
            ),
            (f'min by (model, version) (driftstream_model_score{{{OF_WINDOW},metric="quality_score"}})', "{{model}} {{version}}"),
        ).axis_soft_max(1),
        verdicts(
            "Quality severity",
            "The worst verdict on the quality of each feature.",
            (
                f"max by (model, version, feature) (driftstream_quality_severity{{{OF_WINDOW}}})",
                "{{feature}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Alerts emitted",
            "Alerts that started, changed or were resolved, on the alerts topic.",
            "short",
            (
                'sum by (model, kind, severity, status) (increase(driftstream_alerts_total{model=~"$model"}[$__rate_interval]))',
                "{{model}} {{kind}} {{severity}} {{status}}",
            ),
        )
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(60)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL)),
        graph(
            "Prometheus alerts firing",
            "Rules of driftstream.rules.yml, about models and about the pipeline.",
            "short",
            ('count by (severity) (ALERTS{alertname=~"Driftstream.+",alertstate="firing"}) or vector(0)', "{{severity}}"),
        ),
    ]


def traffic_panels() -> list[Builder[Panel]]:
    return [
        graph(
            "Predictions by class",
            "Of the newest closed window.",
            "short",
            (
                f"max by (model, version, class) (driftstream_predictions_by_class{{{OF_WINDOW}}})",
                "{{class}} ({{model}} {{version}})",
            ),
        )
        .fill_opacity(30)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL)),
        graph(
            "Prediction latency",
            "As predictions told it, in the newest closed window: within 5.8 %.",
            "s",
            (
                f"max by (model, version, percentile) (driftstream_prediction_latency_seconds{{{OF_WINDOW}}})",
                "p{{percentile}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Confidence",
            "Mean confidence of the predictions that have a score, and the share that is high.",
            "percentunit",
            (f"max by (model, version, metric) (driftstream_confidence{{{OF_WINDOW}}})", "{{metric}} ({{model}} {{version}})"),
        ).axis_soft_max(1),
        graph(
            "Unknown features",
            "Names in predictions that no reference of the model has, since the workers started. Their logs name them.",
            "short",
            ('sum by (model) (driftstream_unknown_features_total{model=~"$model"})', "{{model}}"),
        ),
    ]


def performance_of(title: str, description: str, unit: str, metrics: str) -> timeseries.Panel:
    """Metrics of the newest closed window; `metrics` is a matcher."""
    query = f"max by (model, version, metric, by) (driftstream_performance{{{OF_WINDOW},metric{metrics}}})"
    return graph(title, description, unit, (query, "{{metric}} by {{by}} ({{model}} {{version}})"))


def performance_panels() -> list[Builder[Panel]]:
    return [
        verdicts(
            "Status",
            "Of the model, by the rules that it breaks beyond chance; where it has any.",
            (f"max by (model, version, window, by) (driftstream_status{{{OF_WINDOW}}})", "{{window}} by {{by}} ({{model}} {{version}})"),
            names=STATUSES,
        ),
        performance_of(
            "Performance",
            "Of the newest closed window. A metric that is undefined is not drawn.",
            "percentunit",
            f'!~"{LOSSES}|{IN_UNITS}|{LIFTS}"',
        ).axis_soft_max(1),
        graph(
            "Estimated and realised",
            "Performance as it is expected before labels come, and as they said. Where the two part for good, the concept has drifted.",
            "percentunit",
            (
                f"max by (model, version, metric) (driftstream_estimated_performance{{{OF_WINDOW}}})",
                "{{metric}} estimated ({{model}} {{version}})",
            ),
            (
                f'max by (model, version, metric, by) (driftstream_performance{{{OF_WINDOW},metric=~"{ESTIMATED}"}})',
                "{{metric}} by {{by}} ({{model}} {{version}})",
            ),
        ).axis_soft_max(1),
        graph(
            "Each class",
            "How each class fares in the newest closed window: its recall, and the AUC of its score against all others if events tell it.",
            "percentunit",
            (
                f'max by (model, version, class, metric, by) (driftstream_class_performance{{{OF_WINDOW},metric=~"recall|roc_auc"}})',
                "{{metric}} of {{class}} by {{by}} ({{model}} {{version}})",
            ),
        ).axis_soft_max(1),
        performance_of(
            "Losses and errors",
            "Bad when high: of the score, and of regressions; their errors in units of the label.",
            "short",
            f'=~"{LOSSES}|{IN_UNITS}"',
        ),
        performance_of(
            "Lift",
            "How many times more often positives occur among rows predicted as such, or the tenth with the highest scores, than among all.",
            "short",
            f'=~"{LIFTS}"',
        ),
        verdicts(
            "Performance severity",
            "The verdict on each metric.",
            (
                f"max by (model, version, metric, by) (driftstream_performance_severity{{{OF_WINDOW}}})",
                "{{metric}} by {{by}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Label coverage",
            "Labels counted over predictions made in the same window. With few labels performance says little. Maturity: how much of the "
            "time in which they may come has passed since its end.",
            "percentunit",
            (f"max by (model, version, by) (driftstream_label_coverage_ratio{{{OF_WINDOW}}})", "by {{by}} ({{model}} {{version}})"),
            (f"max by (model, version, by) (driftstream_label_maturity_ratio{{{OF_WINDOW}}})", "maturity ({{model}} {{version}})"),
        ),
        graph(
            "Label delay",
            "How long after their predictions the labels of the newest closed window were: within 5.8 %.",
            "s",
            (
                f"max by (model, version, by, percentile) (driftstream_label_delay_seconds{{{OF_WINDOW}}})",
                "p{{percentile}} by {{by}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Delay of the labels that come",
            "How long after their predictions the labels were that have just met them, late ones and corrections too: within the buckets.",
            "s",
            *quantiles("driftstream_matched_label_delay_seconds", '{model=~"$model"}', by="model", of=" {{model}}"),
        ),
        graph(
            "Net benefit",
            "What the outcomes of the window were worth, and of its day so far, where the configuration has prices.",
            "short",
            (
                f'max by (model, version, by) (driftstream_business{{{OF_WINDOW},metric="net_benefit"}})',
                "window by {{by}} ({{model}} {{version}})",
            ),
            (
                f'max by (model, version, by) (driftstream_business_day{{{OF_WINDOW},metric="net_benefit"}})',
                "day by {{by}} ({{model}} {{version}})",
            ),
        ),
        verdicts(
            "Sequential detectors",
            "Those that follow errors and scores between closes: warning until no change follows for `resolve_after` values.",
            (
                f"max by (model, version, stream, detector) (driftstream_sequential_severity{{{OF_MODEL}}})",
                "{{detector}} on {{stream}} ({{model}} {{version}})",
            ),
        ),
    ]


def pipeline_panels() -> list[Builder[Panel]]:
    return [
        graph(
            "Watermark delay",
            "How far event time trails the clock. Windows close when the watermark passes their end.",
            "s",
            ("time() - min by (subject) (driftstream_watermark_seconds)", "{{subject}}"),
        ),
        graph(
            "Age of the newest closed window",
            "Since the end of the window, in event time.",
            "s",
            (
                f"time() - max by (model, version, subject, window) ({WINDOW_END}{{{OF_WINDOW}}})",
                "{{subject}} {{window}} ({{model}} {{version}})",
            ),
        ),
        graph(
            "Consumer lag",
            "Messages in Kafka that are not consumed yet.",
            "short",
            ("sum by (topic) (driftstream_consumer_lag)", "{{topic}}"),
        ),
        graph(
            "Messages per second",
            "Consumed by all workers, and labels by what became of them.",
            "cps",
            ("sum by (topic) (rate(driftstream_consumed_total[$__rate_interval]))", "{{topic}}"),
            ("sum by (outcome) (rate(driftstream_labels_total[$__rate_interval]))", "labels {{outcome}}"),
        ),
        graph(
            "Late and duplicate events per second",
            "Not counted in any window. The late topic has the late ones.",
            "cps",
            ('sum by (model, subject) (rate(driftstream_late_total{model=~"$model"}[$__rate_interval]))', "{{model}} {{subject}} late"),
            ('sum by (model) (rate(driftstream_duplicates_total{model=~"$model"}[$__rate_interval]))', "{{model}} duplicate"),
        ),
        graph(
            "Dead letters per second",
            "Messages that could not be counted. The dead-letter topic has them.",
            "cps",
            ("sum by (reason) (rate(driftstream_dead_letter_total[$__rate_interval]))", "{{reason}}"),
        ),
        graph(
            "Window close latency",
            "Time to merge, score and emit one window.",
            "s",
            *quantiles("driftstream_window_close_seconds"),
        ),
        graph("Checkpoint latency", "Time to write one checkpoint.", "s", *quantiles("driftstream_checkpoint_seconds")),
        graph(
            "Units and outbox",
            "Topic-partitions that each worker owns, and messages that wait for delivery.",
            "short",
            ("sum by (instance) (driftstream_units_owned)", "{{instance}} units"),
            ("sum by (instance) (driftstream_outbox_length)", "{{instance}} outbox"),
        ),
        graph(
            "Open windows in memory",
            "Aggregates of windows that are open. At worker.state_bytes the partitions that run ahead wait.",
            "bytes",
            ("sum by (instance) (driftstream_state_bytes)", "{{instance}}"),
        ),
        graph(
            "Rows that wait",
            "Predictions and labels that Redis keeps for the join, of at most labels.pending_max.",
            "short",
            ("max(driftstream_pending_rows)", "rows"),
        ),
        graph(
            "Worker CPU",
            "Cores in use.",
            "short",
            ('sum by (instance) (rate(process_cpu_seconds_total{job="driftstream"}[$__rate_interval]))', "{{instance}}"),
        ),
        graph(
            "Worker memory",
            "Resident memory.",
            "bytes",
            ('sum by (instance) (process_resident_memory_bytes{job="driftstream"})', "{{instance}}"),
        ),
    ]


def build() -> Dashboard:
    """The dashboard "driftstream"."""
    built = (
        dashboard.Dashboard("driftstream")
        .uid("driftstream")
        .description("Drift and performance of machine-learning models, and the health of the workers that watch them.")
        .tags(["driftstream", "ml"])
        .readonly()
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
        .with_variable(variable("model", "Model", metric="driftstream_predictions_total", multi=True, all_value=".+"))
        .with_variable(
            variable(
                "version",
                "Version of the model",
                metric="driftstream_predictions_total",
                within='model=~"$model"',
                multi=True,
                all_value=".+",
            )
        )
        .with_variable(variable("segment", "All: all traffic together", metric=WINDOW_END, within=OF_MODEL, all_value=NO_SEGMENT))
        .with_variable(variable("window", "Window, by its name in the configuration", metric=WINDOW_END, within=OF_MODEL))
        .with_variable(variable("method", "How drift is measured", metric="driftstream_drift_severity", within=OF_MODEL, default="psi"))
    )
    rows = {"Drift": drift_panels(), "Traffic": traffic_panels(), "Performance": performance_panels(), "Pipeline": pipeline_panels()}
    for title, panels in rows.items():
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(panel)
    finished = built.build()
    for i, panel_or_row in enumerate(finished.panels or [], start=1):
        panel_or_row.id_val = i
    return finished


def rendered() -> str:
    """The dashboard's JSON, as it is committed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
