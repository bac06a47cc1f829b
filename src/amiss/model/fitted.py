"""A fitted model: complete, frozen, and all that scoring, deciding, explaining, reporting and serving need to know."""

from __future__ import annotations

import copy
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import engines, explain, export, training
from ..calibration import Decision, MapScale, Region, find_regions, largest_of_groups
from ..data import Images, Item, open_images
from ..data.appearance import UsualAppearance
from ..data.clips import Clips
from ..data.grammar import in_memory
from ..data.inputs import streamed_inputs
from ..data.preprocessing import Preprocessing, to_float
from ..data.stack import Prepared
from ..engines import Engine, Output
from ..environment import versions
from ..errors import DataError, NoMapError, UsageError
from ..progress import Progress, silent
from ..settings import check_settings
from . import archive
from .calibrated import Calibration
from .facts import MethodFacts
from .manifest import Record
from .scoring import Row, score_stream

if TYPE_CHECKING:
    from torch import nn

    from ..explain.explanation import Explanation

#: Images read ahead where each takes along its picture, which is large.
_WITH_PICTURES = 16


@dataclass(frozen=True)
class Scores:
    """What `score` returns; row i belongs to image i.

    Attributes:
        names: what each image is called.
        scores: (n,) float32, higher = more anomalous; NaN where an image could not be read.
        p_values: (n,) float64, share of normal images that score at least so high; NaN where unreadable.
        is_anomaly: (n,) bool.
        errors: why an image could not be read, else None.
        notes: in what an image looks unlike those learnt from, else None.
    """

    names: list[str]
    scores: NDArray[np.float32]
    p_values: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    errors: list[str | None]
    notes: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedModel:
    """What has been learnt. It never changes: another engine, or other weights, make another model.

    Attributes:
        method: facts of the method that made it.
        settings: the method's, as model files hold them.
        preprocessing: from pixels of any size to what the scorer sees.
        calibration: scores of held-out normal images, by which it decides.
        false_alarm_rate: the share of normal images that may be flagged.
        record: how it came to be.
        reference: (k, c, h, w) prepared normal images that were learnt from, 16 at most.
        usual: how the normal images look; None in model files of earlier versions.
        scorer: as a torch module; None without torch, or where it was loaded without.
        weights: of the scorer, as the model file holds them; empty where the file is still to be written.
        graph: the scorer as a serialized ONNX graph; None until `exported`.
        backbone: its own graph, where there is one.
        device: where torch computes.
        engine_name: auto, torch, torch-bfloat16 or onnxruntime.
    """

    method: MethodFacts
    settings: Mapping[str, Any]
    preprocessing: Preprocessing
    calibration: Calibration
    false_alarm_rate: float
    record: Record
    reference: NDArray[Any]
    usual: UsualAppearance | None = None
    scorer: nn.Module | None
    weights: bytes = b""
    graph: bytes | None = None
    backbone: bytes | None = None
    device: str = "auto"
    engine_name: str = "auto"

    # -- scores and decisions ------------------------------------------------------------------------------------------

    def score(self, x: Images, *, progress: Progress = silent) -> Scores:
        """Score images; `x` is whatever `amiss.open_images` takes.

        Raises:
            DataError: an array that is no image, or no file of `x` can be read; single unreadable files become rows
                with an error instead.
        """
        rows = [
            (row.item.name, row.score, row.p_value, row.is_anomaly, row.error, row.note)
            for row in self._told(x, progress)
        ]
        names, scores, p_values, flags, errors, notes = map(list, zip(*rows, strict=True)) if rows else [[]] * 6
        if rows and all(errors):
            raise DataError(str(errors[0]))
        return Scores(
            names,
            np.array(scores, dtype=np.float32),
            np.array(p_values, dtype=np.float64),
            np.array(flags, dtype=np.bool_),
            errors,
            notes,
        )

    def predict(self, x: Images) -> NDArray[np.bool_]:
        """(n,) bool, True = anomalous. Raises `DataError` where any image cannot be read, which has no truth value."""
        result = self.score(x)
        for name, error in zip(result.names, result.errors, strict=True):
            if error is not None:
                raise DataError(f"no prediction can be made for {name}: {error}")
        return result.is_anomaly

    def anomaly_map(self, x: Images) -> NDArray[np.float32]:
        """(n, h, w) float32 maps at the size of the prepared image, higher = more anomalous.

        Raises:
            NoMapError: the method has none.
            DataError: an image cannot be read.
        """
        return np.stack([row.map for row in self._rows_with_maps(x) if row.map is not None])

    def regions(self, x: Images) -> list[list[Region]]:
        """Where each image is amiss, see `regions_of`; a list for every image, empty where nothing is found.

        Raises:
            NoMapError: the method has no map.
            DataError: an image cannot be read.
        """
        return [self.regions_of(row) for row in self._rows_with_maps(x)]

    def regions_of(self, row: Row) -> list[Region]:
        """Where the smoothed map of one image exceeds the threshold of `map_scale`; the highest peak first.

        Of normal images like the calibration ones at most the false-alarm rate that was asked for when fitting has a
        region, where that rate is guaranteed. The decision is made by the score, and promises for itself: an image can
        be flagged without a region, and have a region without being flagged.

        Args:
            row: that `rows` gave; without a map there is no region.
        """
        if row.map is None or row.size is None or self.map_scale is None:
            return []
        return find_regions(row.map, self.map_scale, self.preprocessing, row.size)

    def _rows_with_maps(self, x: Images) -> Iterator[Row]:
        if not self.gives_map:
            raise NoMapError(
                f"{self.method.label} answers once for the whole image and has no map; set patch, or try BCAE1"
            )
        for row in self._told(x, silent):
            if row.error is not None:
                raise DataError(row.error)
            yield row

    def _told(self, x: Images, progress: Progress) -> Iterator[Row]:
        collection = open_images(x, "score")
        for done, row in enumerate(self.rows(collection), start=1):
            if row.error is not None and in_memory(x):
                raise DataError(row.error)
            progress("score", done, len(collection), "")
            yield row

    def rows(
        self,
        items: Iterable[Item],
        batch_size: int | None = None,
        ahead: int | None = None,
        picture: int | None = None,
    ) -> Iterator[Row]:
        """One row for every image, in their order; holds a few batches at a time, whatever the number of images.

        Args:
            items: images of a collection, or frames as they come.
            batch_size: images scored together; without it, what suits the model.
            ahead: images read ahead of the one that is scored; without it, two batches, or 16 with their pictures.
            picture: give each row its picture, the longest side at most so many pixels.
        """
        size = batch_size or self.batch_size
        ahead = ahead or (max(2 * size, _WITH_PICTURES) if picture is None else _WITH_PICTURES)
        return score_stream(self.inputs(items, ahead, picture), self.engine, self.decision, size, self.usual)

    def inputs(self, items: Iterable[Item], ahead: int = 16, picture: int | None = None) -> Iterator[Prepared]:
        """What the scorer is asked about, see `amiss.data.inputs.streamed_inputs`."""
        return streamed_inputs(items, self.preprocessing, self.clip_length, ahead, picture)

    def run(self, inputs: NDArray[Any] | Clips) -> Output:
        """Scores and maps of prepared inputs (n, ...), at least one, a batch at a time."""
        return engines.run_batches(self.engine, inputs, self.batch_size)

    @property
    def decision(self) -> Decision:
        """By the calibration scores of the engine in use, at the false-alarm rate that was asked for."""
        scores, images = self.calibration.of(self.engine.name), self.record.splits.calibrate
        largest = None if images.group_names is None else largest_of_groups(scores, images.group_names)
        crossed = bool(self.record.splits.folds)
        return Decision(scores, self.false_alarm_rate, images.groups, self.learnt_from_video, largest, crossed)

    # -- facts ---------------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The method, as the papers write it."""
        return self.method.label

    @property
    def gives_map(self) -> bool:
        """Does it answer for every location of the image?"""
        return self.method.gives_map

    @property
    def clip_length(self) -> int:
        """Frames that are scored together; 1 for images."""
        return self.method.clip_length

    @property
    def sees_whole_images(self) -> bool:
        """Is it asked about images as they are, and neither about patches nor about features?"""
        return self.method.sees_whole_images

    @property
    def learnt_from_video(self) -> bool:
        """Were the images frames of videos? Then they are called so."""
        return self.clip_length > 1 or bool(self.record.splits.video)

    @property
    def map_scale(self) -> MapScale | None:
        """On which maps are shown, where there are any."""
        return self.calibration.map_scale

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input of the scorer: (c, h, w), or (t, c, h, w)."""
        shape = self.preprocessing.shape
        return shape if self.clip_length == 1 else (self.clip_length, *shape)

    @property
    def batch_size(self) -> int:
        """Inputs scored together."""
        size = engines.batch_size(self.input_shape, self.method.patch)
        return size if self.backbone is None else min(size, engines.BEHIND_BACKBONE)

    # -- engines -------------------------------------------------------------------------------------------------------

    @cached_property
    def engine(self) -> Engine:
        """What runs the scorer: torch in the precision chosen for this machine, or ONNX Runtime without torch."""
        inside = self.preprocessing.inside
        return self._whole_engine() if inside is None else engines.EngineWithin(self._whole_engine(), inside)

    def _whole_engine(self) -> Engine:
        if self.engine_name == "onnxruntime" or (self.engine_name == "auto" and self._best_as_graph()):
            if self.graph is None:
                raise UsageError(f"this {self.label} has no graph yet; use its method `on` to change engines")
            return engines.onnx_engine.OnnxEngine(self.graph)
        versions.require("train", f"the engine {self.engine_name}", "torch")
        return engines.torch_engine.TorchEngine(self._loaded_scorer(), self._precision(), self._device())

    def _best_as_graph(self) -> bool:
        """A backbone and what stands behind it are fastest as one graph, unless torch computes on a better device."""
        return self.scorer is None or (
            self.backbone is not None and self.graph is not None and self._device() in ("auto", "cpu")
        )

    def _precision(self) -> str:
        if self.engine_name != "auto":
            return "bfloat16" if self.engine_name.endswith("bfloat16") else "float32"
        kept = self.calibration.precision
        if kept.machine == versions.machine():
            return kept.precision
        assert self.scorer is not None  # as above
        scores = self.calibration.scores["torch"]
        return engines.torch_engine.choose_precision(self.scorer, to_float(self._trial()), scores, self._device())

    def _device(self) -> str:
        try:
            return training.choose.training_device(self.device)
        except UsageError:
            return "auto"  # fitted on another machine

    def _trial(self) -> NDArray[Any]:
        """A batch of inputs, made of the reference images."""
        indices = np.arange(self.batch_size) % len(self.reference)
        if self.clip_length == 1:
            images: NDArray[Any] = self.reference[indices]
            return images
        return Clips(self.reference, np.zeros(len(self.reference), np.int64), self.clip_length, indices)[:]

    def on(self, engine: str) -> FittedModel:
        """The same model on `auto`, `torch`, `torch-bfloat16` or `onnxruntime`.

        Raises:
            UsageError: there is no such engine.
            MissingExtraError: the engine is torch, and torch is not installed.
        """
        engines.check_engine(engine)
        model = self.exported() if engine == "onnxruntime" else self
        model = dataclasses.replace(model, engine_name=engine)
        _ = model.engine  # one that cannot be had is told now
        return model

    def with_scorer(self, scorer: nn.Module) -> FittedModel:
        """The same model with other weights, on torch in float32; its calibration still is that of the old ones."""
        return dataclasses.replace(self, scorer=scorer.eval(), weights=b"", graph=None, engine_name="torch")

    def with_false_alarm_rate(self, rate: float) -> FittedModel:
        """The same model, deciding at another rate by the same calibration scores; its maps are shown as before.

        Raises:
            UsageError: a rate outside (0, 1).
        """
        model = dataclasses.replace(self, false_alarm_rate=rate, settings={**self.settings, "false_alarm_rate": rate})
        _ = model.decision  # a rate that cannot be is told now
        return model

    def torch_scorer(self) -> nn.Module:
        """The scorer as a torch module, in float32 on the CPU; needs the extra `train`.

        What scores on another device goes on there: this is a copy then.
        """
        versions.require("train", "the scorer as a torch module", "torch", "safetensors")
        scorer = self._loaded_scorer().eval()
        elsewhere = any(value.device.type != "cpu" for value in scorer.state_dict().values())
        return copy.deepcopy(scorer).to("cpu") if elsewhere else scorer

    def _loaded_scorer(self) -> nn.Module:
        if self.scorer is None:
            raise UsageError(f"this {self.label} was loaded without torch; load it with amiss.load(FILE)")
        return self.scorer

    # -- explaining ----------------------------------------------------------------------------------------------------

    def explain(self, x: Images, with_: str = "occlusion", **settings: Any) -> Explanation:
        """Why one image has its score, and where the reason sits.

        Args:
            x: one image: a path, or an array (h, w), (h, w, 3) or (1, h, w[, c]); where the method sees clips, a video,
                whose last frame is explained. For many, see `amiss.explain.images.explain_collection`.
            with_: residual, difference, lrp, lime, shap, counterfactual or occlusion.
            settings: of the explainer, its seed among them.

        Raises:
            UsageError: no such explainer or setting, an explainer that does not suit the method, or several images.
            DataError: the image cannot be read.
            MissingExtraError: the extra `explain` is not installed.
        """
        kind = explain.get_explainer(with_)
        check_settings(kind, settings)
        return explain.images.explain_one(self, x, kind(**settings))

    # -- keeping -------------------------------------------------------------------------------------------------------

    def exported(self) -> FittedModel:
        """The same model with its ONNX graph, and calibration scores of ONNX Runtime."""
        if self.graph is not None:
            return self
        assert self.scorer is not None  # what has no graph has not been loaded
        graph = export.onnx_graph.export_onnx(copy.deepcopy(self.scorer), self.input_shape)
        calibration = self.calibration
        if calibration.inputs is not None:
            calibration = calibration.with_engine(engines.onnx_engine.OnnxEngine(graph), self.batch_size)
        # every engine has its scores now, so the inputs can go
        return dataclasses.replace(self, graph=graph, calibration=dataclasses.replace(calibration, inputs=None))

    def __getstate__(self) -> dict[str, Any]:
        """Without what runs the scorer, which is made again where it is needed."""
        return {name: value for name, value in vars(self).items() if name != "engine"}

    def save(self, path: str | Path) -> Path:
        """Write a model file (see `amiss.load`), whole or not at all; returns its path.

        Raises:
            WriteError: the folder does not exist or cannot be written.
        """
        model = self.exported()
        assert model.graph is not None
        parts = {
            archive.WEIGHTS: model._written_weights(),
            archive.GRAPH: model.graph,
            archive.REFERENCE: _as_npz(model.reference),
        }
        if model.backbone is not None:
            parts[archive.BACKBONE] = model.backbone
        archive.write_archive(Path(path), model._facts(), parts)
        return Path(path)

    def _facts(self) -> dict[str, Any]:
        features = self.settings["features"]
        return {
            "method": self.method.name,
            "settings": {**self.settings, "features": Path(features).name},
            "preprocessing": self.preprocessing.to_dict(),
            "calibration": {name: [float(s) for s in scores] for name, scores in self.calibration.scores.items()},
            "false_alarm_rate": self.false_alarm_rate,
            "appearance": None if self.usual is None else asdict(self.usual),
            "map_scale": None if self.map_scale is None else asdict(self.map_scale),
            "precision_choice": self.calibration.precision,
            **{name: getattr(self.record, name) for name in Record.model_fields},
        }

    def _written_weights(self) -> bytes:
        if self.weights or self.scorer is None:
            return self.weights
        from safetensors.torch import save as save_tensors  # of the extra `train`

        state = self.scorer.state_dict()
        content: bytes = save_tensors({name: value.detach().cpu().contiguous() for name, value in state.items()})
        return content


def _as_npz(images: NDArray[Any]) -> bytes:
    if images.dtype != np.uint8:
        images = np.rint(images * 255).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, normal=images)
    return buffer.getvalue()
