"""How sure a share is, given how many rows it is of."""

import math

from scipy.special import ndtri


def wilson(hits: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the share hits / n, both ends in [0, 1]: right for few rows and for shares near 0 and 1.

    Raises:
        ValueError: n is not positive, or hits are not within [0, n].
    References:
        E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, J. Am. Stat. Assoc. 22(158), 1927, 209-212.

    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if n <= 0 or not 0 <= hits <= n:
        raise ValueError(f"cannot bound a share: hits={hits!r} of n={n!r}, expected n > 0 and hits within [0, n]")
    z = float(ndtri((1 + confidence) / 2))
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)
