"""Images that show one item again: exposures of one part, or frames of one scene, among images said to stand alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Fewest images among which near copies are looked for, and most: all pairs are compared.
FEWEST, MOST = 20, 2000
#: How near two images lie, of the distance within which each has a tenth of all images, at least ten: within that, the
#: mean distance of two groups that are joined. Chosen on magnet tiles, whose groups are known: results/near_copies.md.
_SHARE, _LEAST, _NEAR = 0.1, 10, 0.7


def near_copies(vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """The number (n,) of the group that each of n images falls into, most of them into one of their own.

    Average linkage of standardised vectors, in units of how far apart their neighbours are: what lies close together
    where all do, as parts in one mould, is no copy.

    Args:
        vectors: (n, d) that describe each image as a whole, such as the mean of a backbone's features over all places.

    >>> rng = np.random.default_rng(0)
    >>> items = rng.normal(size=(30, 64))
    >>> groups = near_copies(np.concatenate([items, items[:5] + 0.05 * rng.normal(size=(5, 64))]))
    >>> bool((groups[30:] == groups[:5]).all()), len(set(groups.tolist()))
    (True, 30)
    """
    n = len(vectors)
    deviation = vectors.std(axis=0)
    varying = deviation > 1e-6
    if not FEWEST <= n <= MOST or not varying.any():
        return np.arange(n)
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import pairwise_distances

    standardised = (vectors[:, varying] - vectors[:, varying].mean(axis=0)) / deviation[varying]
    distances = pairwise_distances(standardised.astype(np.float64))
    reach = np.partition(distances, max(_LEAST, round(_SHARE * n)), axis=1)[:, max(_LEAST, round(_SHARE * n))]
    if not reach.min() > 0:  # most images are equal
        return np.arange(n)
    linkage = AgglomerativeClustering(None, metric="precomputed", linkage="average", distance_threshold=_NEAR)
    groups: NDArray[np.int64] = linkage.fit_predict(distances / np.sqrt(reach[:, None] * reach))
    return groups
