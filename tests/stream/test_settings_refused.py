"""What the configuration refuses, and how it says so. Expected messages are written by hand, whole lines."""

from collections.abc import Callable

import pytest

ONE_MODEL = 'models: {fraud: {classes: ["0", "1"]}}\n'
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

Problems = Callable[..., list[str]]

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
        "ks, chi2, wasserstein, hellinger, total_variation, kl, mean_std_drift, numeric, categorical, "
        "false_alarms_per_day, against; did you mean wasserstein?",
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
    (
        "drift: {numeric: {psi: {warning: 0.3}}}",
        "drift.numeric.psi.warning: '0.3', expected at most the critical threshold 0.2, which it inherits",
    ),
    (
        "drift: {categorical: {ks: {warning: 0.3}}}",
        "drift.categorical.ks: a mapping, expected none: it does not score categorical features",
    ),
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
        "degradation: {mcc: {}}",
        "degradation.mcc: unknown key, expected one of accuracy, precision, recall, f1, specificity, mae, rmse, mape, smape, against",
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
    (
        "degradation: {against: 10m}\nby_prediction_time: {windows: [{size: 1h}]}",
        "models.fraud.degradation.against: nothing, expected at least the longest window, 1h, not 10m, which it inherits",
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
    (
        f"models: {{fraud: {{{CLASSES}, degradation: {{recall: {{drop: {{warning: 0.1}}}}}}}}}}",
        "models.fraud.degradation.recall: a mapping, expected none: it is of a positive class, and there is none",
    ),
    (
        f"models: {{fraud: {{{CLASSES}, performance: {{lift: {{warning: 2}}}}}}}}",
        "models.fraud.performance.lift: a mapping, expected none: it is of a positive class, and there is none",
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
        f"drift: {{numeric: {{psi: {{warning: 0.15}}}}}}\nmodels: {{fraud: {{{CLASSES}, drift: {{psi: {{critical: 0.12}}}}}}}}",
        "models.fraud.drift.psi.critical: '0.12', expected at least the warning threshold 0.15, which it inherits",
    ),
    (
        f"drift: {{numeric: {{psi: {{warning: 0.15}}}}}}\n"
        f"models: {{fraud: {{{CLASSES}, drift: {{features: {{amount: {{psi: {{critical: 0.12}}}}}}}}}}}}",
        "models.fraud.drift.features.amount.psi.critical: '0.12', expected at least the warning threshold 0.15, which it inherits",
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
        f"models: {{fraud: {{{CLASSES}, by_prediction_time: {{windows: [{{size: 1h}}]}}, degradation: {{against: 59m}}}}}}",
        "models.fraud.degradation.against: '59m', expected at least the longest window, 1h",
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
