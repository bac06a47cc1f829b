"""Models as files for other runtimes, and the page beside them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import amiss
from amiss.data.stack import digest
from amiss.engines import allowed_difference
from amiss.errors import AmissError, DataError, UsageError
from amiss.model import FittedModel
from amiss.service import exporting
from amiss.service.exporting import EightBitCost, export_model
from amiss.testing import fitted, task
from amiss.testing.common import moving_task

#: Hides every package but those that the page names, and what these need.
_ALONE = """
import sys
class Hides:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("amiss", "torch", "onnx", "scipy", "sklearn", "jinja2", "pydantic"):
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)
sys.meta_path[:] = [Hides(finder) for finder in sys.meta_path]
"""


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return fitted(amiss.BCAE1).model_.on("onnxruntime")


def run_page(folder: Path, *arguments: str) -> list[list[str]]:
    """What the Python code of the page prints, in a process of its own that has next to no packages."""
    code = re.search(r"^```python\n(.*?)^```", (folder / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert code is not None
    command = [sys.executable, "-c", _ALONE + code[1], *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-500:]
    return [line.split() for line in done.stdout.splitlines()]


def pictures(folder: Path, images: np.ndarray) -> list[str]:
    """The files of images, enlarged, in colour."""
    folder.mkdir(exist_ok=True)
    names = [str(folder / f"{number}.png") for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).resize((50, 41), Image.Resampling.BICUBIC).convert("RGB").save(name)
    return names


def assert_same(printed: list[list[str]], model: FittedModel, names: list[str], share: float = 1.0) -> None:
    expected = model.score(names)
    assert [line[0] for line in printed] == names
    allowed = share * allowed_difference(model.decision.calibration)
    assert np.abs(np.array([float(line[1]) for line in printed]) - expected.scores).max() <= allowed
    np.testing.assert_allclose([float(line[2]) for line in printed], expected.p_values, rtol=1e-6)
    assert [line[3] == "True" for line in printed] == expected.is_anomaly.tolist()


def test_the_code_of_the_page_scores_as_the_model_does(model: FittedModel, tmp_path: Path) -> None:
    exported = export_model(model, tmp_path / "new" / "out")
    assert [file.name for file in exported.files] == ["model.onnx", "README.md"]
    names = pictures(tmp_path / "pictures", task().unseen[45:55])
    assert_same(run_page(tmp_path / "new" / "out", *names), model, names)
    metadata = onnx.load(exported.files[0]).metadata_props
    facts = {entry.key: entry.value for entry in metadata}
    assert float(facts["threshold"]) == model.decision.threshold
    assert float(facts["false_alarm_rate"]) == model.false_alarm_rate
    assert facts["promise"] == model.decision.explain()
    page = exported.files[1].read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in facts)
    assert all(f"```{language}\n" in page for language in ("python", "cpp", "js"))


@pytest.mark.slow
def test_openvino_scores_as_the_model_does(model: FittedModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    exported = export_model(model, tmp_path / "out", "openvino")
    assert [file.name for file in exported.files] == ["model.xml", "model.bin", "README.md"]
    names = pictures(tmp_path / "pictures", task().unseen[45:55])
    assert_same(run_page(tmp_path / "out", *names), model, names)


def test_a_page_for_clips_speaks_of_frames(tmp_path: Path) -> None:
    model = fitted(amiss.FrameDifference).model_.on("onnxruntime")
    export_model(model, tmp_path)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"(n, {model.clip_length}, h, w, c)" in page
    names = []
    for number, frame in enumerate(fitted_frames()):
        names.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(frame).save(names[-1])
    printed = run_page(tmp_path, *names)
    expected = model.score(fitted_frames()).scores[model.clip_length - 1 :]
    allowed = allowed_difference(model.decision.calibration)
    assert np.abs(np.array([float(line[1]) for line in printed]) - expected).max() <= allowed


def fitted_frames() -> np.ndarray:
    return moving_task().unseen[-8:]


def test_an_unknown_form_is_refused(model: FittedModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="onnx, openvino"):
        export_model(model, tmp_path, "torchscript")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_scores_otherwise_is_not_written(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fitted(amiss.BCAE1).model_.with_scorer(fitted(amiss.BCAE1).head((1, 16, 16))).exported()
    assert other.graph is not None
    write = exporting.export.whole_graph.whole_graph
    monkeypatch.setattr(exporting.export.whole_graph, "whole_graph", lambda _, *rest: write(other.graph, *rest))
    with pytest.raises(AmissError, match="nothing is written"):
        export_model(model, tmp_path)
    assert not list(tmp_path.iterdir())


# -- 8 bits ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_AUROC_LOST", 1.0)
    monkeypatch.setattr(exporting, "MOST_P_VALUE_MOVED", 1.0)


@pytest.mark.usefixtures("lenient")
def test_8_bits_decide_by_the_images_given(model: FittedModel, tmp_path: Path) -> None:
    unseen = task().unseen[~task().anomalous]
    exported = export_model(model, tmp_path, int8_images=np.concatenate([task().normal[:30], unseen]))
    cost, eight = exported.cost, exported.model
    assert cost is not None
    assert len(unseen) <= cost.images < len(unseen) + 30  # those that set the threshold before may do so again
    assert eight.decision.n == cost.images
    assert not eight.record.splits.folds
    scores = eight.score(unseen).scores
    assert set(scores) <= set(eight.decision.calibration)
    assert np.abs(scores - model.score(unseen).scores).max() > 0
    assert cost.explain() in (tmp_path / "README.md").read_text(encoding="utf-8")
    names = pictures(tmp_path / "pictures", task().unseen[45:55])
    assert_same(run_page(tmp_path, *names), eight, names)


def test_8_bits_refuse_images_that_were_learnt_from(model: FittedModel, tmp_path: Path) -> None:
    used = {*model.record.splits.train.images}
    learnt = [image for image in task().normal if amiss_digest(image) in used][:40]
    with pytest.raises(DataError, match="0 of the 40"):
        export_model(model, tmp_path, int8_images=np.stack(learnt))


def amiss_digest(image: np.ndarray) -> str:
    return digest(image[None])


def test_8_bits_that_stray_too_far_are_refused(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_P_VALUE_MOVED", -1.0)
    with pytest.raises(UsageError, match="stray too far"):
        export_model(model, tmp_path, int8_images=task().unseen[~task().anomalous])
    assert not list(tmp_path.iterdir())


def test_8_bits_are_for_images(tmp_path: Path) -> None:
    model = fitted(amiss.FrameDifference).model_
    with pytest.raises(UsageError, match="learnt from video"):
        export_model(model, tmp_path, int8_images=task().normal)


@pytest.mark.parametrize(
    ("changes", "holds"),
    [({}, True), ({"auroc_after": 0.88}, False), ({"auroc_after": 1.0}, True), ({"p_value_moved": 0.21}, False)],
)
def test_the_rule(changes: dict[str, Any], holds: bool) -> None:
    cost = EightBitCost(50, 0.9, 0.9, 0.2, 10.0, 5.0)
    assert dataclasses.replace(cost, **changes).holds == holds
