"""Patches: every pixel is covered, and an image's score is that of its worst patches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amiss.data.patches import cut_patches, patch_starts
from amiss.errors import UsageError
from amiss.networks import patch_scorer
from amiss.networks.patch_scorer import Foreground, PatchScorer
from amiss.settings import Patches


class Brightness(nn.Module):
    """Scores a patch by its mean; its map is the patch."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": image.mean(dim=(1, 2, 3)), "map": image.mean(dim=1)}


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    size=st.integers(4, 8),
    stride=st.integers(1, 8),
    top=st.integers(1, 4),
)
def test_maps_fold_back_and_scores_are_the_highest(height: int, width: int, size: int, stride: int, top: int) -> None:
    stride = min(stride, size)
    images = torch.rand(2, 3, height, width)
    output = PatchScorer(Brightness(), (3, height, width), size, stride, top)(images)
    torch.testing.assert_close(output["map"], images.mean(dim=1))  # every patch says what is there: so does their mean
    for image, score in zip(images, output["score"], strict=True):
        means = [
            image[:, row : row + size, column : column + size].mean().item()
            for row in patch_starts(height, size, stride)
            for column in patch_starts(width, size, stride)
        ]
        assert score.item() == pytest.approx(np.mean(sorted(means)[-top:]), rel=1e-5)


def test_some_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(3, 3, 50, 41)
    whole = PatchScorer(Brightness(), (3, 50, 41), 12, 5, 3)(images)
    monkeypatch.setattr(patch_scorer, "_TOGETHER", 3 * 12 * 12 * 7 * 2)
    parts = PatchScorer(Brightness(), (3, 50, 41), 12, 5, 3)
    assert parts._step == 2
    output = parts(images)
    torch.testing.assert_close(output["map"], whole["map"])
    torch.testing.assert_close(output["score"], whole["score"])


class Slanted(nn.Module):
    """Knows the middle of a patch and errs the more the nearer the edge, as networks with padding do."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        across = torch.linspace(-1, 1, image.shape[3]).abs().pow(4)
        return {"score": image.mean(dim=(1, 2, 3)), "map": image.mean(dim=1) + across}


def test_no_seam_shows_where_a_patch_ends() -> None:
    output = PatchScorer(Slanted(), (1, 64, 96), 32, 16)(torch.zeros(1, 1, 64, 96))["map"][0, 30]
    inner = output[16:80]  # the outermost columns are covered by one patch alone
    assert inner.diff().abs().max() < 0.08, "a step of a patch's edge shows"
    assert inner.max() < 0.3, "an edge counts for less than a middle"


@given(length=st.integers(4, 300), size=st.integers(4, 60), stride=st.integers(1, 60))
def test_patches_reach_from_edge_to_edge(length: int, size: int, stride: int) -> None:
    if length < size:
        with pytest.raises(UsageError, match="fit"):
            patch_starts(length, size, stride)
        return
    starts = patch_starts(length, size, min(stride, size))
    assert starts[0] == 0
    assert starts[-1] == length - size
    assert all(0 < after - before <= min(stride, size) for before, after in itertools.pairwise(starts))


def test_training_patches_are_the_images_own() -> None:
    images = np.arange(2 * 6 * 7, dtype=np.uint8).reshape(2, 1, 6, 7)
    cut = cut_patches(images, 4, 3, seed=0)
    assert cut.shape == (2 * 2 * 2, 1, 4, 4)
    np.testing.assert_array_equal(cut[0, 0], images[0, 0, :4, :4])
    np.testing.assert_array_equal(cut[-1, 0], images[1, 0, 2:, 3:])


@pytest.mark.parametrize("text", ["0", "3", "abc", "30:0", "30:31", "30:25:1", "-8", ""])
def test_a_patch_that_cannot_be_is_explained(text: str) -> None:
    with pytest.raises(UsageError, match="patch"):
        Patches().typed("patch", text)


def counted(image: Tensor, background: Tensor, size: int, stride: int, share: float) -> Tensor:
    """`Foreground` once more, pixel by pixel."""
    differs = (image - background).abs().max(dim=0).values > 0.1
    rows, columns = (patch_starts(length, size, stride) for length in differs.shape)
    return torch.tensor(
        [
            [differs[top : top + size, left : left + size].double().mean().item() >= share - 1e-9 for left in columns]
            for top in rows
        ]
    )


@settings(max_examples=40, deadline=None)
@given(size=st.integers(3, 8), stride=st.integers(2, 8), share=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_foreground_is_what_differs_from_the_background(size: int, stride: int, share: float, seed: int) -> None:
    images = torch.rand(2, 3, 17, 21, generator=torch.Generator().manual_seed(seed))
    background = images[0].clone()
    background[:, 5:12] += 0.3  # a band is foreground in the first image
    foreground = Foreground((3, 17, 21), size, min(stride, size), share)
    foreground.set_background(background)
    expected = [counted(image, background, size, min(stride, size), share) for image in images]
    assert torch.equal(foreground(images), torch.stack(expected))


def with_foreground() -> PatchScorer:
    scorer = PatchScorer(Brightness(), (1, 20, 20), 10, 10, foreground=0.2)
    scorer.fit_foreground(torch.full((1, 20, 20), 0.9), torch.full((4, 1, 10, 10), 0.25))
    return scorer


def test_what_was_never_learnt_from_does_not_decide() -> None:
    image = torch.full((2, 1, 20, 20), 0.9)  # a bright background
    image[0, :, :10, 10:] = 0.5  # a darker thing in one of four patches
    output = with_foreground()(image)
    assert output["score"].tolist() == pytest.approx([0.5, 0.25])  # without any foreground: the most normal there was
    assert output["map"][0, :10, 10:].unique().tolist() == pytest.approx([0.5])
    assert output["map"][0, 10:].unique().tolist() == pytest.approx([0.25])


def test_a_state_without_a_background_scores_all_patches() -> None:
    old = PatchScorer(Brightness(), (1, 20, 20), 10, 10)
    scorer = PatchScorer(Brightness(), (1, 20, 20), 10, 10, foreground=0.2)
    scorer.load_state_dict(old.state_dict())
    images = torch.rand(2, 1, 20, 20)
    assert torch.equal(scorer(images)["score"], old(images)["score"])
