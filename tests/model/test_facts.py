"""What a fitted model says of the features that it works on."""

from __future__ import annotations

import amiss


def test_pretrained_features_are_named_with_their_licence() -> None:
    words = amiss.PatchMemory().facts().seen_through
    assert "efficientnet_lite0, pretrained on ImageNet" in words
    assert "Apache-2.0" in words
    assert "no pretrained features" in amiss.PatchMemory(features="none").facts().seen_through
    assert amiss.PCA().facts().features is None


def test_files_are_named_without_their_folder() -> None:
    assert (
        amiss.PCA(features="secret/place/mine.onnx").facts().seen_through == "features of mine.onnx, given by the user"
    )


def test_patches_leave_no_room_for_automatic_features() -> None:
    assert amiss.PatchMemory(patch=(16, 8)).facts().features is None
