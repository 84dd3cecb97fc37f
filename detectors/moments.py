"""What is kept of a number beside its bins, and the scale that differences of it are measured by. No scores here."""

import math
from dataclasses import dataclass
from typing import Final

RELATIVE_FLOOR: Final = 1e-6  # of the largest value: below it a standard deviation is that of a constant with noise


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, standard deviation (divisor n), least and greatest value of the finite values of one side."""

    mean: float
    std: float
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        """Raises ValueError unless all are finite, std >= 0 and minimum <= maximum: without values there are no moments."""
        finite = all(map(math.isfinite, (self.mean, self.std, self.minimum, self.maximum)))
        if not finite or self.std < 0 or self.minimum > self.maximum:
            raise ValueError(
                f"cannot use moments: {self!r}, expected finite numbers, std >= 0 and minimum <= maximum; were there any values?"
            )

    def floor(self) -> float:
        """The least difference that means anything: `RELATIVE_FLOOR` of the largest absolute value, or 1 if all values are 0.

        >>> Moments(mean=2.0, std=0.0, minimum=2.0, maximum=2.0).floor()
        2e-06
        """
        return RELATIVE_FLOOR * max(abs(self.minimum), abs(self.maximum)) or 1.0
