"""What every method shares before it is fitted: settings, and how its scorer is built and trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from .. import networks
from ..errors import UsageError
from ..model.facts import MethodFacts
from ..settings import (
    OptionalWord,
    Patches,
    Settable,
    Size,
    Words,
    as_text,
    check_settings,
    set_values,
    setting,
    settings_before,
    values_of,
)

if TYPE_CHECKING:
    from torch import nn

    from ..training.stage import Computation, Stage
    from .context import FitContext, Trained

#: The value of `features` that leaves the choice to the method, and what it then is.
AUTO, _CHOSEN = "auto", "efficientnet_lite0"

#: With more normal images, a fifth of them sets the threshold as well as all would.
_MOST_CROSSED = 500

Scorer = TypeVar("Scorer", bound="nn.Module")
Shape = tuple[int, int, int]


@dataclass(kw_only=True, eq=False)
class Recipe(Generic[Scorer], metaclass=Settable):
    """Settings that every method has, and how a scorer comes from them.

    A method adds its own settings, `build` and `stages`, and declares what is true of it. Around what it builds come,
    where they are asked for, patches of images, or a backbone.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    family: ClassVar[str] = ""
    needs: ClassVar[str] = "normal images"
    good_for: ClassVar[str] = ""
    #: Does the scorer answer for every location of the image?
    has_map: ClassVar[bool] = False
    #: Does it take a backbone as a part (see `build`)? Others work on feature maps as if they were images.
    takes_backbone: ClassVar[bool] = False
    #: Is it trained in epochs, or fitted in one step?
    has_epochs: ClassVar[bool] = True
    #: Do normal images change the scorer, or do they calibrate it alone?
    learns: ClassVar[bool] = True
    #: Common checks (`amiss.testing`) that do not apply to the method, with the reason.
    excused_checks: ClassVar[dict[str, str]] = {}

    seed: int = setting(0, "same seed, same data, same machine: same scores", low=0, high=2**32 - 1)
    size: tuple[int, int] | str = setting(
        "auto",
        "input size: HxW in pixels, native, or auto (about 128x128; 256x256 for pretrained features)",
        kind=Size(),
    )
    aspect: str = setting(
        "stretch",
        "of images of other shapes: stretch, or keep it and fill up with their mirror image",
        choices=("stretch", "keep"),
    )
    region: tuple[str, ...] = setting(
        (),
        "where to look, alike in all images: a box X,Y,WIDTH,HEIGHT, a polygon 'X,Y X,Y X,Y' (pixels, or shares of "
        "width and height where no number is above 1), or a mask, a picture that is white there; several with "
        "semicolons between; or none, everywhere",
        kind=Words(divider=";"),
    )
    ignore: tuple[str, ...] = setting((), "where not to look, written like region; or none", kind=Words(divider=";"))
    epochs: int = setting(10, "most passes through the training images", low=1)
    batch_size: int = setting(64, "normal images in each training step", low=2)
    learning_rate: float = setting(1e-3, "of the optimizer", low=0.0)
    false_alarm_rate: float = setting(0.01, "share of normal images that may be flagged", low=1e-6, high=0.5)
    features: str | None = setting(
        None,
        "work on the feature maps of a backbone: efficientnet_lite0, 1 or 2 (ImageNet weights, Apache-2.0), auto "
        "(the first of them), a local ONNX file; or none",
        kind=OptionalWord(),
    )
    patch: tuple[int, int] | None = setting(
        None, "score overlapping patches: none, SIZE or SIZE:STRIDE in pixels", kind=Patches()
    )
    foreground: float = setting(
        0.0,
        "of video of a still camera: learn from and score only patches with this share of pixels that differ from the "
        "background",
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
    calibration: str = setting(
        "auto",
        "which normal images set the threshold: split (a fifth of them, which nothing is learnt from), cross (all, "
        "each scored by a fit that has not seen it), or auto: cross where a fit takes seconds and images are few",
        choices=("auto", "split", "cross"),
        formerly="calibrate",
        renamed=MappingProxyType({"held_out": "split"}),
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting("auto", "of training", choices=("auto", "float32", "bfloat16"))

    # -- each method's own ---------------------------------------------------------------------------------------------

    def build(self, shape: Shape, backbone: networks.backbone.Features | None = None) -> Scorer:
        """The untrained scorer; each method's own.

        Args:
            shape: (c, h, w) of what it is asked to score: prepared images, patches of them, or feature maps.
            backbone: for methods that take it as a part. What is built then stands behind it: it is given scaled
                feature maps (n, d, h', w') of `backbone.shape`, and the image too where it has a true `sees_image`.
        """
        raise NotImplementedError

    def stages(self, scorer: Scorer) -> Sequence[Stage | Computation]:
        """How what `build` made is trained; each method's own."""
        raise NotImplementedError

    def finish(self, scorer: nn.Module) -> nn.Module:
        """The trained scorer as it is saved: the same, unless a method rewrites it (fused kernels)."""
        return scorer

    def train(self, context: FitContext) -> Trained:
        """Train a new scorer; the calibration part is not looked at. A detector knows how; a panel trains its members.

        Raises:
            TrainingError: a loss that is not finite.
        """
        raise NotImplementedError

    def train_across(self, context: FitContext) -> Trained:
        """Train on all images, and calibrate by fits on the others of each fold. A detector knows how.

        Raises:
            TrainingError: as `train`.
        """
        raise NotImplementedError

    def learns_from_anomalies(self) -> bool:
        """Can `fit` use labelled anomalies?"""
        return False

    def check(self) -> None:
        """Raises `UsageError` for settings that cannot be meant; methods add what only they know."""
        check_settings(type(self), self.get_params())
        if self.patch is not None and self.backbone is not None:
            raise UsageError("features see every location already; set patch=none")
        if (self.region or self.ignore) and self.aspect == "keep":
            raise UsageError("region and ignore say where in all images to look, which aspect=keep moves; set stretch")
        if self.calibration == "cross" and not self.fits_in_seconds():
            raise UsageError(
                f"{type(self).__name__} is not fitted in seconds, as every fold needs; set calibration=split"
            )
        if self.patch is None and self.foreground:
            raise UsageError("foreground chooses among patches; set patch=SIZE too")
        if self.clip_length > 1 and not self.sees_whole_images:
            raise UsageError(f"{type(self).__name__} sees clips as they are; set patch=none and features=none")

    @classmethod
    def effort_settings(cls, effort: str) -> dict[str, Any]:
        """What is set for an effort, where a method has several. Raises `UsageError` for one that it has not."""
        raise UsageError(f"{cls.__name__} is fitted in one way; leave out the effort {effort!r}")

    @classmethod
    def quick_settings(cls) -> dict[str, Any]:
        """Settings of a fit of seconds, which shows how a method behaves and not how well it does."""
        return {}

    def shortest_settings(self) -> dict[str, Any]:
        """Settings of the shortest fit there is, which shows that things work, and learns next to nothing."""
        return {"epochs": 1}

    @classmethod
    def varied_settings(cls, vary: tuple[str, ...]) -> dict[str, Any]:
        """What is set where normal images are known to vary: rotate, shift, flip, light."""
        return {}

    # -- what follows from the settings --------------------------------------------------------------------------------

    def fits_in_seconds(self) -> bool:
        """Is it fitted in one step, so that it can be fitted on every fold of a cross-calibration?"""
        return self.learns and not self.has_epochs and self.clip_length == 1 and self.patch is None

    def cross_calibrates(self, images: int) -> bool:
        """Does each of so many normal images both train and calibrate, by a fit on the others?"""
        if self.calibration == "auto":
            return self.fits_in_seconds() and images <= _MOST_CROSSED
        return self.calibration == "cross"

    def wanted_features(self) -> frozenset[str]:
        """What is taken of a backbone with ImageNet weights: `local` features of small places, those of the `whole`
        image, or both."""
        return frozenset({"local"})

    @property
    def gives_map(self) -> bool:
        """Does the scorer answer for every location of the image? With patches, every method's does."""
        return self.has_map or self.patch is not None

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
        return self.patch is None and self.backbone is None

    @property
    def backbone(self) -> str | None:
        """Name or file of the backbone. With `features=auto` there is none where patches are scored."""
        if self.features != AUTO:
            return self.features
        return _CHOSEN if self.patch is None else None

    def facts(self) -> MethodFacts:
        """What a fitted model keeps of its method."""
        return MethodFacts(
            name=type(self).__module__.rpartition(".")[2],
            label=type(self).__name__,
            title=self.title,
            paper=self.paper,
            gives_map=self.gives_map,
            clip_length=self.clip_length,
            sees_whole_images=self.sees_whole_images,
            patch=self.patch,
            features=self.backbone,
        )

    # -- the whole scorer ----------------------------------------------------------------------------------------------

    def head(self, shape: Shape, backbone: networks.backbone.Features | None = None) -> nn.Module:
        """The untrained scorer, or what stands behind the backbone, of the structure in which a trained one is saved.

        Args:
            shape: (c, h, w) of the prepared images.
            backbone: where there is one.
        """
        return self.over_patches(self.finish(self.build(*self.built_for(shape, backbone))), shape)

    def built_for(
        self, shape: Shape, backbone: networks.backbone.Features | None
    ) -> tuple[Shape, networks.backbone.Features | None]:
        """What `build` is called with for prepared images of `shape`; a backbone and patches exclude each other."""
        if backbone is not None:
            return (shape, backbone) if self.takes_backbone else (backbone.shape, None)
        return (shape if self.patch is None else (shape[0], self.patch[0], self.patch[0])), None

    def over_patches(self, inner: nn.Module, shape: Shape) -> nn.Module:
        """A scorer of whole images (c, h, w), from one of patches where patches are scored."""
        if self.patch is None:
            return inner
        top = self.patch_top if self.patch_score != "max" else 1
        return networks.patch_scorer.PatchScorer(inner, shape, *self.patch, top, self.foreground)

    # -- scikit-learn's conventions ------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as the constructor takes them."""
        return values_of(self)

    def set_params(self, **settings: Any) -> Self:
        """Change settings by name. Raises `UsageError` for an unknown one."""
        set_values(self, settings)
        return self

    def settings_as_text(self) -> dict[str, Any]:
        """The settings by name, as model files hold them."""
        return as_text(type(self), self.get_params())

    @classmethod
    def completed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a file as text, with what it means where an earlier version wrote it, and did not name them."""
        return as_text(cls, settings_before(cls)) | dict(settings)


def with_backbone(head: nn.Module, backbone: networks.backbone.Features | None, shape: Shape) -> nn.Module:
    """The scorer of prepared images (c, h, w): the head itself, or the backbone with the head behind it."""
    return head if backbone is None else networks.backbone.BackboneScorer(backbone, head, shape[1:])
