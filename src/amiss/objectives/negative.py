"""Negative learning: labelled anomalies are to be reconstructed badly (Lee et al. 2021)."""

from __future__ import annotations

from torch import Tensor

from ..errors import UsageError
from .forms import NEGATIVES


def negative_term(form: str, errors: Tensor, weight: float = 10.0, unit: float = 1.0) -> Tensor:
    """The term to be minimised, so that the errors of labelled anomalies grow.

    Args:
        form: `plain`: minus the mean error (eq. 3); it has no lower bound but the network's own. `weighted`: the same,
            `weight` times, for few anomalies beside many normals (section 3: 10). `repeated`: as plain; its steps are
            repeated by the player. `bounded`: mean of exp(-error), in (0, 1] (eq. 4).
        errors: (m,) reconstruction errors of the anomalies, at least 0.
        weight: of the weighted form.
        unit: of the errors in the bounded form, whose term is unit * exp(-error / unit): the same slope at 0, and no
            more pull once an error is several units. 1 is the paper's.

    Returns: the term, a scalar.

    Raises:
        UsageError: another form.
    """
    if form == "bounded":
        return unit * (-errors / unit).exp().mean()
    if form not in NEGATIVES:
        raise UsageError(f"negative must be one of {', '.join(NEGATIVES)}, but is {form!r}")
    return -errors.mean() * (weight if form == "weighted" else 1.0)
