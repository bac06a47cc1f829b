"""What a method is: its settings, its scorer, and how that is trained. What a fitted one does: see `base`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..data.clips import training_clips
from ..data.patches import cut_patches, foreground_patches, parse_patch
from ..data.preprocessing import Preprocessing, parse_size, to_float
from ..data.splits import Splits
from ..data.stack import Stack
from ..errors import UsageError
from ..progress import Progress
from .labelled import Labelled
from .settings import Settable, check_settings, setting, settings_of

if TYPE_CHECKING:
    from torch import nn

    from ..networks.backbone import Features
    from ..training.loop import TrainingData
    from ..training.stage import Computation, Stage

#: Images that tell the scale of a backbone's features, and images that it sees at once.
_SCALED_BY, _SEEN_TOGETHER = 256, 32
#: Clips that choose the epoch; many more tell no more.
_STOP_CLIPS = 256


@dataclass(frozen=True)
class Trained:
    """What training gives: a scorer of whole images, a record of its stages, and what looked wrong."""

    scorer: nn.Module
    record: dict[str, Any]
    warnings: list[str]


@dataclass(kw_only=True, eq=False)
class Method(metaclass=Settable):
    """Settings that every method has, and the way from images to a trained scorer.

    A method adds its own settings, `build` and `stages`. Around what it builds come, where they are asked for, patches
    of images, or the features of a backbone.
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

    # -- training ------------------------------------------------------------------------------------------------------

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

    def _settle_backbone(self, shape: tuple[int, int, int], images: NDArray[Any]) -> None:
        """Read the backbone, if there is one, and take the scale of its features from prepared normal images."""
        self.backbone_graph_: bytes | None = self._read_backbone()
        self.features_: Features | None = self._settled_features(shape, images)

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
