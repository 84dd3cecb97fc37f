"""Thresholds on data quality, and on what the features of a model come to: what each level of the tree says about them.

Ratios of a feature are judged by how far they are above the reference's own (`stream.quality`), so a threshold of 0.05 on missing values
means five percent more than in the reference.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stream.settings_thresholds import Bound, Direction, DistanceLimits, DriftLimits, Limits, PerformanceLimits, ScoredSection
from stream.settings_values import Text, duration_or, limit

_PER_MINUTE_MAX = 1e12


class VolumeMinLimits(Limits):
    """Predictions a minute that are too few."""

    direction: ClassVar[Direction] = "below"
    warning: Annotated[Bound, limit(_PER_MINUTE_MAX)] = None
    critical: Annotated[Bound, limit(_PER_MINUTE_MAX)] = None


class VolumeMaxLimits(VolumeMinLimits):
    """Predictions a minute that are too many."""

    direction: ClassVar[Direction] = "above"


class ChangeLimits(Limits):
    """Shares of what was before."""

    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit(1_000)] = None
    critical: Annotated[Bound, limit(1_000)] = None


class FeatureQualitySection(ScoredSection):
    missing_ratio: DistanceLimits = DistanceLimits()
    type_violation_ratio: DistanceLimits = DistanceLimits()
    unseen_ratio: DistanceLimits = DistanceLimits()
    out_of_range_ratio: DistanceLimits = DistanceLimits()
    outlier_ratio: DistanceLimits = DistanceLimits()
    score: PerformanceLimits = PerformanceLimits()


class OverallQualitySection(ScoredSection):
    quality_score: PerformanceLimits = PerformanceLimits()
    duplicate_ratio: DistanceLimits = DistanceLimits()
    late_ratio: DistanceLimits = DistanceLimits()
    volume_min: VolumeMinLimits = VolumeMinLimits()
    volume_max: VolumeMaxLimits = VolumeMaxLimits()
    volume_change: ChangeLimits = ChangeLimits()


class QualitySection(FeatureQualitySection, OverallQualitySection):
    freshness_ms: Annotated[int | Literal["off"] | None, duration_or("off", low="1s")] = Field(default=None, alias="freshness")


class ModelQualitySection(QualitySection):
    features: Mapping[Text, FeatureQualitySection] = {}


class SummarySection(ScoredSection):
    drifted_ratio: DistanceLimits = DistanceLimits()
    weighted_drift: DriftLimits = DriftLimits()


BUILT_IN_FEATURE_QUALITY = FeatureQualitySection(
    minimum_sample=200,
    missing_ratio=DistanceLimits(warning=0.05, critical=0.2),
    type_violation_ratio=DistanceLimits(warning=0.01, critical=0.05),
    unseen_ratio=DistanceLimits(),
    out_of_range_ratio=DistanceLimits(),
    outlier_ratio=DistanceLimits(),
    score=PerformanceLimits(),
)
BUILT_IN_OVERALL_QUALITY = OverallQualitySection(
    minimum_sample=200,
    quality_score=PerformanceLimits(),
    duplicate_ratio=DistanceLimits(),
    late_ratio=DistanceLimits(),
    volume_min=VolumeMinLimits(),
    volume_max=VolumeMaxLimits(),
    volume_change=ChangeLimits(),
)
BUILT_IN_SUMMARY = SummarySection(minimum_sample=200, drifted_ratio=DistanceLimits(), weighted_drift=DriftLimits())
