"""Negative terms against the paper's formulas (Lee et al. 2021, eqs. 3 and 4)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import UsageError
from amiss.objectives.negative import NEGATIVES, negative_term

ERRORS = [0.1, 0.4, 2.0]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("plain", -np.mean(ERRORS)),
        ("weighted", -7 * np.mean(ERRORS)),
        ("repeated", -np.mean(ERRORS)),
        ("bounded", np.mean([math.exp(-error) for error in ERRORS])),
    ],
)
def test_values(form: str, expected: float) -> None:
    assert negative_term(form, torch.tensor(ERRORS), 7.0).item() == pytest.approx(expected, rel=1e-6)


def test_the_unit_of_the_bounded_form_keeps_the_slope_and_lets_go_earlier() -> None:
    errors = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
    term = negative_term("bounded", errors, unit=0.1)
    assert term.item() == pytest.approx(0.1 * (1 + math.exp(-5)) / 2)
    term.backward()
    assert errors.grad is not None
    assert errors.grad.tolist() == pytest.approx([-0.5, -0.5 * math.exp(-5)])


@pytest.mark.parametrize("form", NEGATIVES)
def test_minimising_raises_every_error(form: str) -> None:
    errors = torch.tensor(ERRORS, dtype=torch.float64, requires_grad=True)
    negative_term(form, errors).backward()
    assert errors.grad is not None
    assert (errors.grad < 0).all()
    assert torch.autograd.gradcheck(lambda values: negative_term(form, values), errors)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_the_bounded_form_is_bounded(errors: list[float]) -> None:
    assert 0 <= negative_term("bounded", torch.tensor(errors, dtype=torch.float64)).item() <= 1


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(UsageError, match="gentle"):
        negative_term("gentle", torch.ones(2))
