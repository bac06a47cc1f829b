"""Support vector data description against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amiss.networks.sphere import Sphere
from amiss.objectives.svdd import centre_of, one_class, radius_of, soft_boundary

POINTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CENTRE = torch.tensor([0.5, -0.5, 1.0], dtype=torch.float64)


def test_values() -> None:
    distances = ((POINTS.numpy() - CENTRE.numpy()) ** 2).sum(axis=1)
    assert one_class(POINTS, CENTRE).item() == pytest.approx(distances.mean())
    radius = 1.2
    expected = radius**2 + np.maximum(distances - radius**2, 0).mean() / 0.2
    assert soft_boundary(POINTS, CENTRE, torch.tensor(radius, dtype=torch.float64), 0.2).item() == pytest.approx(
        expected
    )
    assert radius_of(torch.tensor(distances), 0.1).item() == pytest.approx(np.quantile(np.sqrt(distances), 0.9))
    assert centre_of([POINTS[:7], POINTS[7:]], 0.0).numpy() == pytest.approx(POINTS.numpy().mean(axis=0), rel=1e-6)


def test_the_centre_is_never_zero() -> None:
    assert centre_of([torch.tensor([[1e-9, -1e-9, 0.0, 5.0]])], 0.1).tolist() == pytest.approx([0.1, -0.1, 0.1, 5.0])


@given(shift=st.floats(-10, 10))
def test_moving_everything_changes_nothing(shift: float) -> None:
    radius = torch.tensor(1.0, dtype=torch.float64)
    assert one_class(POINTS + shift, CENTRE + shift).item() == pytest.approx(one_class(POINTS, CENTRE).item())
    before = soft_boundary(POINTS, CENTRE, radius).item()
    assert soft_boundary(POINTS + shift, CENTRE + shift, radius).item() == pytest.approx(before)


def test_inside_the_sphere_only_the_radius_costs() -> None:
    assert soft_boundary(POINTS, CENTRE, torch.tensor(100.0, dtype=torch.float64)).item() == pytest.approx(1e4)


def test_gradients() -> None:
    points = POINTS[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: one_class(values, CENTRE), points)
    radius = torch.tensor(1.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: soft_boundary(values, CENTRE, radius), points)


def test_spread_tells_a_point_from_a_cloud() -> None:
    sphere = Sphere(3)
    sphere.fit_centre([POINTS.float() + 3], nu=0.1)
    assert sphere.spread(torch.full((5, 3), 2.0)) == 0
    assert sphere.spread(POINTS.float() + 3) > 0.1


def test_a_sphere_holds_all_but_its_share() -> None:
    sphere = Sphere(3)
    figures = sphere.fit_centre([POINTS.float()], nu=0.25)
    outside = sphere.squared_distances(POINTS.float()).sqrt() > figures["radius"]
    assert outside.float().mean().item() == pytest.approx(0.25, abs=0.03)
