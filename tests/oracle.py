"""What every window must come to, recomputed from the raw events by plain code that shares nothing with the product but the reference file.

`recompute` walks over the events in order of arrival, one after the other, keeps every row it needs, and adds up each window from its
panes; `mismatches` compares the result messages of a run with it. Which alerts must come of the windows is told by `oracle_alerts`.
It is meant to be slow, short and obviously right.

What it assumes: the events are usable (leave dead letters out), no partition was idle between its first and its last event, and every
label waits less than `labels.max_delay`. The order of events of different partitions plays no part in what is counted, but for some
things. One is told, `Recomputed.either`: a label that is corrected in another partition counts for a moment, or never. The caller avoids
the others: an id that is repeated in another partition (refused with ValueError, since either copy might be the duplicate), a correction
there that comes when what it corrects can no longer be taken back (likewise), and labels with a time before the pane of their prediction
(they may be late for a label that came first, and on time otherwise).
"""

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from tests.oracle_ranking import Ranked, Within, one_vs_rest, ranked

Event = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Family(NamedTuple):
    """A family of windows `[k * slide, k * slide + size)`."""

    name: str
    size_ms: int
    slide_ms: int


@dataclass(frozen=True)
class Monitored:
    """A model as the configuration has it. `features`, `outputs`: those of its reference file, see `reference_features`."""

    name: str
    windows: tuple[Family, ...]
    classes: tuple[str, ...] = ("0", "1")
    positive: str | None = None
    labels: bool = True
    segments: tuple[tuple[str, ...], ...] = ()  # the keys of each; values have no commas where there are crosses
    features: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    cohorts: tuple[Family, ...] = ()  # windows by the time of the predictions

    def families(self, subject: str) -> tuple[Family, ...]:
        return self.cohorts if subject == "cohort" else self.windows

    def pane_ms(self, subject: str) -> int:
        return math.gcd(*(length for family in self.families(subject) for length in (family.size_ms, family.slide_ms)))


class Timing(NamedTuple):
    """The settings that decide what is late: for windows by prediction time, that is `labels.max_delay`."""

    out_of_orderness_ms: int
    allowed_lateness_ms: int = 0
    max_delay_ms: int = 0


class Key(NamedTuple):
    """One window of one model, version and segment (None: all traffic; else "name=value"). `subject`: traffic, performance or cohort."""

    model: str
    subject: str
    version: str
    segment: str | None
    window: str
    start_ms: int


@dataclass
class Window:
    """What was counted. `bins`: per feature its coarse bins or categories, the last one missing; `fine`: what `quality` is made of."""

    predictions: int = 0
    late: int = 0
    duplicate: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)  # (label, prediction) of each label that was counted, as text
    truths: list[float] = field(default_factory=list)  # what each label's prediction gave the truth, where its score is a probability
    ranked: list[Ranked] = field(default_factory=list)  # of each label its class and the scores by class, where its prediction told some
    bins: dict[str, Counter[int]] = field(default_factory=dict)
    quality: dict[str, Counter[str]] = field(default_factory=dict)
    others: dict[str, Counter[str]] = field(default_factory=dict)  # texts that are no category of the feature

    def add(self, other: "Window") -> None:
        self.predictions += other.predictions
        self.late += other.late
        self.duplicate += other.duplicate
        self.pairs += other.pairs
        self.truths += other.truths
        self.ranked += other.ranked
        for feature, counts in other.bins.items():
            self.bins.setdefault(feature, Counter()).update(counts)
        for feature, kinds in other.quality.items():
            self.quality.setdefault(feature, Counter()).update(kinds)
        for feature, texts in other.others.items():
            self.others.setdefault(feature, Counter()).update(texts)


@dataclass
class Recomputed:
    """All windows with something in them, and the two balance sheets."""

    windows: dict[Key, Window] = field(default_factory=dict)
    predictions: Counter[str] = field(default_factory=Counter)  # consumed = counted + late + duplicate
    labels: Counter[str] = field(default_factory=Counter)  # consumed = matched + waiting + duplicate + corrected; late ones count too
    # Labels that were corrected in another partition: as many of the duplicates may be corrections, and as many more may be late.
    either: Counter[str] = field(default_factory=Counter)


@dataclass
class Standing:
    """The newest label under an id: what it says, and where it was counted, by subject."""

    text: str
    newest_ms: int
    label_ms: int
    outcome: tuple[tuple[str, str], list[float], list[Ranked]] | None = None
    windows: dict[str, list[Window]] = field(default_factory=dict)


def recompute(
    models: Sequence[Monitored], predictions: Sequence[Sequence[Event]], labels: Sequence[Sequence[Event]], timing: Timing
) -> Recomputed:
    """Every window of every model.

    Args:
        predictions, labels: the decoded events of each partition, in order of arrival, with `timestamp` in ms or RFC 3339.
    """
    done = Recomputed()
    panes: dict[Key, Window] = {}  # `window` is empty, `start_ms` is that of the pane
    by_name = {model.name: model for model in models}
    known: dict[
        Any, tuple[Event, int, bool, bool]
    ] = {}  # id -> the first prediction with it, its partition, whether it was late, or too late

    def counted_in(subject: str, prediction: Event, at_ms: int) -> Iterable[Window]:
        model = by_name[prediction["model"]]
        version = prediction.get("version")
        pane_ms = model.pane_ms(subject)
        start = at_ms // pane_ms * pane_ms
        for segment in (None, *(",".join(_segment(model, key, prediction) for key in keys) for keys in model.segments)):
            key = Key(model.name, subject, "unversioned" if version is None else str(version), segment, "", start)
            yield panes.setdefault(key, Window())

    for partition, events in enumerate(predictions):
        for event, at, newest in _clocked(events):
            model, id_ = by_name[event["model"]], str(event["prediction_id"])
            late = _is_late("traffic", at, newest, model, timing)
            again = model.labels and id_ in known
            if again and known[id_][1] != partition:
                raise ValueError(f"cannot tell the duplicate of prediction_id={id_!r}: it is in two partitions, expected one")
            done.predictions.update(["consumed", "duplicate" if again else "late" if late else "counted"])
            places = [] if again or late else _places(model, event)
            for window in counted_in("traffic", event, max(at, newest) if late else at):
                if again:
                    window.duplicate += 1
                elif late:
                    window.late += 1
                else:
                    window.predictions += 1
                    _count_features(window, places)
                    _count_others(window, model, event)
                    _count_outputs(window, model, event)
            if not again and not late and model.labels:
                for window in counted_in("performance", event, at):
                    window.predictions += 1
            too_late = not model.cohorts or _is_late("cohort", at, newest, model, timing)
            if not (again or too_late):
                for window in counted_in("cohort", event, at):
                    window.predictions += 1
            if model.labels:
                known.setdefault(id_, (event, partition, late, too_late))

    standing: dict[str, Standing] = {}
    moved, corrected = _corrected_elsewhere(labels), set[str]()
    for partition, events in enumerate(labels):
        for event, at, newest in _clocked(events):
            id_, text = str(event["prediction_id"]), class_text(event["label"])
            found, before = known.get(id_), standing.get(id_)
            if id_ in moved and partition != moved[id_].partition:
                done.labels.update(["consumed", "duplicate"])
                model = by_name[found[0]["model"]] if found else models[0]
                if any(
                    _is_late(subject, at, moved[id_].newest, model, timing)
                    for subject in ("performance", "cohort")
                    if model.families(subject)
                ):
                    raise ValueError(
                        f"cannot tell whether the first label of prediction_id={id_!r} was taken back: its correction is late for it"
                    )
                if id_ not in corrected:
                    corrected.add(id_)
                    done.either["corrected"] += 1
                    done.either["late"] += found is not None and (found[2] or _is_late("performance", at, newest, model, timing))
                continue
            if before is not None and (text == before.text or at < before.newest_ms):
                done.labels.update(["consumed", "duplicate"])
                before.newest_ms = max(at, before.newest_ms)
                continue
            done.labels.update(["consumed", "corrected" if before else "matched" if found else "waiting"])
            now = standing[id_] = Standing(text, at, at)
            if found is None:
                continue
            prediction, _, late_prediction, too_late = found
            model, predicted_ms = by_name[prediction["model"]], milliseconds(prediction["timestamp"])
            ranking = _ranked(model, prediction, text)
            now.outcome = (text, class_text(prediction["prediction"])), _truth(model, prediction, event), ranking
            late = late_prediction or _is_late("performance", at, newest, model, timing)
            if late:
                for window in counted_in("performance", prediction, max(at, newest)):
                    window.late += 1
            else:
                now.windows["performance"] = list(counted_in("performance", prediction, at))
            in_time = not (too_late or _is_late("cohort", predicted_ms, newest, model, timing))
            now.windows["cohort"] = list(counted_in("cohort", prediction, predicted_ms)) if in_time else []
            for window in (window for windows in now.windows.values() for window in windows):
                window.pairs.append(now.outcome[0])
                window.truths += now.outcome[1]
                window.ranked += ranking
            if before is not None and before.outcome is not None:
                gone = {
                    "performance": _is_late("performance", before.label_ms, newest, model, timing),
                    "cohort": not in_time,
                }
                for window in (window for subject, windows in before.windows.items() if not gone[subject] for window in windows):
                    window.pairs.remove(before.outcome[0])
                    for truth in before.outcome[1]:
                        window.truths.remove(truth)
                    for row in before.outcome[2]:
                        window.ranked.remove(row)

    for key, pane in panes.items():
        for family in by_name[key.model].families(key.subject):
            first = key.start_ms // family.slide_ms * family.slide_ms
            for start in range(first, key.start_ms - family.size_ms, -family.slide_ms):
                done.windows.setdefault(key._replace(window=family.name, start_ms=start), Window()).add(pane)
    return done


class _Moved(NamedTuple):
    """The label that corrects others of its id from another partition, and the newest time that its own had seen before it."""

    at: int
    partition: int
    newest: int
    text: str


def _corrected_elsewhere(labels: Sequence[Sequence[Event]]) -> dict[str, _Moved]:
    """By id the newest label, where labels in several partitions say several things. Raises ValueError unless it is alone in its own."""
    found: dict[str, list[_Moved]] = {}
    for partition, events in enumerate(labels):
        for event, at, newest in _clocked(events):
            found.setdefault(str(event["prediction_id"]), []).append(_Moved(at, partition, newest, class_text(event["label"])))
    moved = {}
    for id_, said in found.items():
        if min(len({label.partition for label in said}), len({label.text for label in said})) > 1:
            newest, others = max(said), [label for label in said if label != max(said)]
            if any(label.at == newest.at or label.partition == newest.partition or label.text != others[0].text for label in others):
                raise ValueError(f"cannot tell which label of prediction_id={id_!r} stands: expected one correction in another partition")
            moved[id_] = newest
    return moved


def _clocked(events: Iterable[Event]) -> Iterable[tuple[Event, int, int]]:
    """Each event, its time, and the newest time that its partition had seen before it."""
    newest = -(10**15)
    for event in events:
        at = milliseconds(event["timestamp"])
        yield event, at, newest
        newest = max(newest, at)


def _is_late(subject: str, at: int, newest: int, model: Monitored, timing: Timing) -> bool:
    """Whether the pane of this time had closed when the newest event of the partition was this old."""
    pane_ms = model.pane_ms(subject)
    lateness_ms = timing.max_delay_ms if subject == "cohort" else timing.allowed_lateness_ms
    return at // pane_ms * pane_ms + pane_ms + lateness_ms <= newest - timing.out_of_orderness_ms


def milliseconds(timestamp: int | str) -> int:
    """Epoch ms of a time in ms or RFC 3339."""
    return timestamp if isinstance(timestamp, int) else (datetime.fromisoformat(timestamp) - _EPOCH) // timedelta(milliseconds=1)


def class_text(value: str | float) -> str:
    """A class as the configuration writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _segment(model: Monitored, name: str, event: Event) -> str:
    """The segment that an event counts for; a category of the wrong type is as good as none."""
    feature = next((feature for feature in model.features if feature["name"] == name and feature["kind"] == "categorical"), None)
    value = (event.get("segments" if feature is None else "features") or {}).get(name)
    if value is None or (feature is not None and "invalid" in _place(feature, value)[1]):
        return f"{name}=(none)"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def keys_of(model: Monitored, key: Key) -> set[str]:
    """The features that the segment is of, in which it has one value or few: they are not judged in it."""
    crossed = any(len(keys) > 1 for keys in model.segments)
    parts = (key.segment or "").split(",") if crossed else [key.segment or ""]
    names = {part.partition("=")[0] for part in parts}
    return {feature["name"] for feature in model.features if feature["kind"] == "categorical"} & names


# features and scores


def reference_features(path: Path, key: str = "features") -> tuple[Mapping[str, Any], ...]:
    """The features of a reference file (`config/reference-format.md`), or its outputs."""
    return tuple(json.loads(path.read_text(encoding="utf-8")).get(key, ()))


def _count_outputs(window: Window, model: Monitored, event: Event) -> None:
    """Where the prediction and the score fall, under names that no feature has."""
    said = class_text(event["prediction"])
    for output in model.outputs:
        if output["name"] == "prediction":
            window.bins.setdefault("(prediction)", Counter())[_class_of(model, said)] += 1
        elif output["name"] == "score":
            score = score_of(model, event)
            window.bins.setdefault("(score)", Counter())[_place(output, score)[0]] += 1


def score_of(model: Monitored, event: Event) -> float | None:
    """The score: of a score per class that of the positive class, else of the predicted one."""
    score = event.get("score")
    return score.get(model.positive or class_text(event["prediction"])) if isinstance(score, dict) else score


def _ranked(model: Monitored, prediction: Event, label: str) -> list[Ranked]:
    """The scores by class, unless the model's two classes are a positive one and another."""
    binary = model.positive is not None and len(model.classes) == 2
    return [] if binary else ranked(model.classes, _class_of(model, label), prediction.get("score"))


def _truth(model: Monitored, prediction: Event, label: Event) -> list[float]:
    """The probability that the score gives to what the label says; none without one."""
    score, of = score_of(model, prediction), model.positive or class_text(prediction["prediction"])
    if score is None or not 0 <= score <= 1:
        return []
    return [score if _class_of(model, class_text(label["label"])) == _class_of(model, of) else 1 - score]


def output_drift(model: Monitored, key: Key, window: Window) -> dict[str, tuple[list[int], list[int]]]:
    """Counts of the reference and of the window for each output that the window is about: of a label those that are there."""
    found = {}
    for output in model.outputs:
        if (output["name"] == "label") != (key.subject == "performance"):
            continue
        reference = reference_counts(output)
        if output["kind"] == "categorical":
            own = [0] * (len(model.classes) + 1)
            for text, count in zip([*output["categories"], ""], output["counts"], strict=True):
                own[_class_of(model, text)] += count
            reference = [*own, output["missing"]] if output["name"] == "prediction" else own
        if output["name"] == "label":
            current = [sum(row) for row in confusion(model, window.pairs)]
        else:
            current = [window.bins[f"({output['name']})"][place] for place in range(len(reference))]
        found[output["name"]] = (reference, current)
    return found


def _places(model: Monitored, event: Event) -> list[tuple[str, int, tuple[str, ...]]]:
    """The name of each feature, the bin that its value falls into, and what `quality` says of it."""
    values = event.get("features") or {}
    return [(feature["name"], *_place(feature, values.get(feature["name"]))) for feature in model.features]


def _count_features(window: Window, places: Iterable[tuple[str, int, tuple[str, ...]]]) -> None:
    for name, place, kinds in places:
        if name not in window.bins:
            window.bins[name], window.quality[name] = Counter(), Counter()
        window.bins[name][place] += 1
        window.quality[name].update(kinds)


def _count_others(window: Window, model: Monitored, event: Event) -> None:
    """The texts of values that are not among the categories, cut at 100 characters."""
    values = event.get("features") or {}
    for feature in model.features:
        name, value = feature["name"], values.get(feature["name"])
        if "unseen" in _place(feature, value)[1]:
            window.others.setdefault(name, Counter())[class_text(value)[:100]] += 1


def unseen(feature: Mapping[str, Any], window: Window) -> dict[str, float] | None:
    """Shares of the values that the reference has not, of the eight with the least hashes; None if it cannot tell, or there is none."""
    counts = window.others.get(feature["name"])
    if not counts or feature["counts"][-1]:
        return None
    return {
        text: counts[text] / window.predictions for text in sorted(counts, key=lambda text: xxhash.xxh3_64(text.encode()).intdigest())[:8]
    }


def _place(feature: Mapping[str, Any], value: Any) -> tuple[int, tuple[str, ...]]:
    """The coarse bin of a value, and what `quality` says of it."""
    missing = len(feature["counts"]) if feature["kind"] == "categorical" else feature["groups"][-1] + 1
    if value is None:
        return missing, ("missing",)
    if feature["kind"] == "categorical":
        kind = {"string": str, "integer": int, "boolean": bool}[feature["value_type"]]
        if type(value) is not kind:
            return missing, ("invalid",)
        text = str(value).lower() if kind is bool else str(value)
        known = text in feature["categories"]
        return (feature["categories"].index(text), ()) if known else (len(feature["categories"]), ("unseen",))
    if type(value) not in (int, float):
        return missing, ("invalid",)
    fine = bisect_right(feature["edges"], value)
    outside = not feature["minimum"] <= value <= feature["maximum"] if "minimum" in feature else fine in (0, len(feature["edges"]))
    outlier = "fences" in feature and not feature["fences"][0] <= value <= feature["fences"][1]
    return feature["groups"][fine], tuple(kind for kind, holds in (("outside", outside), ("outlier", outlier)) if holds)


def reference_ratios(feature: Mapping[str, Any]) -> dict[str, float]:
    """The reference's own share of each defect, as far as its bins tell."""
    rows = sum(feature["counts"]) + feature["missing"]
    ratios = {"missing": feature["missing"] / rows, "invalid": 0.0, "unseen": 0.0, "outside": 0.0}
    if feature["kind"] == "categorical":
        return ratios | {"unseen": feature["counts"][-1] / rows}
    upper = [*feature["edges"], math.inf]
    lower = [-math.inf, *feature["edges"]]
    for kind, (low, high) in {
        "outside": (feature.get("minimum", feature["edges"][0]), feature.get("maximum", math.nextafter(feature["edges"][-1], -math.inf))),
        "outlier": feature.get("fences", (-math.inf, math.inf)),
    }.items():
        bins = zip(lower, upper, feature["counts"], strict=True)
        ratios[kind] = sum(n for at, end, n in bins if end <= low or at > high) / rows
    return ratios


def quality_of(feature: Mapping[str, Any], kinds: Mapping[str, int], n: int) -> dict[str, float]:
    """The ratios of a feature among n predictions, and its score."""
    names = {"missing": "missing_ratio", "invalid": "type_violation_ratio", "unseen": "unseen_ratio", "outside": "out_of_range_ratio"}
    names |= {"outlier": "outlier_ratio"} if "fences" in feature else {}
    base = reference_ratios(feature)
    more = {kind: max(0.0, kinds.get(kind, 0) / n - base[kind]) for kind in names}
    half = more["unseen"] + max(more["outside"], more.get("outlier", 0.0))
    return {name: kinds.get(kind, 0) / n for kind, name in names.items()} | {"score": 1 - more["missing"] - more["invalid"] - half / 2}


def reference_counts(feature: Mapping[str, Any]) -> list[int]:
    """The reference's own counts per coarse bin or category, then missing."""
    if feature["kind"] == "categorical":
        return [*feature["counts"], feature["missing"]]
    coarse = [0] * (feature["groups"][-1] + 1)
    for group, count in zip(feature["groups"], feature["counts"], strict=True):
        coarse[group] += count
    return [*coarse, feature["missing"]]


def scores(reference: Sequence[int], current: Sequence[int]) -> dict[str, float]:
    """PSI with half a row added to each bin that is not empty on both sides; Jensen-Shannon in base 2 without."""
    used = [(p, q) for p, q in zip(reference, current, strict=True) if p or q]
    m, n, half = sum(reference), sum(current), len(used) / 2
    smooth = [((p + 0.5) / (m + half), (q + 0.5) / (n + half)) for p, q in used]
    psi = math.fsum((q - p) * math.log(q / p) for p, q in smooth)
    parts = [share * math.log2(2 * share / (p / m + q / n)) for p, q in used for share in (p / m, q / n) if share]
    divergence = min(max(math.fsum(parts) / 2, 0.0), 1.0)
    return {"psi": psi, "js_divergence": divergence, "js_distance": math.sqrt(divergence)}


# performance


def confusion(model: Monitored, pairs: Iterable[tuple[str, str]]) -> list[list[int]]:
    """Rows are labels, columns predictions; the last of each is all that is no class of the model."""
    k = len(model.classes)
    cells = [[0] * (k + 1) for _ in range(k + 1)]
    for label, predicted in pairs:
        row, column = (_class_of(model, text) for text in (label, predicted))
        cells[row][column] += 1
    return cells


def _class_of(model: Monitored, text: str) -> int:
    same = {"true": "1", "false": "0", "1": "true", "0": "false"}
    known = [name for name in (text, same.get(text)) if name in model.classes]
    return model.classes.index(known[0]) if known else len(model.classes)


def metrics(model: Monitored, pairs: Sequence[tuple[str, str]]) -> dict[str, float | None]:
    """Accuracy, precision, recall, f1: of the positive class, or the mean over the classes that occur. None is undefined.

    A class that is not configured is never predicted right: as a label it is one class, as a prediction another.
    """
    k = len(model.classes)
    rows = [(_class_of(model, label), _class_of(model, predicted)) for label, predicted in pairs]
    rows = [(label, predicted if predicted < k else k + 1) for label, predicted in rows]
    if not rows:
        return dict.fromkeys(("accuracy", "precision", "recall", "f1"))
    of = [model.classes.index(model.positive)] if model.positive is not None else sorted({c for row in rows for c in row})
    found: dict[str, list[float | None]] = {"precision": [], "recall": [], "f1": []}
    for c in of:
        right = sum(row == (c, c) for row in rows)
        labelled, predicted = sum(label == c for label, _ in rows), sum(said == c for _, said in rows)
        undefined = None if model.positive is not None else 0.0
        found["precision"].append(right / predicted if predicted else undefined)
        found["recall"].append(right / labelled if labelled else undefined)
        found["f1"].append(2 * right / (labelled + predicted) if labelled + predicted else undefined)
    accuracy = sum(label == predicted for label, predicted in rows) / len(rows)
    means = {name: None if None in values else math.fsum(v for v in values if v is not None) / len(of) for name, values in found.items()}
    return {"accuracy": accuracy, **means}


# comparison with the messages of a run


def key_of(result: Mapping[str, Any]) -> Key:
    """The key of a result message."""
    window, by = result["window"], (result.get("performance") or {}).get("by")
    start = milliseconds(window["start"])
    return Key(
        result["model"],
        "cohort" if by == "prediction_time" else result["subject"],
        result["version"],
        result["segment"],
        window["name"],
        start,
    )


def mismatches(
    models: Sequence[Monitored],
    results: Iterable[Mapping[str, Any]],
    expected: Recomputed,
    *,
    late_labels: bool = True,
    most: int = 20,
    tolerance: float = 1e-9,
) -> list[str]:
    """What result messages (decoded JSON, in any order, repeated or not) say differently; final ones only, but of windows by prediction
    time the one that was closed last, which knows all that came. Empty when all agree.

    Args:
        late_labels: compare where late labels were noted. That is where time stood when the second of label and prediction was read, so
            False unless every prediction was read before its label.
    """
    by_name = {model.name: model for model in models}
    final: dict[Key, Mapping[str, Any]] = {}
    found: list[str] = []
    for result in results:
        key = key_of(result)
        if key.subject == "cohort":
            final[key] = max(final.get(key, result), result, key=lambda one: (one["closed_at"], one["revision"]))
            continue
        if not result["final"]:
            continue
        same = final.setdefault(key, result)
        if same["result_id"] != result["result_id"]:
            found.append(f"{key}: two final results, {same['result_id']} and {result['result_id']}")
    windows = expected.windows
    if not late_labels:
        final = {key: result for key, result in final.items() if not _only_late(key, result["counts"])}
        windows = {key: w for key, w in windows.items() if not _only_late(key, {"predictions": w.predictions, "labels": len(w.pairs)})}
    found += [f"{key}: no result" for key in sorted(windows.keys() - final.keys(), key=str)]
    found += [f"{key}: a result, but nothing happened" for key in sorted(final.keys() - windows.keys(), key=str)]
    for key in sorted(final.keys() & windows.keys(), key=str):
        actual, wanted = final[key], described(by_name[key.model], key, windows[key])
        if key.subject == "performance" and not late_labels:
            del wanted["counts"]["late"]
        found += [f"{key}: {difference}" for difference in _differences("", wanted, actual, tolerance)]
    return found[:most]


def _only_late(key: Key, counts: Mapping[str, int]) -> bool:
    return key.subject == "performance" and not (counts["predictions"] or counts["labels"])


def described(model: Monitored, key: Key, window: Window) -> dict[str, Any]:
    """What the result message of a window must say, as far as it follows from the events."""
    if key.subject != "traffic":
        matrix, n = confusion(model, window.pairs), len(window.pairs)
        coverage = n / window.predictions if window.predictions else None
        of_scores = _losses(window.truths) | {"one_vs_rest": one_vs_rest(model.classes, window.ranked)}
        return {
            "counts": {"predictions": window.predictions, "late": window.late, "labels": n},
            "performance": {"coverage": coverage, "confusion": matrix, **metrics(model, window.pairs), **of_scores},
            "outputs": _described_outputs(model, key, window) if n and key.subject == "performance" else {},
        }
    n, keys, drift, quality = window.predictions, keys_of(model, key), {}, {}
    for feature in model.features if n else ():
        name, reference = feature["name"], reference_counts(feature)
        current = [window.bins[name][place] for place in range(len(reference))]
        quality[name] = quality_of(feature, window.quality[name], n)
        if name not in keys:
            drift[name] = {"n": n, "reference_n": sum(reference), **{k: {"score": v} for k, v in scores(reference, current).items()}}
            drift[name]["unseen"] = unseen(feature, window)
    came = n + window.late + window.duplicate
    of_score = [quality[name]["score"] for name in drift or quality]
    mean = math.fsum(of_score) / len(of_score) if of_score else 1.0
    summary = {"quality_score": mean * n / came, "late_ratio": window.late / came, "duplicate_ratio": window.duplicate / came}
    counts = {"predictions": n, "late": window.late, "duplicate": window.duplicate}
    outputs = _described_outputs(model, key, window) if n else {}
    return {"counts": counts, "drift": drift, "quality": quality, "summary": summary, "outputs": outputs}


def _losses(truths: Sequence[float]) -> dict[str, Any]:
    if not truths:
        return {"scores": None}
    n = len(truths)
    brier, log_loss = math.fsum((1 - p) ** 2 for p in truths) / n, math.fsum(-math.log(max(p, 2.0**-52)) for p in truths) / n
    return {"scores": {"n": n, "brier": brier, "log_loss": log_loss}}


def _described_outputs(model: Monitored, key: Key, window: Window) -> dict[str, Any]:
    return {
        name: {"n": sum(current), "reference_n": sum(reference), **{k: {"score": v} for k, v in scores(reference, current).items()}}
        for name, (reference, current) in output_drift(model, key, window).items()
    }


def _differences(path: str, wanted: Any, actual: Any, tolerance: float) -> list[str]:
    """Where `actual` differs; it may say more than is wanted, and withhold a score below the minimum sample."""
    if isinstance(wanted, Within):
        return [f"{path}: {actual!r}, expected {wanted.value!r} within its bounds"] if wanted.differs(actual) else []
    if isinstance(wanted, list) and isinstance(actual, Sequence) and len(wanted) == len(actual):
        return [line for i, one in enumerate(wanted) for line in _differences(f"{path}[{i}]", one, actual[i], tolerance)]
    if isinstance(wanted, Mapping):
        if not isinstance(actual, Mapping):
            return [f"{path}: {actual!r}, expected {wanted!r}"]
        if set(wanted) == {"score"} and actual.get("severity") == "insufficient_data":
            return [] if actual["score"] is None else [f"{path}: a score below the minimum sample"]
        if path.endswith(".unseen") and set(wanted) != set(actual):
            return [f"{path}: {actual!r}, expected {wanted!r}"]
        return [line for key, value in wanted.items() for line in _differences(f"{path}.{key}", value, actual.get(key), tolerance)]
    if isinstance(wanted, float) and isinstance(actual, (int, float)):
        if path.endswith(".js_distance.score"):  # a root: near 0 it says little of its square's last digits
            wanted, actual = wanted**2, actual**2
        same = math.isclose(wanted, actual, rel_tol=tolerance, abs_tol=tolerance)
    else:
        same = wanted == actual
    return [] if same else [f"{path}: {actual!r}, expected {wanted!r}"]


# alerts


def rfc3339(ms: int) -> str:
    """Epoch ms as the messages write them."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
