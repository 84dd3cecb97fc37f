"""Sequential detectors in the configuration: inherited key by key, refused with file, key and rule."""

from collections.abc import Callable

from stream.settings import Settings

MODELS = "models: {a: {classes: ['0', '1']}, b: {classes: ['0', '1'], sequential: {errors: [], kswin: {alpha: 0.01}}}}\n"


def test_a_model_changes_what_it_gives_and_inherits_the_rest(load: Callable[..., Settings]) -> None:
    text = MODELS + "sequential: {errors: [adwin, ddm], scores: [kswin], batch: 64, adwin: {delta: 0.01}}\n"
    a, b = (load(text).model(name).sequential for name in "ab")
    assert a.errors == {"adwin": {"delta": 0.01}, "ddm": {"drift_threshold": 3.0}}
    assert a.scores == {"kswin": {"alpha": 0.0001}}
    assert b.errors == {}
    assert (b.scores, b.batch, b.resolve_after) == ({"kswin": {"alpha": 0.01}}, 64, 10_000)


def test_it_is_off_by_default(load: Callable[..., Settings]) -> None:
    model = load(MODELS).model("a").sequential
    assert (model.errors, model.scores) == ({}, {})


def test_mistakes_are_told_with_key_and_rule(problems: Callable[..., list[str]]) -> None:
    found = problems(MODELS + "sequential: {errors: [adwim], scores: [ddm], batch: 0, adwin: {delta: 2}, kswin: {beta: 1}}\n")
    assert sorted(line.split(":")[0] for line in found) == [
        "sequential.adwin.delta",
        "sequential.batch",
        "sequential.errors.0",
        "sequential.kswin.beta",
        "sequential.scores.0",
    ]
