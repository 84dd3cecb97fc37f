"""Which sequential detectors follow the errors and the scores of a model, and their parameters: of the tree, and of each model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from detectors.sequential import OF_NUMBERS, Detector, Parameters
from stream.settings_values import Section, number, whole


class AdwinSection(Section):
    delta: Annotated[float, number(1)] = 0.002


class PageHinkleySection(Section):
    threshold: Annotated[float, number(1e9)] = 50.0
    delta: Annotated[float, number(1)] = 0.005


class KswinSection(Section):
    alpha: Annotated[float, number(1)] = 0.0001


class DdmSection(Section):
    drift_threshold: Annotated[float, number(1000)] = 3.0


class EddmSection(Section):
    beta: Annotated[float, number(0.95)] = 0.9  # river's alpha, of its warnings, is 0.95, and must not be less


class HddmSection(Section):
    drift_confidence: Annotated[float, number(1)] = 0.001


@dataclass(frozen=True, slots=True)
class Sequential:
    """The effective values of one model: the detectors on each stream with their parameters; none are off."""

    errors: Mapping[Detector, Parameters]
    scores: Mapping[Detector, Parameters]
    batch: int
    resolve_after: int

    def of_numbers(self) -> "Sequential":
        """Without the detectors that errors must be zeros and ones for."""
        return replace(self, errors={name: given for name, given in self.errors.items() if name in OF_NUMBERS})


class SequentialSection(Section):
    errors: tuple[Detector, ...] = ()
    scores: tuple[Literal["adwin", "page_hinkley", "kswin"], ...] = ()
    batch: Annotated[int, whole(1, 1_000)] = 32
    resolve_after: Annotated[int, whole(1, 10**9)] = 10_000
    adwin: AdwinSection = AdwinSection()
    page_hinkley: PageHinkleySection = PageHinkleySection()
    kswin: KswinSection = KswinSection()
    ddm: DdmSection = DdmSection()
    eddm: EddmSection = EddmSection()
    hddm_a: HddmSection = HddmSection()
    hddm_w: HddmSection = HddmSection()

    def under(self, inherited: "SequentialSection") -> Sequential:
        """The effective values where this section stands below an inherited one: what it does not give is the other's."""
        both = inherited.model_dump() | self.model_dump(exclude_unset=True)
        given: dict[Detector, Parameters] = {}
        for name in (*both["errors"], *both["scores"]):
            given[name] = getattr(inherited, name).model_dump() | getattr(self, name).model_dump(exclude_unset=True)
        errors, scores = ({name: given[name] for name in both[stream]} for stream in ("errors", "scores"))
        return Sequential(errors, scores, both["batch"], both["resolve_after"])
