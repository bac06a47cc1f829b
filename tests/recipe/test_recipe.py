"""What every method shares before it is fitted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import amiss
from amiss.errors import UsageError
from amiss.networks.backbone import Backbone, BackboneScorer, Features
from amiss.networks.patch_scorer import PatchScorer
from amiss.recipe.recipe import with_backbone
from amiss.registry import get_method, method_names
from amiss.testing.common import small_backbone

SHAPE = (3, 24, 20)


@pytest.mark.parametrize("name", method_names())
def test_facts_are_those_of_the_class(name: str) -> None:
    detector = get_method(name)()
    facts = detector.facts()
    assert (facts.name, facts.label) == (name, type(detector).__name__)
    assert facts.gives_map == detector.gives_map
    assert facts.clip_length == detector.clip_length
    assert facts.sees_whole_images == (detector.backbone is None)


def test_patches_wrap_what_is_built_for_them() -> None:
    detector = amiss.PCA(patch=(12, 6))
    assert detector.built_for(SHAPE, None) == ((3, 12, 12), None)
    head = detector.head(SHAPE)
    assert isinstance(head, PatchScorer)
    assert head(torch.rand(2, *SHAPE))["map"].shape == (2, 24, 20)


@pytest.mark.parametrize("kind", [amiss.PCA, amiss.PatchMemory, amiss.LocatedADACL, amiss.Panel])
def test_a_backbone_stands_before_the_head(kind: type[Any]) -> None:
    features = Features(Backbone(small_backbone()), SHAPE)
    detector = kind(features="some.onnx")
    given = detector.built_for(SHAPE, features)
    assert given == ((SHAPE, features) if kind.takes_backbone else (features.shape, None))
    scorer = with_backbone(detector.head(SHAPE, features).eval(), features, SHAPE)
    assert isinstance(scorer, BackboneScorer)
    assert scorer(torch.rand(2, *SHAPE))["map"].shape == (2, 24, 20)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"patch": (12, 6), "features": "some.onnx"}, "patch=none"),
        ({"foreground": 0.1}, "patch=SIZE"),
        ({"patch": (12, 40)}, "stride"),
        ({"size": (4, 4)}, "8 to 4096"),
    ],
)
def test_settings_that_exclude_each_other_are_explained(settings: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        amiss.PCA(**settings).check()


@pytest.mark.parametrize("name", method_names())
def test_quick_settings_are_settings(name: str) -> None:
    kind = get_method(name)
    kind(**kind.quick_settings()).check()
    kind(**kind.varied_settings(("rotate", "light"))).check()
