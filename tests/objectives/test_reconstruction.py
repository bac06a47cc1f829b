"""Errors of reconstructions against NumPy and scikit-image."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
import torch
from skimage.metrics import structural_similarity

from amiss.export.onnx_graph import export_onnx
from amiss.objectives.reconstruction import compound, squared_error, structural_dissimilarity


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 40, 33, generator=generator)
    return image, (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def test_squared_error_equals_numpy(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, reconstructed = pair
    expected = ((image.numpy() - reconstructed.numpy()) ** 2).mean(axis=1)
    np.testing.assert_allclose(squared_error(image, reconstructed).numpy(), expected, rtol=1e-6)
    assert squared_error(image, reconstructed.bfloat16()).dtype == torch.float32


def test_dissimilarity_equals_scikit_image(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Inside the border, which both treat in their own way."""
    image, reconstructed = pair
    found = structural_dissimilarity(image, reconstructed).numpy()
    for one, other, mine in zip(image.numpy(), reconstructed.numpy(), found, strict=True):
        _, similarity = structural_similarity(
            one,
            other,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            win_size=11,
            full=True,
        )
        expected = 1 - similarity.mean(axis=0)
        np.testing.assert_allclose(mine[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-4)


def test_compound_is_the_weighted_sum(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """RAVI eq. 3.10."""
    image, reconstructed = pair
    expected = 0.3 * squared_error(image, reconstructed) + 0.7 * structural_dissimilarity(image, reconstructed)
    torch.testing.assert_close(compound(image, reconstructed, 0.3), expected)
    torch.testing.assert_close(compound(image, image), torch.zeros(2, 40, 33), atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [6, 7, 9, 12])
def test_small_images_get_a_smaller_window(side: int) -> None:
    image = torch.rand(2, 1, side, side)
    found = structural_dissimilarity(image, image.flip(2))
    assert found.shape == (2, side, side)
    assert torch.isfinite(found).all()


def test_gradients_are_the_objectives_own() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 7, 7, generator=generator, dtype=torch.float64)
    reconstructed = torch.rand(1, 1, 7, 7, generator=generator, dtype=torch.float32).requires_grad_()
    structural_dissimilarity(image.float(), reconstructed).mean().backward()
    assert reconstructed.grad is not None
    step = 1e-2
    for row, column in ((0, 0), (3, 4)):
        values = []
        for sign in (1, -1):
            moved = reconstructed.detach().clone()
            moved[0, 0, row, column] += sign * step
            values.append(structural_dissimilarity(image.float(), moved).mean().item())
        slope = (values[0] - values[1]) / (2 * step)
        assert reconstructed.grad[0, 0, row, column].item() == pytest.approx(slope, abs=2e-3)


def test_exports_as_a_score() -> None:
    class Scorer(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score": compound(image, image.flip(3).square()).mean(dim=(1, 2))}

    session = onnxruntime.InferenceSession(io.BytesIO(export_onnx(Scorer(), (3, 20, 17))).getvalue())
    for count in (1, 3):
        image = torch.rand(count, 3, 20, 17)
        (found,) = session.run(["score"], {"image": image.numpy()})
        np.testing.assert_allclose(found, Scorer()(image)["score"].numpy(), atol=1e-5)
