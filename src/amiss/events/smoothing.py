"""Frame scores made smooth: as the papers do, with the whole video at hand, and as a live system can."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: RAVI smooths over 15 frames; the papers do not say by which polynomial.
WINDOW, ORDER = 15, 3
#: Frames over which a live score is averaged.
CAUSAL_WINDOW = 9


def regularity(errors: ArrayLike) -> NDArray[np.float64]:
    """s(t) = 1 - (e(t) - min e) / (max e - min e) of one whole video (RAVI 4.1); 1 = perfectly normal.

    It needs the whole video, its anomalies included, so nothing live can use it. A video of equal errors gets ones.

    Args:
        errors: (n,) the error, or any anomaly score, of each frame.

    >>> regularity([1, 2, 3])
    array([1. , 0.5, 0. ])
    """
    values = np.asarray(errors, dtype=np.float64)
    low, high = values.min(), values.max()
    scaled: NDArray[np.float64] = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return 1 - scaled


def savitzky_golay(values: ArrayLike, window: int = WINDOW, order: int = ORDER) -> NDArray[np.float64]:
    """The values on a polynomial fitted to the window around each; at both ends, to the first and last window.

    Args:
        values: (n,). Fewer than `window` are fitted by one polynomial, of a lower order where they are very few.
        window: an odd number of values.
        order: of the polynomial, below `window`.

    >>> savitzky_golay([1.0, 2.0, 5.0, 10.0, 17.0], 5, 2).round(6).tolist()
    [1.0, 2.0, 5.0, 10.0, 17.0]
    """
    given = np.asarray(values, dtype=np.float64)
    width = min(window, len(given))
    if width < 2:
        return given.copy()
    positions = np.arange(width, dtype=np.float64) - (width - 1) / 2
    powers = np.vander(positions, min(order, width - 1) + 1)
    fit = powers @ np.linalg.pinv(powers)  # (width, width): row i gives the fitted value at position i
    half = width // 2
    middle = np.correlate(given, fit[half], mode="valid")
    before, after = fit[:half] @ given[:width], fit[half + 1 :] @ given[-width:]
    return np.concatenate([before, middle, after])


def causal_mean(values: ArrayLike, window: int = CAUSAL_WINDOW) -> NDArray[np.float64]:
    """Of each value the mean of it and those before it, `window` at most.

    >>> causal_mean([1, 2, 3, 4], 2).tolist()
    [1.0, 1.5, 2.5, 3.5]
    """
    given = np.asarray(values, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(given)])
    ends = np.arange(1, len(given) + 1)
    starts = np.maximum(0, ends - window)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means
