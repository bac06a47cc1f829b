"""Loading without torch where torch is installed: the same decisions, and one sentence where torch is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.errors import UsageError
from amiss.testing import task

FILE = Path(__file__).parent / "files" / "patch_memory.amiss"


def test_without_torch_it_scores_by_its_graph() -> None:
    images = task().unseen[::20]
    model = amiss.load(FILE, without_torch=True)
    assert (model.scorer, model.engine.name) == (None, "onnxruntime")
    expected = amiss.load(FILE, "onnxruntime").score(images)
    found = model.score(images)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.p_values, expected.p_values)


def test_what_needs_torch_says_so() -> None:
    model = amiss.load(FILE, without_torch=True)
    with pytest.raises(UsageError, match="loaded without torch"):
        model.on("torch")
    with pytest.raises(UsageError, match="loaded without torch"):
        model.torch_scorer()


def test_it_can_be_written_again(tmp_path: Path) -> None:
    again = amiss.load(amiss.load(FILE, without_torch=True).save(tmp_path / "again.amiss"), "torch")
    assert again.decision.explain() == amiss.load(FILE).decision.explain()
