"""The configuration file: what it means, and that the examples say what they should."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from detectors.judge import Thresholds
from stream.settings import Settings, load_settings
from stream.settings_events import Source
from stream.settings_summary import settings_summary
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

Load = Callable[..., Settings]


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
    assert plain.drift_for("amount", "numeric").minimum_sample == 200
    assert plain.drift_for("amount", "numeric").thresholds == {
        "psi": Thresholds(0.1, 0.2, "above"),
        "js_distance": Thresholds(0.3, None, "above"),
        "js_divergence": Thresholds(None, None, "above"),
    }
    assert fraud.drift_for("anything", "numeric").thresholds["psi"] == Thresholds(0.1, 0.5, "above")
    assert fraud.drift_for("amount", "numeric").thresholds["psi"] == Thresholds(0.05, 0.5, "above")
    assert fraud.drift_for("amount", "numeric").thresholds["js_distance"] == Thresholds(0.3, None, "above")
    assert fraud.drift_for("amount", "numeric").minimum_sample == 500
    assert fraud.drift_for("noise", "numeric").thresholds["psi"] == Thresholds(None, None, "above")
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


def test_features_of_a_kind_may_have_thresholds_of_their_own(load: Load) -> None:
    settings = load(
        """
        drift: {numeric: {psi: {warning: 0.15}, ks: {warning: 0.1}}, categorical: {chi2: {}, minimum_sample: 50}}
        models:
          fraud:
            classes: [x, y]
            drift:
              psi: {critical: 0.5}
              categorical: {psi: {warning: 0.3}}
              features: {country: {psi: {critical: 0.9}}}
          plain: {classes: [x, y]}
        """
    )
    fraud, plain = settings.model("fraud"), settings.model("plain")
    assert plain.drift.thresholds["psi"] == Thresholds(0.1, 0.2, "above")  # of the outputs
    assert plain.drift_for("amount", "numeric").thresholds["psi"] == Thresholds(0.15, 0.2, "above")
    assert plain.drift_for("country", "categorical").thresholds["psi"] == Thresholds(0.1, 0.2, "above")
    assert fraud.drift_for("amount", "numeric").thresholds["psi"] == Thresholds(0.15, 0.5, "above")
    assert fraud.drift_for("city", "categorical").thresholds["psi"] == Thresholds(0.3, 0.5, "above")
    assert fraud.drift_for("country", "categorical").thresholds["psi"] == Thresholds(0.3, 0.9, "above")
    assert [plain.drift_for("a", kind).minimum_sample for kind in ("numeric", "categorical")] == [200, 50]
    assert ["ks" in plain.drift_for("a", kind).thresholds for kind in ("numeric", "categorical")] == [True, False]
    assert ["chi2" in plain.drift_for("a", kind).thresholds for kind in ("numeric", "categorical")] == [False, True]


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
    assert list(fraud.drift_for("other", "numeric").thresholds) == [*always, "chi2", "hellinger"]
    assert fraud.drift_for("amount", "numeric").thresholds == plain.drift.thresholds | {
        "ks": Thresholds(0.1, 0.2, "above"),
        "chi2": Thresholds(None, None, "above"),
        "wasserstein": Thresholds(None, None, "above"),
        "hellinger": Thresholds(None, None, "above"),
    }
    assert fraud.drift_for("other", "numeric").thresholds["hellinger"] == Thresholds(0.2, None, "above")


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
    rules, alpha = fraud.drift_for("anything", "numeric").thresholds, 0.6 / 24
    assert rules["psi"] == Thresholds(0.04, 0.2, "above", alpha)
    assert rules["ks"] == Thresholds(0.08, 0.3, "above", alpha)
    assert rules["chi2"] == Thresholds(0.2, None, "above", alpha)
    assert fraud.drift_for("amount", "numeric").thresholds["psi"] == Thresholds(0.07, 0.2, "above", alpha)
    assert fraud.drift_for("amount", "numeric").thresholds["ks"] == Thresholds(0.1, 0.3, "above")
    assert fraud.drift_for("noise", "numeric").thresholds["psi"] == Thresholds(None, 0.2, "above")


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
    assert "by prediction time" not in summary
    cohorts = load("by_prediction_time: {windows: [{size: 1d}]}\nlabels: {max_delay: 30d}\nmodels: {m: {classes: [x, y]}}")
    assert "windows by prediction time 1d (tumbling), final after 30d" in settings_summary(cohorts)


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
