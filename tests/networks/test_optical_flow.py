"""Optical flow without learning, and what it tells of clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.networks.optical_flow import MotionFeatures, OpticalFlow, window_mean


def grain(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(1, 1, h, w) smooth random texture in [0, 1]."""
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    smooth = window_mean(window_mean(noise, 7), 7)  # coarser than what moves between two frames
    return (smooth - smooth.amin()) / (smooth.amax() - smooth.amin())


def shifted(texture: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """The inner part of a texture, after it has moved so many pixels."""
    return texture[:, :, 16 - down : -16 - down, 16 - right : -16 - right]


@settings(max_examples=10, deadline=None)
@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(0, 100))
def test_a_texture_that_moves_has_that_flow(right: int, down: int, seed: int) -> None:
    texture = grain(96, 112, seed)
    flow = OpticalFlow()(shifted(texture, 0, 0), shifted(texture, right, down))[0, :, 12:-12, 12:-12]
    assert float(flow[0].median()) == pytest.approx(right, abs=0.25)
    assert float(flow[1].median()) == pytest.approx(down, abs=0.25)


def test_flow_agrees_with_another_implementation_of_lucas_and_kanade() -> None:
    registration = pytest.importorskip("skimage.registration")
    texture = grain(96, 112)
    earlier, later = shifted(texture, 0, 0), shifted(texture, 2, -1)
    down, right = registration.optical_flow_ilk(later[0, 0].numpy(), earlier[0, 0].numpy(), radius=5)
    flow = OpticalFlow()(earlier, later)[0].numpy()
    inner = (slice(12, -12), slice(12, -12))
    # theirs says where each pixel of the later frame was, ours how far it has come
    assert np.median(np.abs(flow[0] + right)[inner]) < 0.15
    assert np.median(np.abs(flow[1] + down)[inner]) < 0.15


def test_nothing_moves_between_equal_frames() -> None:
    for size in ((5, 9), (16, 16), (64, 21)):
        frame = grain(*size)
        assert float(OpticalFlow()(frame, frame).abs().max()) < 1e-4


def test_window_means_are_of_what_there_is() -> None:
    values = torch.rand(2, 3, 7, 5)
    torch.testing.assert_close(
        window_mean(values, 3), torch.nn.functional.avg_pool2d(values, 3, 1, 1, count_include_pad=False)
    )


def crossing(speed: int, frames: int = 4, tall: int = 12) -> torch.Tensor:
    """(1, t, 1, 48, 96) a textured block that moves to the right."""
    block = grain(tall, 12)[0, 0] / 2 + 0.5
    clip = torch.zeros(1, frames, 1, 48, 96)
    for number in range(frames):
        clip[0, number, 0, 16 : 16 + tall, 40 + speed * number : 52 + speed * number] = block
    return clip


def test_faster_things_have_longer_histograms_and_larger_things_move_more_of_a_window() -> None:
    features = MotionFeatures(8, 0.01, 4, 5)
    (slow, _), (fast, _), (large, _) = (features(each) for each in (crossing(1), crossing(3), crossing(1, tall=24)))
    speed = [float(each[0, 0].amax()) for each in (slow, fast)]
    assert speed[1] > 2 * speed[0]
    assert slow[0, :8].amax(dim=(1, 2)).argmax() == 0, "to the right"
    backwards, _ = features(crossing(1).flip(1))
    assert backwards[0, :8].amax(dim=(1, 2)).argmax() == 4, "to the left"
    assert float(large[0, 9].amax()) > 1.3 * float(slow[0, 9].amax())


def test_a_clip_filled_up_with_its_first_frame_keeps_its_speed() -> None:
    clip = crossing(2)
    filled = torch.cat([clip[:, :1], clip[:, :1], clip[:, :2]], dim=1)
    features = MotionFeatures(8, 0.01, 4, 5)
    whole, part = features(clip)[0][0, 0].amax(), features(filled)[0][0, 0].amax()
    assert float(part) > 0.6 * float(whole)


def test_every_clip_is_looked_at_alone() -> None:
    clips = torch.cat([crossing(1), crossing(3)])
    features = MotionFeatures(8, 0.01, 4, 5)
    torch.testing.assert_close(features(clips)[0][1:], features(clips[1:])[0])
