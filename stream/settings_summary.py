"""What a configuration comes to, for a human."""

from collections.abc import Iterator

from stream.settings import ModelSettings, Settings
from stream.settings_values import duration_text


def settings_summary(settings: Settings) -> str:
    """What the settings come to, for a human: addresses without secrets, topics, windows, panes, and each model."""
    kafka = settings.kafka
    lines = [
        f"Kafka    {kafka.brokers}, group {kafka.group}, from {kafka.start}"
        + (f", options {', '.join(kafka.options)}" if kafka.options else ""),
        f"Redis    {settings.redis.masked_url()}, namespace {settings.redis.namespace}",
        *(f"topic    {name:<12} {topic}" for name, topic in kafka.topics),
    ]
    for model in map(settings.model, settings.models):
        windows = ", ".join(f"{window.name} ({window.kind})" for window in model.windows)
        versions = "".join(f", of version {version} {path}" for version, path in model.references.items())
        lines += [
            f"model    {model.name}: {model.task}, {_averages(model)}",
            f"         windows {windows}; panes of {duration_text(model.pane_ms)}",
            *_cohorts(model),
            f"         reference {model.reference or 'none: no drift scores'}{versions}; segments {_segments(model)}",
        ]
    return "\n".join(lines)


def _cohorts(model: ModelSettings) -> Iterator[str]:
    if model.cohorts is not None:
        windows = ", ".join(f"{window.name} ({window.kind})" for window in model.cohorts.windows)
        yield f"         windows by prediction time {windows}, final after {duration_text(model.cohorts.max_delay_ms)}"


def _segments(model: ModelSettings) -> str:
    return ", ".join(" x ".join(keys) for keys in model.segments) or "none"


def _averages(model: ModelSettings) -> str:
    if model.task == "regression":
        return "numbers" if model.labels else "numbers, no labels: no performance"
    return f"classes {', '.join(model.classes)}, {_averages_of_classes(model)}"


def _averages_of_classes(model: ModelSettings) -> str:
    if not model.labels:
        return "no labels: no performance"
    return f"positive {model.positive}" if model.positive is not None else "macro averages"
