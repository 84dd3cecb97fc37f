"""The configuration file: what it means, what it refuses and how it says so. Expected messages are written by hand, whole lines."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from detectors.judge import Thresholds
from stream.settings import Settings, load_settings, settings_summary
from stream.settings_events import Source
from stream.settings_values import duration_ms, duration_text
from stream.windows import WindowSpec

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(path.name for path in CONFIG.glob("*.yaml") if "\nmodels:" in path.read_text(encoding="utf-8"))
ONE_MODEL = 'models: {fraud: {classes: ["0", "1"]}}\n'
MINIMAL = """\
kafka:
  brokers: kafka-1:9092,kafka-2:9092

redis:
  url: redis://:${REDIS_PASSWORD}@redis:6379/0

windows:
  - {size: 5m}
  - {size: 1h, slide: 5m}

models:
  fraud:
    reference: references/fraud.json
    classes: ["0", "1"]
    positive: "1"
    segments: [country]
    performance:
      accuracy: {warning: 0.9, critical: 0.8}
"""
DURATION = "with its unit, such as 500ms, 5s, 10m, 1h or 7d"
TEXT = "printable text of 1 to 200 characters without space at either end"
NAME = f"{TEXT} and without '|', which Redis keys use"
CROSS = "keys to be crossed: different names without '|' and ','"
PATH = "a dotted path in the JSON (a.b, without a colon)"
REDIS = "redis://host:port/db, rediss://host:port/db or unix:///path"
BROKERS = "host:port, or several with commas between"
TOPIC = "a Kafka topic name: 1 to 249 of letters, digits, '.', '_' and '-', not '.' or '..'"
AGAINST = "a duration from 1ms to 3650d with its unit, such as 500ms, 5s, 10m, 1h or 7d, or reference, or previous_window"
LIMIT = "a number over 0 and up to 1000, or off"
SHARE = "a number over 0 and up to 1, or off"
TESTED_LIMIT, TESTED_SHARE = "a number over 0 and up to 1000, off or auto", "a number over 0 and up to 1, off or auto"
NOT_AUTO = "a number or off; auto is for the warning of a method with a p-value, psi, ks, chi2"
NO_DEFAULT = "a value: it has no default"

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


# What a file means


def test_minimal_file_has_twenty_lines_and_the_documented_defaults(load: Load, tmp_path: Path) -> None:
    assert len(MINIMAL.splitlines()) <= 20
    settings = load(MINIMAL, REDIS_PASSWORD="hunter2")
    assert settings.kafka.brokers == "kafka-1:9092,kafka-2:9092"
    assert settings.redis.url.get_secret_value() == "redis://:hunter2@redis:6379/0"
    assert (settings.kafka.group, settings.kafka.start, settings.kafka.client_options()) == ("driftstream", "earliest", {})
    assert settings.kafka.topics.dead_letter == "driftstream.dead-letter"
    time = settings.time
    assert (time.out_of_orderness_ms, time.allowed_lateness_ms, time.idle_after_ms) == (5_000, 0, 30_000)
    assert (time.when_idle, time.max_future_skew_ms) == ("wall_clock", 300_000)
    assert (settings.labels.max_delay_ms, settings.labels.clock) == (7 * 86_400_000, "event")
    worker = settings.worker
    assert (worker.web_host, worker.web_port, worker.batch_size, worker.checkpoint_every_ms) == ("127.0.0.1", 8080, 30_000, 500)
    assert worker.references_every_ms == 10_000
    model = settings.model("fraud")
    assert model.windows == (WindowSpec("5m", 300_000, 300_000), WindowSpec("1h/5m", 3_600_000, 300_000))
    assert model.pane_ms == 300_000
    assert model.reference == tmp_path / "references/fraud.json"
    assert model.references == {}
    assert (model.classes, model.positive, model.labels, model.segments) == (("0", "1"), "1", True, (("country",),))
    assert (model.segment_values_max, model.versions_max) == (50, 20)


def test_thresholds_on_quality_are_inherited_by_models_and_features(load: Load) -> None:
    settings = load(
        """
        quality: {missing_ratio: {warning: 0.1}, late_ratio: {warning: 0.3}, freshness: 10m}
        summary: {drifted_ratio: {warning: 0.5}}
        models:
          fraud:
            classes: [x, y]
            quality:
              freshness: off
              volume_min: {critical: 100}
              features: {amount: {missing_ratio: {critical: off}, score: {warning: 0.8}, minimum_sample: 50}}
            summary: {drifted_ratio: {critical: 0.9}}
          plain: {classes: [x, y]}
        """
    )
    fraud, plain = settings.model("fraud"), settings.model("plain")
    assert plain.quality_for("amount").thresholds["missing_ratio"] == Thresholds(0.1, 0.2, "above")
    assert fraud.quality_for("amount").thresholds["missing_ratio"] == Thresholds(0.1, None, "above")
    assert fraud.quality_for("amount").thresholds["score"] == Thresholds(0.8, None, "below")
    assert (fraud.quality_for("amount").minimum_sample, fraud.quality_for("hour").minimum_sample) == (50, 200)
    assert plain.quality_for("hour").thresholds["type_violation_ratio"] == Thresholds(0.01, 0.05, "above")
    assert plain.quality_for("hour").thresholds["outlier_ratio"] == Thresholds(None, None, "above")
    assert (fraud.freshness_ms, plain.freshness_ms) == (None, 600_000)
    assert fraud.quality.thresholds["volume_min"] == Thresholds(None, 100.0, "below")
    assert plain.quality.thresholds["late_ratio"] == Thresholds(0.3, None, "above")
    assert fraud.summary.thresholds["drifted_ratio"] == Thresholds(0.5, 0.9, "above")
    assert plain.summary.thresholds["weighted_drift"] == Thresholds(None, None, "above")


def test_a_list_of_keys_is_a_cross(load: Load) -> None:
    model = load("models: {fraud: {classes: [x, y], segments: [country, [country, channel], [plan]]}}").model("fraud")
    assert model.segments == (("country",), ("country", "channel"), ("plan",))


def test_model_without_windows_has_those_of_all_models(load: Load) -> None:
    settings = load("models: {a: {classes: [x, y]}, b: {classes: [x, y], windows: [{size: 30s}]}}")
    assert settings.model("a").windows == (WindowSpec("1m", 60_000, 60_000), WindowSpec("10m/1m", 600_000, 60_000))
    assert settings.model("b").windows == (WindowSpec("30s", 30_000, 30_000),)


def test_thresholds_are_inherited_one_by_one(load: Load) -> None:
    settings = load(
        """
        drift: {js_distance: {warning: 0.3}}
        performance: {accuracy: {warning: 0.9}}
        models:
          fraud:
            classes: [x, y]
            drift:
              psi: {critical: 0.5}
              features:
                amount: {psi: {warning: 0.05}, minimum_sample: 500}
                noise: {psi: {warning: off, critical: off}}
            performance: {accuracy: {critical: 0.8}, minimum_sample: 30}
          plain: {classes: [x, y]}
        """
    )
    fraud, plain = settings.model("fraud"), settings.model("plain")
    assert plain.drift_for("amount").minimum_sample == 200
    assert plain.drift_for("amount").thresholds == {
        "psi": Thresholds(0.1, 0.2, "above"),
        "js_distance": Thresholds(0.3, None, "above"),
        "js_divergence": Thresholds(None, None, "above"),
    }
    assert fraud.drift_for("anything").thresholds["psi"] == Thresholds(0.1, 0.5, "above")
    assert fraud.drift_for("amount").thresholds["psi"] == Thresholds(0.05, 0.5, "above")
    assert fraud.drift_for("amount").thresholds["js_distance"] == Thresholds(0.3, None, "above")
    assert fraud.drift_for("amount").minimum_sample == 500
    assert fraud.drift_for("noise").thresholds["psi"] == Thresholds(None, None, "above")
    assert fraud.performance.thresholds["accuracy"] == Thresholds(0.9, 0.8, "below")
    assert (fraud.performance.minimum_sample, plain.performance.minimum_sample) == (30, 100)
    assert list(plain.performance.thresholds) == ["accuracy", "precision", "recall", "f1"]


def test_estimates_are_judged_by_the_thresholds_of_performance_where_a_level_says_so(load: Load) -> None:
    settings = load(
        """
        performance: {estimated: true, accuracy: {warning: 0.9}, brier: {warning: 0.2}, minimum_sample: 60}
        models:
          fraud: {classes: [x, y], performance: {accuracy: {critical: 0.8}, roc_auc: {warning: 0.7}}}
          late: {classes: [x, y], performance: {estimated: false}}
          price: {task: regression}
        """
    )
    rest = dict.fromkeys(("precision", "recall", "f1"), Thresholds(None, None, "below"))
    fraud = settings.model("fraud").estimated
    assert fraud.thresholds == rest | {"accuracy": Thresholds(0.9, 0.8, "below"), "roc_auc": Thresholds(0.7, None, "below")}
    assert fraud.minimum_sample == 60
    assert settings.model("late").estimated.thresholds == settings.model("price").estimated.thresholds == {}
    plain = load("models: {fraud: {classes: [x, y], performance: {accuracy: {warning: 0.9}}}}")
    assert plain.model("fraud").estimated.thresholds == {}


def test_a_method_is_scored_where_a_level_names_it(load: Load) -> None:
    settings = load(
        """
        drift: {hellinger: {warning: 0.2}, kl: }
        models:
          fraud:
            classes: [x, y]
            drift:
              chi2: {}
              features:
                amount: {ks: {warning: 0.1, critical: 0.2}, wasserstein: {warning: off}, hellinger: {warning: off}}
          plain: {classes: [x, y]}
        """
    )
    always = ["psi", "js_distance", "js_divergence"]
    fraud, plain = settings.model("fraud"), settings.model("plain")
    assert list(plain.drift.thresholds) == [*always, "hellinger"]
    assert list(fraud.drift_for("other").thresholds) == [*always, "chi2", "hellinger"]
    assert fraud.drift_for("amount").thresholds == plain.drift.thresholds | {
        "ks": Thresholds(0.1, 0.2, "above"),
        "chi2": Thresholds(None, None, "above"),
        "wasserstein": Thresholds(None, None, "above"),
        "hellinger": Thresholds(None, None, "above"),
    }
    assert fraud.drift_for("other").thresholds["hellinger"] == Thresholds(0.2, None, "above")


def test_quotes_do_not_change_what_a_value_means(load: Load) -> None:
    settings = load('models: {fraud: {classes: [0, yes, true, 2020-01-01, "1:30"], labels: off}}\nworker: {web_port: "9000"}')
    assert settings.model("fraud").classes == ("0", "yes", "true", "2020-01-01", "1:30")
    assert settings.model("fraud").labels is False
    assert settings.worker.web_port == 9000


def test_key_without_a_value_has_its_default(load: Load) -> None:
    assert load("kafka:\ntime:\n  out_of_orderness:\n" + ONE_MODEL) == load(ONE_MODEL)


def test_auto_becomes_a_floor_and_the_level_of_a_test(load: Load) -> None:
    """Windows of 1m and of 10m every minute close 2880 times a day, and with labels as often again; those of 1h 24 times."""
    settings = load(
        """
        drift: {psi: {warning: auto}, false_alarms_per_day: 2}
        models:
          fraud:
            classes: [x, y]
            drift:
              false_alarms_per_day: 0.6
              ks: {warning: auto, critical: 0.3}
              chi2: {warning: auto, floor: 0.2}
              features:
                amount: {psi: {floor: 0.07}, ks: {warning: 0.1}}
                noise: {psi: {warning: off}}
            windows: [{size: 1h}]
            labels: false
          plain: {classes: [x, y]}
        """
    )
    fraud, plain = settings.model("fraud"), settings.model("plain")
    assert plain.drift.thresholds["psi"] == Thresholds(0.04, 0.2, "above", alpha=2 / 5760)
    assert plain.drift.thresholds["js_distance"] == Thresholds(None, None, "above")
    rules, alpha = fraud.drift_for("anything").thresholds, 0.6 / 24
    assert rules["psi"] == Thresholds(0.04, 0.2, "above", alpha)
    assert rules["ks"] == Thresholds(0.08, 0.3, "above", alpha)
    assert rules["chi2"] == Thresholds(0.2, None, "above", alpha)
    assert fraud.drift_for("amount").thresholds["psi"] == Thresholds(0.07, 0.2, "above", alpha)
    assert fraud.drift_for("amount").thresholds["ks"] == Thresholds(0.1, 0.3, "above")
    assert fraud.drift_for("noise").thresholds["psi"] == Thresholds(None, 0.2, "above")


@pytest.mark.parametrize(("windows", "alpha"), [("[{size: 1d}]", 0.05), ("[{size: 1h, slide: 30m}, {size: 30m}]", 1 / 192)])
def test_auto_alarms_by_chance_at_every_twentieth_close_at_most(load: Load, windows: str, alpha: float) -> None:
    model = load(f"windows: {windows}\ndrift: {{psi: {{warning: auto}}}}\n" + ONE_MODEL).model("fraud")
    assert model.drift.thresholds["psi"].alpha == alpha


def test_same_thresholds_for_warning_and_critical_are_accepted(load: Load) -> None:
    assert load("drift: {psi: {warning: 0.2}}\n" + ONE_MODEL).model("fraud").drift.thresholds["psi"] == Thresholds(0.2, 0.2, "above")


def test_fields_of_events_can_be_mapped(load: Load) -> None:
    events = load(
        """
        events:
          max_bytes: 64KiB
          predictions:
            prediction_id: kafka:key
            timestamp: kafka:timestamp
            model: const:fraud
            version: kafka:header:model-version
            score: output.score
            features: {amount: payload.tx.amount}
        """
        + ONE_MODEL
    ).events
    assert events.max_bytes == 65_536
    predictions = events.predictions
    assert (predictions.prediction_id, predictions.timestamp) == (Source("key"), Source("timestamp"))
    assert (predictions.model, predictions.version) == (Source("const", "fraud"), Source("header", "model-version"))
    assert predictions.score.path == ("output", "score")
    assert predictions.features == {"amount": Source("path", "payload.tx.amount")}
    assert predictions.segments == Source("path", "segments")
    assert events.labels.label == Source("path", "label")


@pytest.mark.parametrize("brokers", ["a:1", "a:9092, b.example.org:9093 ,c:9094", "[::1]:9092"])
def test_broker_lists_are_accepted(load: Load, brokers: str) -> None:
    assert load(f"kafka: {{brokers: '{brokers}'}}\n" + ONE_MODEL).kafka.brokers == brokers.replace(" ", "")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://localhost", "redis://localhost"),
        ("rediss://me:hunter2@redis.example.org:6380/3", "rediss://redis.example.org:6380/3"),
        ("redis://[::1]:6379/0?password=hunter2", "redis://[::1]:6379/0"),
        ("unix://:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_redis_addresses_are_accepted_and_masked_for_logs(load: Load, url: str, masked: str) -> None:
    redis = load(f"redis: {{url: '{url}'}}\n" + ONE_MODEL).redis
    assert redis.url.get_secret_value() == url
    assert redis.masked_url() == masked


@pytest.mark.parametrize("text", ["0s", "1ms", "999ms", "1s", "90s", "10m", "36h", "7d"])
def test_duration_reads_back_as_it_was_written(text: str) -> None:
    assert duration_text(duration_ms(text)) == text


def test_settings_cannot_be_changed_and_can_be_sent_to_a_process(load: Load) -> None:
    settings = load(ONE_MODEL)
    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka.group = "other"
    assert pickle.loads(pickle.dumps(settings)) == settings


# What a file may not say

BAD = [
    ("kafka: {brokers: kafka}", f"kafka.brokers: 'kafka', expected {BROKERS}"),
    ("kafka: {brokers: 'a:1,b:70000'}", f"kafka.brokers: 'a:1,b:70000', expected {BROKERS}"),
    ("kafka: {brokers: [a:1]}", f"kafka.brokers: a list, expected {BROKERS}"),
    ("kafka: {group: ''}", f"kafka.group: '', expected {TEXT}"),
    ("kafka: {start: newest}", "kafka.start: 'newest', expected 'earliest' or 'latest'"),
    ("kafka: {topics: {late: a/b}}", f"kafka.topics.late: 'a/b', expected {TOPIC}"),
    ("kafka: {topics: {late: ..}}", f"kafka.topics.late: '..', expected {TOPIC}"),
    (
        "kafka: {topics: {predictions: a.b, labels: a_b}}",
        "kafka.topics.labels: 'a_b', expected a topic other than that of predictions ('.' and '_' count as equal in Kafka)",
    ),
    (
        "kafka: {options: {enable.auto.commit: true}}",
        "kafka.options.enable.auto.commit: 'enable.auto.commit', "
        "expected an option of librdkafka other than this one, which driftstream sets itself",
    ),
    (
        "kafka: {options: {group.id: mine}}",
        "kafka.options.group.id: 'group.id', expected an option of librdkafka other than this one, which is kafka.group here",
    ),
    ("kafka: {options: {sasl: {password: x}}}", "kafka.options.sasl: a mapping, expected text, a number, true or false"),
    ("kafka: {options: [a]}", "kafka.options: a list, expected a mapping"),
    ("kafka: localhost", "kafka: 'localhost', expected a mapping"),
    ("redis: {url: 'http://localhost'}", f"redis.url: 'http://***', expected {REDIS}"),
    ("redis: {url: 'redis://localhost:0/0'}", f"redis.url: 'redis://***', expected {REDIS}"),
    ("redis: {url: 'redis://localhost/zero'}", f"redis.url: 'redis://***', expected {REDIS}"),
    ("redis: {url: 'redis://'}", f"redis.url: 'redis://***', expected {REDIS}"),
    ("redis: {url: 'unix://'}", f"redis.url: 'unix://***', expected {REDIS}"),
    ("redis: {url: 'redis://[::1'}", f"redis.url: 'redis://***', expected {REDIS}"),
    ("redis: {namespace: 'a:b'}", "redis.namespace: 'a:b', expected 1 to 100 of letters, digits, '.', '_' and '-'"),
    ("time: {out_of_orderness: 5}", f"time.out_of_orderness: '5', expected a duration from 0s to 3650d {DURATION}"),
    ("time: {allowed_lateness: -1s}", f"time.allowed_lateness: '-1s', expected a duration from 0s to 3650d {DURATION}"),
    ("time: {idle_after: 0s}", f"time.idle_after: '0s', expected a duration from 1ms to 3650d {DURATION}"),
    ("time: {max_future_skew: 1w}", f"time.max_future_skew: '1w', expected a duration from 0s to 3650d {DURATION}"),
    ("time: {when_idle: never}", "time.when_idle: 'never', expected 'wall_clock' or 'hold'"),
    ("events: {max_bytes: 1MB}", "events.max_bytes: '1MB', expected a size from 1KiB to 680KiB with its unit, such as 64KiB or 1MiB"),
    ("events: {max_bytes: 1GiB}", "events.max_bytes: '1GiB', expected a size from 1KiB to 680KiB with its unit, such as 64KiB or 1MiB"),
    (
        "events: {predictions: {model: 'kafka:topic'}}",
        f"events.predictions.model: 'kafka:topic', expected {PATH}, kafka:key, kafka:timestamp, kafka:header:NAME or const:TEXT",
    ),
    (
        "events: {labels: {label: a..b}}",
        f"events.labels.label: 'a..b', expected {PATH}, kafka:key, kafka:timestamp, kafka:header:NAME or const:TEXT",
    ),
    (
        "events: {labels: {label: 'const:1'}}",
        "events.labels.label: 'const:1', expected a source that differs between events, so not const:TEXT",
    ),
    (
        "events: {predictions: {features: 'kafka:key'}}",
        f"events.predictions.features: 'kafka:key', expected {PATH}, or a mapping of names to such paths",
    ),
    (
        "events: {predictions: {features: {amount: a.b, zip: [a]}}}",
        f"events.predictions.features.zip: a list, expected {PATH}, under a printable name",
    ),
    ("labels: {max_delay: 7 days}", f"labels.max_delay: '7 days', expected a duration from 1ms to 3650d {DURATION}"),
    ("labels: {clock: wall}", "labels.clock: 'wall', expected 'event' or 'arrival'"),
    ("windows: []", "windows: a list, expected at least one window"),
    ("windows: {size: 1m}", "windows: a mapping, expected a list"),
    ("windows: [1m]", "windows.0: '1m', expected a mapping"),
    ("windows: [{slide: 1m}]", f"windows.0.size: nothing, expected {NO_DEFAULT}"),
    ("windows: [{size: 0s}]", f"windows.0.size: '0s', expected a duration from 1ms to 3650d {DURATION}"),
    ("windows: [{size: 1m, slide: 0s}]", f"windows.0.slide: '0s', expected a duration from 1ms to 3650d {DURATION}"),
    (
        "windows: [{size: 1m}, {size: 5m, slide: 7m}]",
        "windows.1.slide: '7m', expected at most the size, 5m: between the windows events would count nowhere",
    ),
    ("windows: [{size: 1m, name: 'a|b'}]", f"windows.0.name: 'a|b', expected {NAME}"),
    ("windows: [{size: 1m}, {size: 60s}]", "windows.1.name: nothing, expected a name of its own: '1m' is that of window 0"),
    ("windows: [{size: 1m}, {size: 5m, name: 1m}]", "windows.1.name: '1m', expected a name of its own: '1m' is that of window 0"),
    (
        "windows: [{size: 7d}, {size: 7m, slide: 1m}]",
        "windows.0.size: '7d', expected at most 10000 panes; "
        "a pane is the greatest common divisor of all sizes and slides of the model, 1m",
    ),
    ("drift: {minimum_sample: 0}", "drift.minimum_sample: '0', expected a whole number from 1 to 1000000000"),
    ("drift: {psi: {warning: 0}}", f"drift.psi.warning: '0', expected {TESTED_LIMIT}"),
    ("drift: {psi: {warning: nan}}", f"drift.psi.warning: 'nan', expected {TESTED_LIMIT}"),
    ("drift: {ks: {warning: 1.1}}", f"drift.ks.warning: '1.1', expected {TESTED_SHARE}"),
    ("drift: {chi2: {critical: 3.84}}", f"drift.chi2.critical: '3.84', expected {SHARE}"),
    ("drift: {hellinger: {warning: 2}}", f"drift.hellinger.warning: '2', expected {SHARE}"),
    ("drift: {total_variation: {warning: -1}}", f"drift.total_variation.warning: '-1', expected {SHARE}"),
    ("drift: {wasserstein: {warning: 1001}}", f"drift.wasserstein.warning: '1001', expected {LIMIT}"),
    ("drift: {kl: {warning: 0}}", f"drift.kl.warning: '0', expected {LIMIT}"),
    ("drift: {mean_std_drift: {warning: high}}", f"drift.mean_std_drift.warning: 'high', expected {LIMIT}"),
    ("drift: {ks: {warning: 0.3, critical: 0.2}}", "drift.ks.critical: '0.2', expected at least the warning threshold 0.3"),
    (
        "drift: {waserstein: {warning: 0.1}}",
        "drift.waserstein: unknown key, expected one of minimum_sample, psi, js_distance, js_divergence, "
        "ks, chi2, wasserstein, hellinger, total_variation, kl, mean_std_drift, false_alarms_per_day, against; did you mean wasserstein?",
    ),
    ("drift: {wasserstein: {warning: auto}}", f"drift.wasserstein.warning: 'auto', expected {NOT_AUTO}"),
    ("drift: {js_distance: {warning: auto}}", f"drift.js_distance.warning: 'auto', expected {NOT_AUTO}"),
    ("drift: {hellinger: {warning: auto}}", f"drift.hellinger.warning: 'auto', expected {NOT_AUTO}"),
    ("drift: {psi: {critical: auto}}", f"drift.psi.critical: 'auto', expected {NOT_AUTO}"),
    ("performance: {f1: {warning: auto}}", f"performance.f1.warning: 'auto', expected {SHARE}"),
    ("drift: {psi: {warning: auto, floor: 0}}", "drift.psi.floor: '0', expected a number over 0 and up to 1000"),
    ("drift: {ks: {warning: auto, floor: off}}", "drift.ks.floor: 'off', expected a number over 0 and up to 1"),
    ("drift: {psi: {warning: auto, floor: 0.3}}", "drift.psi.floor: '0.3', expected at most the critical threshold 0.2"),
    ("drift: {ks: {warning: auto, critical: 0.05}}", "drift.ks.critical: '0.05', expected at least the floor 0.08"),
    (
        "drift: {kl: {floor: 0.1}}",
        "drift.kl.floor: unknown key, expected one of warning, critical",
    ),
    ("drift: {false_alarms_per_day: 0}", "drift.false_alarms_per_day: '0', expected a number over 0 and up to 1000"),
    ("drift: {false_alarms_per_day: often}", "drift.false_alarms_per_day: 'often', expected a number over 0 and up to 1000"),
    ("drift: {against: last_window}", f"drift.against: 'last_window', expected {AGAINST}"),
    ("drift: {against: 0s}", f"drift.against: '0s', expected {AGAINST}"),
    ("drift: {against: {rolling: 7d}}", f"drift.against: a mapping, expected {AGAINST}"),
    (
        "drift: {against: 9m}",
        "models.fraud.drift.against: nothing, expected at least the longest window, 10m, not 9m, which it inherits",
    ),
    ("drift: {psi: 0.1}", "drift.psi: '0.1', expected a mapping"),
    ("drift: {psi: {warning: 0.3, critical: 0.2}}", "drift.psi.critical: '0.2', expected at least the warning threshold 0.3"),
    ("drift: {psi: {warning: 0.3}}", "drift.psi.warning: '0.3', expected at most the critical threshold 0.2, which it inherits"),
    ("drift: {psi: {critical: 0.05}}", "drift.psi.critical: '0.05', expected at least the warning threshold 0.1, which it inherits"),
    ("performance: {f1: {warning: 90}}", f"performance.f1.warning: '90', expected {SHARE}"),
    (
        "performance: {f1: {warning: 0.8, critical: 0.9}}",
        "performance.f1.critical: '0.9', expected at most the warning threshold 0.8",
    ),
    ("worker: {web_host: a b}", "worker.web_host: 'a b', expected a host name or an IP address"),
    ("worker: {web_port: 0}", "worker.web_port: '0', expected a whole number from 1 to 65535"),
    ("worker: {web_port: true}", "worker.web_port: 'true', expected a whole number from 1 to 65535"),
    ("worker: {batch_size: 0}", "worker.batch_size: '0', expected a whole number from 1 to 1000000"),
    ("worker: {checkpoint_every: 2m}", f"worker.checkpoint_every: '2m', expected a duration from 10ms to 1m {DURATION}"),
    (
        "wroker: {}",
        "wroker: unknown key, expected one of kafka, redis, time, events, labels, by_prediction_time, windows, drift, quality, "
        "summary, performance, sequential, degradation, business, traffic, models, worker; "
        "did you mean worker?",
    ),
    (
        "by_prediction_time: {windows: [{size: 1m}]}",
        "by_prediction_time.windows: a list, expected at most 10000 panes of 1m within labels.max_delay, 7d; take longer windows",
    ),
    ("by_prediction_time: {minimum_coverage: 2}", "by_prediction_time.minimum_coverage: '2', expected a number over 0 and up to 1"),
    ("by_prediction_time: {revise_every: 10}", f"by_prediction_time.revise_every: '10', expected a duration from 1s to 3650d {DURATION}"),
    ("degradation: {accuracy: {drop: {warning: 5}}}", f"degradation.accuracy.drop.warning: '5', expected {SHARE}"),
    ("degradation: {accuracy: {drop: {warning: auto}}}", f"degradation.accuracy.drop.warning: 'auto', expected {SHARE}"),
    (
        "degradation: {recall: {relative: {warning: 0.2, critical: 0.1}}}",
        "degradation.recall.relative.critical: '0.1', expected at least the warning threshold 0.2",
    ),
    (
        "degradation: {f1: {}}",
        "degradation.f1: unknown key, expected one of accuracy, precision, recall, specificity, mae, rmse, mape, smape, against",
    ),
    ("degradation: {mae: {drop: {warning: 0.1}}}", "degradation.mae.drop: unknown key, expected one of relative"),
    (
        "degradation: {against: previous_window}",
        f"degradation.against: 'previous_window', expected {AGAINST.removesuffix(', or previous_window')}",
    ),
    (
        "degradation: {against: 9m}",
        "models.fraud.degradation.against: nothing, expected at least the longest window, 10m, not 9m, which it inherits",
    ),
    ("quality: {missing_ratio: {warning: 2}}", f"quality.missing_ratio.warning: '2', expected {SHARE}"),
    (
        "quality: {missing_ratio: {warning: 0.3}}",
        "quality.missing_ratio.warning: '0.3', expected at most the critical threshold 0.2, which it inherits",
    ),
    (
        "quality: {quality_score: {warning: 0.5, critical: 0.9}}",
        "quality.quality_score.critical: '0.9', expected at most the warning threshold 0.5",
    ),
    ("quality: {freshness: soon}", f"quality.freshness: 'soon', expected a duration from 1s to 3650d {DURATION}, or off"),
    ("quality: {freshness: 500ms}", f"quality.freshness: '500ms', expected a duration from 1s to 3650d {DURATION}, or off"),
    ("quality: {volume_min: {warning: -1}}", "quality.volume_min.warning: '-1', expected a number over 0 and up to 1e+12, or off"),
    ("summary: {drifted_ratio: {warning: 1.5}}", f"summary.drifted_ratio.warning: '1.5', expected {SHARE}"),
    ("time: {zzz: 1}", "time.zzz: unknown key, expected one of out_of_orderness, allowed_lateness, idle_after, when_idle, max_future_skew"),
]

CLASSES = "classes: [x, y]"
BAD_MODELS = [
    ("models: {}", "models: a mapping, expected at least one model"),
    ("models: [fraud]", "models: a list, expected a mapping"),
    ("models: {'a|b': {classes: [x, y]}}", f"models.a|b: 'a|b', expected {NAME}"),
    ('models: {"a\\nb": {classes: [x, y]}}', f"models.'a\\nb': 'a\\nb', expected {NAME}"),
    ("models: {fraud: }", f"models.fraud.classes: nothing, expected {NO_DEFAULT}"),
    ("models: {fraud: {classes: x}}", "models.fraud.classes: 'x', expected a list"),
    (f"models: {{fraud: {{classes: [{', '.join(f'c{i}' for i in range(201))}]}}}}", "models.fraud.classes: a list, expected at most 200"),
    (
        f"models: {{fraud: {{classes: [x, y], segments: [{', '.join(f's{i}' for i in range(21))}]}}}}",
        "models.fraud.segments: a list, expected at most 20",
    ),
    ("models: {fraud: {classes: [x]}}", "models.fraud.classes: a list, expected at least two classes"),
    ("models: {fraud: {classes: [x, y, x]}}", "models.fraud.classes.2: 'x', expected each name once"),
    ("models: {fraud: {classes: [1, true]}}", "models.fraud.classes: a list, expected not both of 1 and true: they count as one class"),
    ("models: {fraud: {classes: [x, (other)]}}", f"models.fraud.classes.1: '(other)', expected {TEXT}, other than (other)"),
    ("models: {fraud: {classes: [x, ]}}", "models.fraud.classes: a list, expected at least two classes"),
    ("models: {fraud: {classes: [x, null]}}", f"models.fraud.classes.1: nothing, expected {TEXT}, other than (other)"),
    (f"models: {{fraud: {{{CLASSES}, positive: z}}}}", "models.fraud.positive: 'z', expected one of the classes, x, y"),
    (f"models: {{fraud: {{{CLASSES}, task: cluster}}}}", "models.fraud.task: 'cluster', expected 'classification' or 'regression'"),
    (f"models: {{fraud: {{{CLASSES}, task: regression}}}}", "models.fraud.classes: a list, expected none: a regression has no classes"),
    (
        "models: {fraud: {task: regression, positive: x}}",
        "models.fraud.positive: 'x', expected none: a regression has no positive class",
    ),
    (
        "models: {fraud: {task: regression, performance: {accuracy: {warning: 0.5}}}}",
        "models.fraud.performance.accuracy: a mapping, expected a metric of a regression",
    ),
    (
        "models: {fraud: {task: regression, performance: {estimated: true}}}",
        "models.fraud.performance.estimated: 'true', expected a metric of a regression",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, performance: {{rmse: {{warning: 10}}}}}}}}",
        "models.fraud.performance.rmse: a mapping, expected a metric of a classification",
    ),
    (
        "models: {fraud: {task: regression, performance: {rmse: {warning: 10, critical: 5}}}}",
        "models.fraud.performance.rmse.critical: '5', expected at least the warning threshold 10",
    ),
    (
        "models: {fraud: {task: regression, sequential: {errors: [adwin, ddm]}}}",
        "models.fraud.sequential.errors.1: 'ddm', expected one of adwin, page_hinkley, kswin: errors of a regression are numbers",
    ),
    (
        "models: {fraud: {task: regression, degradation: {accuracy: {drop: {warning: 0.1}}}}}",
        "models.fraud.degradation.accuracy: a mapping, expected none: it is of the ratios of a classification",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, degradation: {{mae: {{relative: {{warning: 0.1}}}}}}}}}}",
        "models.fraud.degradation.mae: a mapping, expected none: it is of the errors of a regression",
    ),
    (f"models: {{fraud: {{{CLASSES}, labels: maybe}}}}", "models.fraud.labels: 'maybe', expected true or false"),
    (f"models: {{fraud: {{{CLASSES}, reference: [a]}}}}", "models.fraud.reference: a list, expected the path of a file"),
    (f'models: {{fraud: {{{CLASSES}, reference: "a\\0"}}}}', "models.fraud.reference: 'a\\x00', expected the path of a file"),
    (f"models: {{fraud: {{{CLASSES}, segments: [a, a]}}}}", "models.fraud.segments.1: 'a', expected each name once"),
    (
        f"models: {{fraud: {{{CLASSES}, quality: {{features: {{x: {{late_ratio: {{}}}}}}}}}}}}",
        "models.fraud.quality.features.x.late_ratio: unknown key, expected one of minimum_sample, missing_ratio, type_violation_ratio, "
        "unseen_ratio, out_of_range_ratio, outlier_ratio, score; did you mean outlier_ratio?",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, quality: {{features: {{x: {{missing_ratio: {{critical: 0.01}}}}}}}}}}}}",
        "models.fraud.quality.features.x.missing_ratio.critical: '0.01', expected at least the warning threshold 0.05, which it inherits",
    ),
    (
        f"summary: {{drifted_ratio: {{warning: 0.5}}}}\nmodels: {{fraud: {{{CLASSES}, summary: {{drifted_ratio: {{critical: 0.4}}}}}}}}",
        "models.fraud.summary.drifted_ratio.critical: '0.4', expected at least the warning threshold 0.5, which it inherits",
    ),
    (f"models: {{fraud: {{{CLASSES}, segments: [[a, b], [b, a]]}}}}", "models.fraud.segments.1: a list, expected each name once"),
    *(
        (
            f"models: {{fraud: {{{CLASSES}, segments: [c, {cross}]}}}}",
            f"models.fraud.segments.1: {shown}, expected a key, or a list of {CROSS}",
        )
        for cross, shown in [
            ("[]", "a list"),
            ("[a, a]", "a list"),
            ("[a, 'b,c']", "a list"),
            ("[a, 'b|c']", "a list"),
            ("[a, [b]]", "a list"),
        ]
    ),
    (f"models: {{fraud: {{{CLASSES}, segments: [{{a: b}}]}}}}", f"models.fraud.segments.0: a mapping, expected {NAME}"),
    (f"models: {{fraud: {{{CLASSES}, segments: ['a|b']}}}}", f"models.fraud.segments.0: 'a|b', expected {NAME}"),
    (
        f"models: {{fraud: {{{CLASSES}, segment_values_max: 0}}}}",
        "models.fraud.segment_values_max: '0', expected a whole number from 1 to 10000",
    ),
    (f"models: {{fraud: {{{CLASSES}, versions_max: 1001}}}}", "models.fraud.versions_max: '1001', expected a whole number from 1 to 1000"),
    (
        f"models: {{fraud: {{{CLASSES}, windows: [{{size: 5m}}, {{size: 5m, slide: 7m}}]}}}}",
        "models.fraud.windows.1.slide: '7m', expected at most the size, 5m: between the windows events would count nowhere",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, drift: {{psi: {{warning: 0.3}}}}}}}}",
        "models.fraud.drift.psi.warning: '0.3', expected at most the critical threshold 0.2, which it inherits",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, drift: {{features: {{amount: {{psi: {{critical: 0.05}}}}}}}}}}}}",
        "models.fraud.drift.features.amount.psi.critical: '0.05', expected at least the warning threshold 0.1, which it inherits",
    ),
    (
        f"drift: {{psi: {{warning: auto}}}}\nmodels: {{fraud: {{{CLASSES}, drift: {{psi: {{critical: 0.03}}}}}}}}",
        "models.fraud.drift.psi.critical: '0.03', expected at least the floor 0.04",
    ),
    (
        f"drift: {{ks: {{critical: 0.05}}}}\nmodels: {{fraud: {{{CLASSES}, drift: {{features: {{a: {{ks: {{warning: auto}}}}}}}}}}}}",
        "models.fraud.drift.features.a.ks.warning: 'auto', expected no auto here, or another floor: "
        "the floor 0.08 is above the critical threshold 0.05",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, drift: {{features: {{a: {{wasserstein: {{warning: auto}}}}}}}}}}}}",
        f"models.fraud.drift.features.a.wasserstein.warning: 'auto', expected {NOT_AUTO}",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, drift: {{features: {{a: {{false_alarms_per_day: 1}}}}}}}}}}",
        "models.fraud.drift.features.a.false_alarms_per_day: unknown key, expected one of minimum_sample, psi, js_distance, js_divergence, "
        "ks, chi2, wasserstein, hellinger, total_variation, kl, mean_std_drift",
    ),
    (
        f"performance: {{f1: {{warning: 0.5}}}}\nmodels: {{fraud: {{{CLASSES}, performance: {{f1: {{critical: 0.6}}}}}}}}",
        "models.fraud.performance.f1.critical: '0.6', expected at most the warning threshold 0.5, which it inherits",
    ),
    (
        "degradation: {accuracy: {drop: {warning: 0.2}}}\n"
        f"models: {{fraud: {{{CLASSES}, degradation: {{accuracy: {{drop: {{critical: 0.1}}}}}}}}}}",
        "models.fraud.degradation.accuracy.drop.critical: '0.1', expected at least the warning threshold 0.2, which it inherits",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, drift: {{features: {{amount: {{features: {{}}}}}}}}}}}}",
        "models.fraud.drift.features.amount.features: unknown key, expected one of minimum_sample, psi, js_distance, js_divergence, "
        "ks, chi2, wasserstein, hellinger, total_variation, kl, mean_std_drift",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, windows: [{{size: 1h, slide: 1m}}], drift: {{against: 59m}}}}}}",
        "models.fraud.drift.against: '59m', expected at least the longest window, 1h",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, windows: [{{sise: 5m}}]}}}}",
        "models.fraud.windows.0.sise: unknown key, expected one of name, size, slide; did you mean size?",
    ),
]


@pytest.mark.parametrize(("text", "problem"), BAD, ids=[problem.split(",")[0] for _, problem in BAD])
def test_broken_rule_is_reported_with_key_path_value_and_rule(problems: Problems, text: str, problem: str) -> None:
    assert problem in problems(f"{text}\n{ONE_MODEL}")


@pytest.mark.parametrize(("text", "problem"), BAD_MODELS, ids=[problem.split(",")[0] for _, problem in BAD_MODELS])
def test_broken_rule_of_a_model_is_reported_with_key_path_value_and_rule(problems: Problems, text: str, problem: str) -> None:
    assert problem in problems(text)


def test_model_is_required(problems: Problems) -> None:
    assert problems("kafka: {}") == [f"models: nothing, expected {NO_DEFAULT}"]
    assert problems("") == [f"models: nothing, expected {NO_DEFAULT}"]
    assert problems("[a]") == ["(top level): a list, expected a mapping"]


def test_all_problems_are_reported_at_once(problems: Problems) -> None:
    found = problems(
        """
        kafka: {brokers: kafka, brokers: kafka, options: {acks: 0, sasl.password: [x]}}
        tiem: {}
        time: {idle_after: "${UNSET}", when_idle: never}
        drift: {psi: {warning: high}}
        models:
          a: {classes: [x], positive: "${UNSET}", windows: [{size: 1m}, {size: 1m}, {size: 8d}]}
          b: {classes: [x, y], positive: z, drift: {psi: {warning: 0.3, critical: 0.2}}}
        """
    )
    assert [problem.split(": ")[0] for problem in found] == [
        "kafka.brokers",
        "time.idle_after",
        "models.a.positive",
        "kafka.brokers",
        "kafka.options.acks",
        "kafka.options.sasl.password",
        "time.when_idle",
        "drift.psi.warning",
        "models.a.classes",
        "models.a.windows.1.name",
        "models.a.windows.2.size",
        "models.b.positive",
        "models.b.drift.psi.critical",
        "tiem",
    ]


def test_long_value_is_cut_in_the_message(problems: Problems) -> None:
    (problem,) = problems(f"kafka: {{brokers: {'a' * 10_000}}}\n" + ONE_MODEL)
    assert problem == f"kafka.brokers: '{'a' * 79}…', expected {BROKERS}"


# The examples


def test_examples_are_found() -> None:
    assert {"driftstream.yaml", "electricity.yaml"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads_without_any_variable(name: str) -> None:
    assert settings_summary(load_settings(CONFIG / name, {}))


def test_commented_example_shows_every_key_with_its_default(load: Load) -> None:
    path = CONFIG / "driftstream.yaml"
    example = load_settings(path, {})
    default = load("models: {fraud: {classes: ['0', '1'], windows: [{size: 1m}]}}")
    rules = ("drift", "quality", "summary", "performance", "business", "traffic")  # written out in full; their effect is compared below
    for section in set(Settings.model_fields) - {"models", *rules}:
        assert getattr(example, section) == getattr(default, section), section
    fraud = example.model("fraud")
    assert fraud.drift == default.model("fraud").drift
    plain = default.model("fraud")
    assert (fraud.quality, fraud.features_quality, fraud.summary) == (plain.quality, plain.features_quality, plain.summary)
    assert fraud.traffic == plain.traffic
    assert fraud.business is plain.business is None
    assert fraud.freshness_ms is plain.freshness_ms is None
    assert fraud.performance.minimum_sample == default.model("fraud").performance.minimum_sample
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, field in Settings.model_fields.items():
        if section not in ("models", "windows"):
            assert set(tree[section]) == set(field.default.key_names()), section
    assert set(tree["models"]["fraud"]) == set(type(example.models["fraud"]).key_names()) - {"windows"}


def test_electricity_example_fits_its_data() -> None:
    settings = load_settings(CONFIG / "electricity.yaml", {"DRIFTSTREAM_REFERENCES": "/data"})
    model = settings.model("nsw-price")
    day = 86_400_000
    assert model.windows == (WindowSpec("day", day, day), WindowSpec("week", 7 * day, day))
    assert (model.pane_ms, model.classes, model.positive) == (day, ("DOWN", "UP"), "UP")
    assert model.reference == Path("/data/nsw-price.json")
    assert (settings.time.out_of_orderness_ms, settings.labels.max_delay_ms) == (7_200_000, 7 * day)


def test_summary_names_models_windows_panes_and_topics(load: Load) -> None:
    summary = settings_summary(load(MINIMAL, REDIS_PASSWORD="hunter2"))
    for part in ("kafka-1:9092", "redis://redis:6379/0", "driftstream.alerts", "fraud", "positive 1", "1h/5m (sliding)", "panes of 5m"):
        assert part in summary


def test_a_model_says_what_its_windows_are_compared_with_or_inherits_it(load: Load) -> None:
    settings = load(
        """
        drift: {against: previous_window}
        models:
          a: {classes: [x, y]}
          b: {classes: [x, y], drift: {against: reference}}
          c: {classes: [x, y], drift: {against: 10m}}
        """
    )
    assert [settings.model(name).against for name in "abc"] == ["previous_window", "reference", 600_000]
    assert load(MINIMAL, REDIS_PASSWORD="hunter2").model("fraud").against == "reference"


def test_versions_may_have_references_of_their_own_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    settings = load('models: {fraud: {classes: [x, y], references: {"7": ref/7.json, "8": /data/8.json}}}')
    assert settings.model("fraud").references == {"7": tmp_path / "ref/7.json", "8": Path("/data/8.json")}
    assert f"of version 7 {tmp_path / 'ref/7.json'}" in settings_summary(settings)
