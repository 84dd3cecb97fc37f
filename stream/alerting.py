"""What alerts say: whom they are about, how they are called, and their sentence for a human. Pure; `detectors.judge` says which fire."""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import UNSET, UnsetType

from detectors.judge import AlertState, Thresholds, judge
from stream.alerts import Alert, Evidence
from stream.results import Result, Window, timestamp
from stream.settings import ModelSettings
from stream.verdicts import Judged

ALL_VERSIONS: Final = "(all)"  # the version of an alert that is about all of them
_HAPPENED = {"data_drift": "drifted", "prediction_drift": "drifted", "label_drift": "drifted", "data_quality": "is off"}
_RESOLVED = {False: "is back", True: "may be chance now"}  # by whether the value is beyond its threshold still
_WHOSE = {"prediction_drift": "output ", "label_drift": "true ", "estimated_performance": "estimated "}  # goes before the name
_FEATURES_NAMED = 5  # in a summary; the evidence has all


@dataclass(frozen=True, slots=True)
class About:
    """What an alert is about. `family`: the name of its windows. `occasion`: the parts of its id that tell it from others of its rule."""

    model: str
    version: str
    segment: str
    window: Window | None
    family: str = ""
    occasion: tuple[str, ...] = ()
    by: Literal["prediction_time"] | UnsetType = UNSET

    @classmethod
    def of(cls, result: Result) -> "About":
        window = result.window
        occasion = (window.start, window.end, str(result.revision))
        return cls(result.model, result.version, result.segment or "", window, window.name, occasion)

    def key(self, judged: Judged) -> str:
        """What the rule is called, by which alerts of it are told apart from those of others."""
        feature = "" if judged.feature is UNSET else str(judged.feature)
        key = f"{self.model}|{self.version}|{self.segment}|{judged.kind}|{feature}|{judged.metric}|{self.family}"
        return key if self.by is UNSET else f"{key}|{self.by}"


def alert_of(about: About, judged: Judged, key: str, fired: AlertState, status: Literal["firing", "resolved"], now_ms: int) -> Alert:
    """The alert of a rule that starts or stops firing. `fired`: its state while it fires, or did."""
    assert fired.severity is not None
    assert fired.first_fired_at_ms is not None
    occasion = about.occasion or (str(fired.first_fired_at_ms),)
    return Alert(
        alert_id=identity(key, *occasion, status, fired.severity),
        dedup_key=key,
        status=status,
        severity=fired.severity,
        model=about.model,
        version=about.version,
        segment=about.segment or None,
        kind=judged.kind,
        feature=judged.feature,
        metric=judged.metric,
        value=judged.value,
        threshold=judged.verdict.threshold,
        baseline=judged.baseline,
        estimated=judged.kind == "estimated_performance",
        window=about.window,
        by=about.by,
        summary=summary(" ".join(filter(None, (about.model, about.version, about.segment))), judged, about.window, status, about.by),
        evidence=judged.evidence,
        first_fired_at=timestamp(fired.first_fired_at_ms),
        emitted_at=timestamp(now_ms),
    )


def silence(settings: ModelSettings, silent_ms: int) -> Judged:
    """The verdict on how long a model has been silent: critical from its `freshness` on."""
    assert settings.freshness_ms is not None
    verdict = judge(silent_ms / 1000, 0, Thresholds(None, settings.freshness_ms / 1000, "above"), minimum_sample=0)
    return Judged("freshness", "silence_seconds", UNSET, silent_ms / 1000, verdict, Evidence(n=0))


def identity(*parts: str) -> str:
    """A deterministic id of these parts: the same window, rule and revision always gets the same one."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _is_beyond(judged: Judged) -> bool:
    """Whether the value is past the threshold, and only chance cannot be ruled out."""
    threshold = judged.verdict.threshold
    if judged.value is None or threshold is None:
        return False
    return judged.value < threshold if judged.below else judged.value >= threshold


def summary(who: str, judged: Judged, window: Window | None, status: str, by: str | UnsetType = UNSET) -> str:
    """One sentence for a human: what, by how much, when, and where it went."""
    resolved, name = status == "resolved", judged.metric if judged.feature is UNSET else str(judged.feature)
    whose = _WHOSE.get(judged.kind, "")
    if judged.value is None:
        what = f"{whose}{name}" if judged.feature is UNSET else f"{judged.metric} of {name}"
        return f"{who}: {what} is no longer judged" + (f" in {window.name} to {window.end}" if window else "")
    if judged.kind == "freshness":
        what = "heard again" if resolved else "silent"
    else:
        happened = _HAPPENED.get(judged.kind, "dropped" if judged.below else "rose")
        what = f"{whose}{name} {_RESOLVED[_is_beyond(judged)] if resolved else happened}"
    relation = "against" if resolved else "<" if judged.below else ">="
    limit = ", no longer judged" if judged.verdict.threshold is None else f" {relation} {judged.verdict.threshold:g}"
    text = f"{who}: {what}, {judged.metric} {judged.value:.3g}{limit}"
    if judged.evidence.p_adjusted is not UNSET and not resolved:
        text += f", adjusted p {judged.evidence.p_adjusted:.2g} <= {judged.evidence.alpha:.2g}"
    if judged.evidence.interval is not UNSET:
        text += " ({:.3g} to {:.3g})".format(*judged.evidence.interval)
    text += f" in {window.name} to {window.end}" if window else ""
    text += "" if by is UNSET else ", by prediction time"
    if judged.evidence.direction:
        text += f"; {judged.evidence.direction}"
    if judged.evidence.comes_from is not UNSET:
        text += f"; comes from {judged.evidence.comes_from}"
    if judged.evidence.drifted is not UNSET:
        text += f"; {', '.join(map(repr, judged.evidence.drifted[:_FEATURES_NAMED]))}"
    if judged.evidence.worst_class is not UNSET and not resolved:
        text += f"; class {judged.evidence.worst_class!r} got worse most"
    if judged.baseline is not UNSET:
        text += f"; baseline {judged.baseline:.3g}"
    return text
