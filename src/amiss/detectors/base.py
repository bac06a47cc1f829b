"""What every detector shares: fit, score, decide, save. A method adds its settings, its scorer and its stages."""

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
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .. import versions
from ..calibration import Decision
from ..data import Collection, open_images
from ..data.clips import Clips, blocks, runs, training_clips, video_of
from ..data.patches import cut_patches, foreground_patches, parse_patch
from ..data.preprocessing import Preprocessing, infer_preprocessing, parse_size, to_float
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
from .settings import Settable, check_settings, setting, settings_of

if TYPE_CHECKING:
    from torch import nn

    from ..explain.explanation import Explanation
    from ..networks.backbone import Features
    from ..scoring import Row
    from ..training.loop import TrainingData
    from ..training.stage import Computation, Stage

#: What `fit` and `score` take: a path, glob or known set, several of them, an array (n, h, w[, c]), or a collection.
Images = str | Path | Sequence[str | Path] | NDArray[Any] | Collection

_REFERENCES = 16
#: So many images tell colour and size; with size=native all must share one, so all are looked at.
_SAMPLES = 64
#: Images that tell the scale of a backbone's features, and images that it sees at once.
_SCALED_BY, _SEEN_TOGETHER = 256, 32
#: Clips that choose the epoch; many more tell no more.
_STOP_CLIPS = 256
#: Saving needs the last three; they must not be missed after hours of training.
_LEARNERS = "try the method adnl, or an autoencoder with negative=bounded"
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


@dataclass(frozen=True)
class Trained:
    """What training gives: a scorer of whole images, a record of its stages, and what looked wrong."""

    scorer: nn.Module
    record: dict[str, Any]
    warnings: list[str]


@dataclass(kw_only=True, eq=False)
class Detector(metaclass=Settable):
    """A visual anomaly detector; see the methods for what each learns.

    Constructors only store; `fit` checks. What fitting learns ends in an underscore: `preprocessing_`,
    `calibration_scores_` (by engine, sorted), `map_scale_`, `splits_`, `training_`, `notes_`.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    family: ClassVar[str] = ""
    needs: ClassVar[str] = "normal images"
    good_for: ClassVar[str] = ""
    #: Does the scorer answer for every place of the image?
    has_map: ClassVar[bool] = False
    #: Does it create anomalies in images, and so take images to train on also where it works on features?
    trains_on_images: ClassVar[bool] = False
    #: Common checks (`amiss.testing`) that do not apply to the method, with the reason.
    excused_checks: ClassVar[dict[str, str]] = {}

    seed: int = setting(0, "same seed, same data, same machine: same scores", low=0, high=2**32 - 1)
    size: str = setting("auto", "input size: HxW in pixels, native, or auto (up to about 128x128)")
    aspect: str = setting(
        "stretch",
        "of images of other shapes: stretch, or keep it and fill up with their mirror image",
        choices=("stretch", "keep"),
    )
    epochs: int = setting(10, "most passes through the training images", low=1)
    batch_size: int = setting(64, "normal images in each training step", low=2)
    learning_rate: float = setting(1e-3, "of the optimizer", low=0.0)
    false_alarm_rate: float = setting(0.01, "share of normal images that may be flagged", low=1e-6, high=0.5)
    features: str = setting("none", "work on the feature maps of a local backbone, an ONNX file; or none")
    patch: str = setting("none", "score overlapping patches: none, SIZE or SIZE:STRIDE in pixels")
    foreground: float = setting(
        0.0,
        "of video: learn only from patches with this share of pixels that differ from the background",
        low=0.0,
        high=1.0,
    )
    patch_score: str = setting("max", "an image's score from its patches'", choices=("max", "top_mean"))
    patch_top: int = setting(5, "patches that top_mean averages, the highest ones", low=1)
    discard: float = setting(
        0.0,
        "share of the training images, the strangest, that are left out first: for impure normals",
        low=0.0,
        high=0.5,
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting("auto", "of training", choices=("auto", "float32", "bfloat16"))

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        """The untrained scorer for prepared images of `shape` (c, h, w); each method's own."""
        raise NotImplementedError

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        """How what `build` made is trained; each method's own."""
        raise NotImplementedError

    def finish(self, scorer: Any) -> nn.Module:
        """The trained scorer as it is saved: the same, unless a method rewrites it (fused kernels)."""
        finished: nn.Module = scorer
        return finished

    def learns_from_anomalies(self) -> bool:
        """Can `fit` use labelled anomalies?"""
        return False

    @property
    def gives_map(self) -> bool:
        """Does the scorer answer for every place of the image? With patches, every method's does."""
        return self.has_map or self.patch != "none"

    @property
    def clip_length(self) -> int:
        """Frames of a video that are scored together, the last of them being the one in question; 1 for images."""
        return 1

    def training_length(self) -> int:
        """Frames of the clips that training sees; more than are scored, where it chooses among them."""
        return self.clip_length

    def clip_strides(self) -> Sequence[int]:
        """Frames from one of a clip to the next, in training; scoring takes every frame."""
        return (1,)

    @property
    def sees_whole_images(self) -> bool:
        """Is the scorer asked about images as they are, and neither about patches nor about features?"""
        return self.patch == "none" and self.features == "none"

    def check(self) -> None:
        """Raises `UsageError` for settings that cannot be meant; methods add what only they know."""
        check_settings(type(self), self.get_params())
        if self.size not in ("auto", "native"):
            parse_size(self.size)
        if self.patch != "none":
            parse_patch(self.patch)
            if self.features != "none":
                raise UsageError("features see every place already; set patch=none")
        elif self.foreground:
            raise UsageError("foreground chooses among patches; set patch=SIZE too")
        if self.clip_length > 1 and (self.patch != "none" or self.features != "none"):
            raise UsageError(f"{type(self).__name__} sees clips as they are; set patch=none and features=none")

    # -- scikit-learn's conventions ------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as the constructor takes them."""
        return {name: getattr(self, item.name) for name, item in settings_of(type(self)).items()}

    def set_params(self, **settings: Any) -> Self:
        """Change settings by name. Raises `UsageError` for an unknown one."""
        check_settings(type(self), settings)
        known = settings_of(type(self))
        for name, value in settings.items():
            setattr(self, known[name].name, value)
        return self

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
        self.backbone_graph_: bytes | None = self._read_backbone()
        self.features_ = self._settled_features(preprocessing.shape, stack.images[splits.train])
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

    def _train(
        self,
        preprocessing: Preprocessing,
        stack: Stack,
        splits: Splits,
        labelled: Labelled,
        work_dir: Path | None,
        resume: bool,
        progress: Progress,
    ) -> Trained:
        """A trained scorer; `features_` is there already, and the calibration part is not looked at."""
        import torch

        from ..training.choose import training_device, training_precision
        from ..training.loop import RunSettings, run_stages

        data = self._training_data(stack, splits, labelled)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            inner = self.build(self._inner_shape(preprocessing.shape))
            stages = self.stages(inner)
        device = training_device(self.device)
        precision = training_precision(self.precision, device, inner)
        run = RunSettings(self.seed, self.batch_size, device, precision, work_dir, resume, progress)
        outcome = run_stages(inner, stages, data, run)
        record = {"device": device, "precision": precision, "stages": outcome.records}
        return Trained(self._whole(self.finish(inner), preprocessing.shape), record, outcome.warnings)

    def _read_backbone(self) -> bytes | None:
        if self.features == "none":
            return None
        from ..networks.backbone import Backbone

        return Backbone.read(self.features).graph

    def _settled_features(self, shape: tuple[int, int, int], images: NDArray[Any]) -> Features | None:
        features = self._make_features(shape)
        if features is None:
            return None
        import torch

        with torch.no_grad():
            some = to_float(images[:: max(1, len(images) // _SCALED_BY)])
            features.settle(torch.split(torch.from_numpy(some), _SEEN_TOGETHER))
        return features

    def _make_features(self, shape: tuple[int, int, int]) -> Features | None:
        if self.features == "none":
            return None
        from ..networks.backbone import Backbone, Features

        assert self.backbone_graph_ is not None
        return Features(Backbone(self.backbone_graph_, Path(self.features).name), shape)

    def _training_data(self, stack: Stack, splits: Splits, labelled: Labelled) -> TrainingData:
        from ..training.loop import TrainingData

        anomalies, validation = labelled.anomalies, labelled.validation
        if self.clip_length > 1:
            assert stack.firsts is not None
            frames = (stack.images, stack.firsts)
            return TrainingData(
                training_clips(*frames, splits.train, self.training_length(), self.clip_strides()),
                training_clips(*frames, splits.stop, self.training_length(), most=_STOP_CLIPS),
            )
        train, stop = stack.images[splits.train], stack.images[splits.stop]
        if self.patch != "none":
            if anomalies is not None or validation is not None:
                raise UsageError("patches of labelled anomalies are mostly normal; set patch=none to use anomalies")
            train, stop = (self._patches(stack, part) for part in (splits.train, splits.stop))
        elif self.features_ is not None and not self.trains_on_images:
            train, stop = self._seen(train), self._seen(stop)
            anomalies = None if anomalies is None else self._seen(anomalies)
            validation = None if validation is None else (self._seen(validation[0]), validation[1])
        return TrainingData(train, stop, anomalies, validation, labelled.masks)

    def _patches(self, stack: Stack, indices: NDArray[np.int64]) -> NDArray[Any]:
        images, size = stack.images[indices], parse_patch(self.patch)
        if not self.foreground:
            return cut_patches(images, *size, self.seed)
        if stack.firsts is None:
            raise UsageError("foreground is what differs from frame to frame: it needs video; set foreground=0")
        chosen = foreground_patches(images, stack.firsts[indices], *size, self.foreground)
        return cut_patches(images, *size, self.seed, chosen)

    def _seen(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared images as the backbone sees them, (n, d, h', w') features."""
        import torch

        assert self.features_ is not None
        with torch.no_grad():
            parts = [
                self.features_(torch.from_numpy(to_float(images[begin : begin + _SEEN_TOGETHER]))).numpy()
                for begin in range(0, len(images), _SEEN_TOGETHER)
            ]
        return np.concatenate(parts)

    def scorer_for(self, shape: tuple[int, int, int]) -> nn.Module:
        """The untrained scorer for prepared images (c, h, w), of the structure in which a trained one is saved."""
        self.features_ = self._make_features(shape)
        return self._whole(self.finish(self.build(self._inner_shape(shape))), shape)

    def _inner_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Of what `build` is asked to score: images, features of them, or patches of them."""
        return self._patch_shape(shape if self.features_ is None else self.features_.shape)

    def _patch_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if self.patch == "none":
            return shape
        side, _ = parse_patch(self.patch)
        return shape[0], side, side

    def _whole(self, inner: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
        if self.features_ is None:
            return self._over_patches(inner, shape)
        from ..networks.backbone import OnFeatures

        return OnFeatures(self.features_, inner, shape[1:])

    def _over_patches(self, inner: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
        if self.patch == "none":
            return inner
        from ..networks.patches import PatchScorer

        return PatchScorer(inner, shape, *parse_patch(self.patch), self.patch_top if self.patch_score != "max" else 1)

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
