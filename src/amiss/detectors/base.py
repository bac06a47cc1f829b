"""What every detector shares: fit, score, decide, save. What a method adds, and how it is trained: see `method`."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .. import versions
from ..calibration import Decision
from ..data import Collection, open_images
from ..data.clips import Clips, blocks, runs, video_of
from ..data.patches import parse_patch
from ..data.preprocessing import Preprocessing, infer_preprocessing, to_float
from ..data.splits import Splits, split_normals
from ..data.stack import Stack, load_stack, sample_pixels
from ..engines import Engine, Output, check_engine
from ..errors import (
    DataError,
    DegenerateTrainingWarning,
    NoMapError,
    NotFittedError,
    TrainingError,
    UsageError,
)
from ..files import make_folder
from ..maps import smoothed
from ..progress import Progress, silent
from .labelled import Labelled
from .method import Method, Trained
from .settings import check_settings

if TYPE_CHECKING:
    from torch import nn

    from ..explain.explanation import Explanation
    from ..scoring import Row

#: What `fit` and `score` take: a path, glob or known set, several of them, an array (n, h, w[, c]), or a collection.
Images = str | Path | Sequence[str | Path] | NDArray[Any] | Collection

_REFERENCES = 16
#: So many images tell colour and size; with size=native all must share one, so all are looked at.
_SAMPLES = 64
_LEARNERS = "try the method adnl, or an autoencoder with negative=bounded"
#: Saving needs the last three; they must not be missed after hours of training.
_FIT_NEEDS = ("torch", "pytorch_lightning", "onnx", "onnxscript", "safetensors")


@dataclass(frozen=True)
class MapScale:
    """The scale on which smoothed maps are shown, from calibration normals.

    Attributes:
        floor: their median place; at or below it nothing is shown.
        threshold: exceeded by the largest place of as many normal images as the false-alarm rate allows.
    """

    floor: float
    threshold: float


@dataclass(frozen=True)
class Scores:
    """What `Detector.score` returns; row i belongs to image i.

    Attributes:
        names: what each image is called.
        scores: (n,) float32, higher = more anomalous; NaN where an image could not be read.
        p_values: (n,) float64, share of normal images that score at least so high; NaN where unreadable.
        is_anomaly: (n,) bool.
        errors: why an image could not be read, else None.
    """

    names: list[str]
    scores: NDArray[np.float32]
    p_values: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    errors: list[str | None]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(kw_only=True, eq=False)
class Detector(Method):
    """A visual anomaly detector: a method that is fitted, decides and is kept; see the methods for what each learns.

    Constructors only store; `fit` checks. What fitting learns ends in an underscore: `preprocessing_`,
    `calibration_scores_` (by engine, sorted), `map_scale_`, `splits_`, `training_`, `notes_`.
    """

    # -- learning ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Images,
        y: object = None,
        *,
        anomalies: Images | None = None,
        validation: Images | None = None,
        work_dir: str | Path | None = None,
        resume: bool = False,
        progress: Progress = silent,
    ) -> Self:
        """Learn what normal images look like.

        Args:
            x: normal images; of a labelled set only the normal ones are used. 70 % train, 10 % choose the epoch, 20 %
                (at most 1,000) calibrate the decision.
            y: ignored, for scikit-learn's sake.
            anomalies: labelled anomalies to learn from, for methods that can; items labelled normal are left out.
            validation: labelled images of both kinds whose AUROC chooses the epoch, as some papers do. The record then
                says that the choice has seen anomalies.
            work_dir: folder for a checkpoint after every epoch.
            resume: go on from `work_dir`'s checkpoint to the result of an unbroken run.
            progress: told what is done of how much.

        Returns: itself, fitted. Warns with `DegenerateTrainingWarning` where training looks wrong; the same sentences
        are kept in `notes_`.

        Raises:
            UsageError: a setting out of range, or anomalies for a method that cannot use any.
            DataError: too few images, or images that cannot be read.
            MissingExtraError: torch or Lightning is not installed.
            TrainingError: a loss that is not finite, or a resume with other data or settings.
        """
        self.check()
        if self.clip_length > 1 and validation is not None:
            raise UsageError(f"{type(self).__name__} sees clips, and labelled validation is of single images")
        if anomalies is not None and not self.learns_from_anomalies():
            raise UsageError(f"{type(self).__name__} with these settings does not learn from anomalies; {_LEARNERS}")
        versions.require("train", f"fitting {type(self).__name__}", *_FIT_NEEDS)
        from ..training.choose import training_device

        training_device(self.device)
        collection = open_images(x, "fit").normal
        if not len(collection):
            raise DataError(f"{collection.title} holds no normal image; nothing can be learnt from it")
        preprocessing = self._infer_preprocessing(collection)
        stack = load_stack(collection, preprocessing, progress)
        if stack.unreadable and isinstance(x, np.ndarray):
            raise DataError(stack.unreadable[0][1])
        stack, groups = self._divided(stack)
        splits = split_normals(groups, stack.digests, self.seed)
        if self.clip_length == 1:
            splits = dataclasses.replace(splits, calibrate=_without_copies(splits.calibrate, stack.digests))
        labelled = Labelled.load(anomalies, validation, preprocessing, stack.digests, progress)
        run_folder = Path(work_dir) if work_dir else None
        splits, found = self._learn(preprocessing, stack, splits, labelled, run_folder, resume, progress)
        self._record(collection, stack, splits, labelled, found)  # last: a fit that fails leaves an older one whole
        for sentence in found:
            warnings.warn(sentence, DegenerateTrainingWarning, stacklevel=2)
        return self

    def _divided(self, stack: Stack) -> tuple[Stack, list[str | None]]:
        """The stack, told which frames follow each other, and what of it must stay together."""
        groups = [item.group for item in stack.items]
        if self.clip_length == 1 and not any(item.video for item in stack.items):
            return stack, groups
        together: list[str | None] = list(blocks([video_of(item) for item in stack.items]))
        return dataclasses.replace(stack, groups=together, firsts=runs(stack.items, together)), together

    def _views(self, stack: Stack, indices: NDArray[np.int64]) -> NDArray[Any] | Clips:
        """What the scorer is asked about: images, or the clips that end with them."""
        if self.clip_length == 1:
            images: NDArray[Any] = stack.images[indices]
            return images
        assert stack.firsts is not None
        return Clips(stack.images, stack.firsts, self.clip_length, indices)

    def _input_shape(self) -> tuple[int, ...]:
        """Of one input of the scorer: (c, h, w), or (t, c, h, w)."""
        shape = self.preprocessing_.shape
        return shape if self.clip_length == 1 else (self.clip_length, *shape)

    @property
    def _aspect(self) -> Literal["stretch", "keep"]:
        return "keep" if self.aspect == "keep" else "stretch"

    def _infer_preprocessing(self, collection: Collection) -> Preprocessing:
        samples = sample_pixels(collection, len(collection) if self.size == "native" else _SAMPLES)
        first = next(samples, None)
        if first is None:
            load_stack(collection[:1], Preprocessing("rgb", 32, 32))  # raises with the reason
            raise DataError(f"no image of {collection.title} could be read")
        found = infer_preprocessing(itertools.chain([first], samples), self.size, self._aspect)
        if self.features == "none" or self.size != "auto":
            return found
        from ..networks.backbone import Backbone

        height, width = Backbone.read(self.features).suitable(found.height, found.width)
        return Preprocessing(found.colour, height, width, found.aspect)

    def _learn(
        self,
        preprocessing: Preprocessing,
        stack: Stack,
        splits: Splits,
        labelled: Labelled,
        work_dir: Path | None,
        resume: bool,
        progress: Progress,
    ) -> tuple[Splits, list[str]]:
        self._settle_backbone(preprocessing.shape, stack.images[splits.train])
        if work_dir is not None:
            self._claim(work_dir, resume, stack, labelled, preprocessing)
        self._discarded: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if self.discard:
            from .discard import without_strangest

            def train(parts: Splits, folder: Path | None, told: Progress) -> Trained:
                return self._train(preprocessing, stack, parts, labelled, folder, resume, told)

            splits, self._discarded = without_strangest(self, self.discard, stack, splits, work_dir, progress, train)
        trained = self._train(preprocessing, stack, splits, labelled, work_dir, resume, progress)
        self.preprocessing_ = preprocessing
        self.training_: dict[str, Any] = trained.record
        self._scorer: nn.Module | None = trained.scorer
        self._graph: bytes | None = None
        self._engine: Engine | None = None
        self._weights = b""
        self.fitted_with_ = versions.installed()
        self._calibration_images: NDArray[Any] | Clips | None = self._views(stack, splits.calibrate)
        self._reference = stack.images[splits.train[:_REFERENCES]]
        self._calibrate()
        return splits, trained.warnings

    def _claim(
        self, work_dir: Path, resume: bool, stack: Stack, labelled: Labelled, preprocessing: Preprocessing
    ) -> None:
        """Checkpoints of other data or settings are never continued."""
        claim = {
            "method": type(self).__name__,
            "settings": self.get_params(),
            "preprocessing": preprocessing.to_dict(),
            "backbone": self.backbone_graph_ and hashlib.sha256(self.backbone_graph_).hexdigest(),
            "images": digest_of(
                [f"{digest} {item.group}" for digest, item in zip(stack.digests, stack.items, strict=True)]
            ),
            "anomalies": None if labelled.anomalies is None else len(labelled.anomalies),
            "labelled": digest_of(labelled.digests),
        }
        path = work_dir / "run.json"
        if resume and path.exists():
            try:
                same = json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(claim))
            except ValueError:
                same = False  # cut by a power failure
            if not same:
                raise TrainingError(
                    f"{work_dir} was left by a fit with other images or settings; repeat them, or fit without resume"
                )
            return
        make_folder(work_dir)
        for old in work_dir.rglob("stage-*"):  # members of a panel have folders of their own
            old.unlink()
        path.write_text(json.dumps(claim), encoding="utf-8")

    def _calibrate(self) -> None:
        from ..engines.torch_engine import TorchEngine, choose_precision

        assert self._scorer is not None
        assert self._calibration_images is not None
        output = self._run_all(TorchEngine(self._scorer, "float32", self.device), self._calibration_images)
        self.calibration_scores_ = {"torch": np.sort(output.scores)}
        self.map_scale_ = None if output.maps is None else self._scale_of(output.maps)
        trial = to_float(self._calibration_images[: self.scoring_batch_])
        chosen = choose_precision(self._scorer, trial, self.calibration_scores_["torch"], self.device)
        self._engine = TorchEngine(self._scorer, chosen, self.device)
        if chosen != "float32":
            scores = self._run_all(self._engine, self._calibration_images).scores
            self.calibration_scores_[self._engine.name] = np.sort(scores)
        self.precision_choice_ = {"machine": versions.machine(), "precision": chosen}

    def _scale_of(self, maps: NDArray[np.float32]) -> MapScale:
        shown = smoothed(maps)
        highest = shown.reshape(len(shown), -1).max(axis=1)
        return MapScale(float(np.median(shown)), Decision(highest, self.false_alarm_rate).threshold)

    def _record(
        self, collection: Collection, stack: Stack, splits: Splits, labelled: Labelled, found: Sequence[str]
    ) -> None:
        self.notes_ = [*collection.notes, *labelled.notes, *found]
        if stack.unreadable:
            name, reason = stack.unreadable[0]
            self.notes_.append(f"{len(stack.unreadable)} unreadable file(s) were left out; the first, {name}: {reason}")
        parts = {"train": splits.train, "stop": splits.stop, "calibrate": splits.calibrate}
        self.splits_: dict[str, Any] = {}
        for part, indices in parts.items():
            digests = [stack.digests[index] for index in indices]
            self.splits_[part] = {"count": len(digests), "digest": digest_of(digests), "images": digests}
        if labelled.digests:
            self.splits_["labelled"] = {
                "count": len(labelled.digests),
                "digest": digest_of(labelled.digests),
                "images": labelled.digests,
            }
        if len(self._discarded):
            names = [stack.items[index].name for index in self._discarded]
            digests = [stack.digests[index] for index in self._discarded]
            self.splits_["discarded"] = {
                "count": len(names),
                "digest": digest_of(digests),
                "images": digests,
                "names": names,
            }
            self.notes_.append(f"{len(names)} training images, the strangest, were left out; the first: {names[0]}")
        self.splits_["source"] = collection.title
        if collection.of_video:
            self.splits_["video"] = True
        names = [stack.items[index].name for index in splits.calibrate]
        self.splits_["calibrate"]["names"] = names
        related = stack.groups or [item.group for item in stack.items]
        groups = {related[index] or stack.digests[index] for index in splits.calibrate}
        if len(groups) < len(splits.calibrate):
            self.splits_["calibrate"]["groups"] = len(groups)
        self.lessons_: list[dict[str, Any]] = []
        self.fitted_on_ = datetime.date.today().isoformat()

    def recalibrate(
        self,
        scorer: nn.Module,
        images: NDArray[Any],
        digests: Sequence[str],
        names: Sequence[str],
        groups: int | None = None,
    ) -> None:
        """Take other weights into use, and calibrate them with normal images that they have not learnt from.

        Args:
            scorer: as `torch_scorer` gives it.
            images: (n, c, h, w) prepared.
            digests, names: n of each, for the record.
            groups: how many groups they fall into, where some are related.
        """
        part = {"count": len(digests), "digest": digest_of(digests), "images": list(digests), "names": list(names)}
        self.splits_["calibrate"] = part | ({"groups": groups} if groups else {})
        self._scorer, self._calibration_images, self._graph = scorer, images, None
        self._calibrate()

    def note_labelled(self, digests: Sequence[str]) -> None:
        """Remember images that were learnt from, so that `eval` leaves them out."""
        together = sorted({*self.splits_.get("labelled", {}).get("images", ()), *digests})
        self.splits_["labelled"] = {"count": len(together), "digest": digest_of(together), "images": together}

    # -- scoring -------------------------------------------------------------------------------------------------------

    def score(self, x: Images, *, progress: Progress = silent) -> Scores:
        """Score images; `x` is whatever `fit` takes.

        Raises:
            NotFittedError: neither fitted nor loaded.
            DataError: an array that is no image, or no file of `x` can be read; single unreadable files become rows
                with an error instead.
        """
        rows = [(row.item.name, row.score, row.p_value, row.is_anomaly, row.error) for row in self._rows(x, progress)]
        names, scores, p_values, flags, errors = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [], [])
        if rows and all(errors):
            raise DataError(str(errors[0]))
        return Scores(
            names,
            np.array(scores, dtype=np.float32),
            np.array(p_values, dtype=np.float64),
            np.array(flags, dtype=np.bool_),
            errors,
        )

    def judge(self, images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores and decisions, (n,) each, of prepared images (n, c, h, w); for none, none."""
        self.require_fitted()
        if not len(images):
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.bool_)
        scores = self._run_all(self.engine_, images).scores
        return scores, self.decision_.is_anomaly(scores)

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
        if not self.gives_map:
            raise NoMapError(
                f"{type(self).__name__} answers once for the whole image and has no map; set patch, or try BCAE1"
            )
        maps = []
        for row in self._rows(x, silent):
            if row.error is not None:
                raise DataError(row.error)
            assert row.map is not None
            maps.append(row.map)
        return np.stack(maps)

    def _rows(self, x: Images, progress: Progress) -> Iterator[Row]:
        from ..scoring import score_collection

        self.require_fitted()
        collection = open_images(x, "score")
        for done, row in enumerate(score_collection(self, collection), start=1):
            if row.error is not None and isinstance(x, np.ndarray):
                raise DataError(row.error)
            progress("score", done, len(collection), "")
            yield row

    @property
    def decision_(self) -> Decision:
        """Calibration scores of the engine in use, and the false-alarm rate that was asked for."""
        engine = self.engine_
        scores = self.calibration_scores_.get(engine.name, self.calibration_scores_["torch"])
        groups = self.splits_["calibrate"].get("groups")
        return Decision(scores, self.false_alarm_rate, groups, self.learnt_from_video_)

    @property
    def learnt_from_video_(self) -> bool:
        """Were the images frames of videos? Then they are called so."""
        return self.clip_length > 1 or bool(self.splits_.get("video"))

    @property
    def engine_(self) -> Engine:
        """What runs the scorer: torch in the precision chosen for this machine, or ONNX Runtime without torch."""
        self.require_fitted()
        if self._engine is None:
            self._engine = self._make_engine("auto")
        return self._engine

    def use_engine(self, name: str) -> Self:
        """Score on `auto`, `torch`, `torch-bfloat16` or `onnxruntime` from here on."""
        self.require_fitted()
        self._engine = self._make_engine(name)
        return self

    def _make_engine(self, name: str) -> Engine:
        check_engine(name)
        if name == "onnxruntime" or (name == "auto" and self._scorer is None):
            from ..engines.onnx_engine import OnnxEngine

            return OnnxEngine(self.graph())
        versions.require("train", f"the engine {name}", "torch")
        from ..engines.torch_engine import TorchEngine, choose_precision
        from ..training.choose import training_device

        assert self._scorer is not None
        try:
            device = training_device(self.device)
        except UsageError:
            device = "auto"  # fitted on another machine
        if name != "auto":
            return TorchEngine(self._scorer, "bfloat16" if name.endswith("bfloat16") else "float32", device)
        if self.precision_choice_["machine"] != versions.machine():
            trial = to_float(self._trial(self.scoring_batch_))
            chosen = choose_precision(self._scorer, trial, self.calibration_scores_["torch"], device)
            self.precision_choice_ = {"machine": versions.machine(), "precision": chosen}
        return TorchEngine(self._scorer, self.precision_choice_["precision"], device)

    def _trial(self, count: int) -> NDArray[Any]:
        """So many inputs of the scorer, made of the reference images."""
        indices = np.arange(count) % len(self._reference)
        if self.clip_length == 1:
            images: NDArray[Any] = self._reference[indices]
            return images
        return Clips(self._reference, np.zeros(len(self._reference), np.int64), self.clip_length, indices)[:]

    @property
    def scoring_batch_(self) -> int:
        """Images scored together: as many as make about four million values, from 1 to 256."""
        return self._scoring_batch(self._input_shape())

    def _scoring_batch(self, shape: tuple[int, ...]) -> int:
        values = int(np.prod(shape))
        if self.patch != "none":
            side, stride = parse_patch(self.patch)
            values *= max(1, side // stride) ** 2
        return max(1, min(256, (4 << 20) // values))

    def score_prepared(self, scorer: nn.Module, images: NDArray[Any] | Clips) -> NDArray[np.float32]:
        """(n,) scores that a scorer of this method, not taken into use, gives to prepared images (n, c, h, w)."""
        from ..engines.torch_engine import TorchEngine

        return self._run_all(TorchEngine(scorer, "float32", self.device), images).scores

    def _run_all(self, engine: Engine, images: NDArray[Any] | Clips) -> Output:
        step = self._scoring_batch(images.shape[1:])
        outputs = [engine.run(to_float(images[begin : begin + step])) for begin in range(0, len(images), step)]
        maps = [output.maps for output in outputs if output.maps is not None]
        return Output(np.concatenate([output.scores for output in outputs]), np.concatenate(maps) if maps else None)

    def require_fitted(self) -> None:
        """Raises `NotFittedError` where neither `fit` nor `amiss.load` came before."""
        if not hasattr(self, "calibration_scores_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted; call fit first, or amiss.load a model file"
            )

    def torch_scorer(self) -> nn.Module:
        """The fitted scorer as a torch module, in float32 on the CPU, for scoring; needs the extra `train`.

        What scores on another device goes on there: this is a copy then.
        """
        self.require_fitted()
        versions.require("train", "the scorer as a torch module", "torch", "safetensors")
        assert self._scorer is not None
        scorer = self._scorer.eval()
        elsewhere = any(value.device.type != "cpu" for value in scorer.state_dict().values())
        return copy.deepcopy(scorer).to("cpu") if elsewhere else scorer

    def reference_images(self) -> NDArray[Any]:
        """(k, c, h, w) prepared normal images that were learnt from, 16 at most, which the model file holds."""
        self.require_fitted()
        return self._reference

    def explain(self, x: Images, with_: str = "occlusion", **settings: Any) -> Explanation:
        """Why one image has its score, and where the reason sits.

        Args:
            x: one image: a path, or an array (h, w), (h, w, 3) or (1, h, w[, c]); where the method sees clips, a video,
                whose last frame is explained. For many, see `amiss.explain.images.explain_collection`.
            with_: residual, difference, lrp, lime, shap, counterfactual or occlusion.
            settings: of the explainer, its seed among them.

        Raises:
            NotFittedError: neither fitted nor loaded.
            UsageError: no such explainer or setting, an explainer that does not suit the method, or several images.
            DataError: the image cannot be read.
            MissingExtraError: the extra `explain` is not installed.
        """
        from ..explain import get_explainer
        from ..explain.images import explain_one

        kind = get_explainer(with_)
        check_settings(kind, settings)
        return explain_one(self, x, kind(**settings))

    # -- keeping -------------------------------------------------------------------------------------------------------

    def graph(self) -> bytes:
        """The scorer as a serialized ONNX graph; made on first use, with its own calibration scores."""
        self.require_fitted()
        if self._graph is None:
            from ..engines.onnx_engine import OnnxEngine
            from ..export.onnx_graph import export_onnx

            assert self._scorer is not None
            assert self._calibration_images is not None
            self._graph = export_onnx(self._scorer, self._input_shape())
            scores = self._run_all(OnnxEngine(self._graph), self._calibration_images).scores
            self.calibration_scores_["onnxruntime"] = np.sort(scores)
            if self._engine is not None and self._engine.name.startswith("torch"):
                self._engine = self._make_engine("auto")  # exporting moved the scorer to the CPU
        return self._graph

    def save(self, path: str | Path) -> Path:
        """Write a model file (see `amiss.load`), whole or not at all; returns its path."""
        from ..model_file import save

        return save(self, Path(path))


def _without_copies(indices: NDArray[np.int64], digests: Sequence[str]) -> NDArray[np.int64]:
    """The first of every set of equal images: copies would count as evidence that they are not."""
    _, first = np.unique([digests[index] for index in indices], return_index=True)
    return indices[np.sort(first)]


def digest_of(digests: Sequence[str]) -> str:
    """One digest for a set of images, whatever their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


__all__ = ["Detector", "Images", "MapScale", "Scores", "digest_of"]
