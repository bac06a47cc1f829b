"""A fitted model from its file."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import networks
from ..calibration import MapScale
from ..data.appearance import UsualAppearance
from ..data.preprocessing import Preprocessing
from ..data.region_of_interest import RegionOfInterest
from ..engines import check_engine
from ..environment import versions
from ..errors import AmissError, ModelFileError
from ..lazy import torch
from ..model import archive
from ..model.calibrated import Calibration
from ..model.fitted import FittedModel
from ..model.manifest import Manifest
from ..recipe.recipe import with_backbone
from . import get_method, method_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..detectors.detector import Detector

#: More reference images than amiss ever wrote; and bytes that tell of an array before its values.
_MOST_REFERENCES, _HEAD = 64, 4096


def load(path: str | Path, engine: str = "auto", *, without_torch: bool = False) -> FittedModel:
    """A fitted model from a model file; runs no code from it.

    Args:
        path: of the `.amiss` file.
        engine: `auto` (torch where installed, else ONNX Runtime), `torch`, `torch-bfloat16` or `onnxruntime`.
        without_torch: leave torch alone where it is installed, too. The model is there in a moment, and scores by its
            graph; it is not taught, and not explained by what looks into the network.

    Raises:
        ModelFileError: the file is missing, cut, tampered with, of another kind, or newer than this amiss.
        UsageError: there is no such engine.
        MissingExtraError: the engine is torch, and torch is not installed.
    """
    check_engine(engine)
    path = Path(path)
    manifest, parts = archive.read_archive(path)
    try:
        model = _restored(manifest, parts, engine, without_torch)
        return model if engine == "auto" else model.on(engine)
    except ImportError:
        raise  # a library is missing or broken: the file is not to blame
    except AmissError as error:
        archive.refuse(path, str(error), error)
    except Exception as error:  # every part is whole, but they do not belong together
        archive.refuse(path, f"its parts do not fit together ({type(error).__name__}: {error})", error)


def _restored(manifest: Manifest, parts: dict[str, bytes], engine: str, without_torch: bool) -> FittedModel:
    detector = _detector(manifest)
    facts, shape = detector.facts(), manifest.preprocessing
    if "torch" not in manifest.calibration:
        raise ModelFileError("it holds no float32 calibration scores")
    scale = manifest.map_scale
    if (scale is None) == facts.gives_map:
        raise ModelFileError(f"its map scale does not suit the method {manifest.method}")
    backbone = parts.get(archive.BACKBONE)
    if (backbone is None) != (detector.backbone is None):
        raise ModelFileError("its settings and its backbone do not fit together")
    roi = None if shape.roi is None else RegionOfInterest(**shape.roi.model_dump() | {"runs": tuple(shape.roi.runs)})
    preprocessing = Preprocessing(shape.colour, shape.height, shape.width, shape.aspect, roi)
    scores = {name: np.array(each, dtype=np.float32) for name, each in manifest.calibration.items()}
    groups = manifest.splits.calibrate.group_names
    if groups is not None and any(len(each) != len(groups) for each in scores.values()):
        raise ModelFileError("its calibration scores are not as many as their groups")
    weights = parts[archive.WEIGHTS]
    torch_scorer = None
    if not without_torch and versions.have("torch", "safetensors"):
        try:
            torch_scorer = _scorer(detector, weights, backbone, preprocessing.shape)
        except RuntimeError as error:  # the state does not fit
            if engine != "onnxruntime":
                raise ModelFileError(
                    f"its weights are of an earlier form of {manifest.method}; fit again, or use --engine onnxruntime"
                ) from error
    return FittedModel(
        method=facts,
        settings=detector.settings_as_text(),
        preprocessing=preprocessing,
        calibration=Calibration(
            scores, None if scale is None else MapScale(scale.floor, scale.threshold), manifest.precision_choice
        ),
        false_alarm_rate=manifest.false_alarm_rate,
        record=manifest.record(),
        reference=_reference(parts[archive.REFERENCE], preprocessing.shape),
        usual=None if manifest.appearance is None else UsualAppearance(**manifest.appearance.model_dump()),
        scorer=torch_scorer,
        weights=weights,
        graph=parts[archive.GRAPH],
        backbone=backbone,
        device=detector.device,
    )


def _detector(manifest: Manifest) -> Detector[Any]:
    if manifest.method not in method_names():
        raise ModelFileError(
            f"it holds the method {manifest.method!r}, and this amiss knows only {', '.join(method_names())}"
        )
    method = get_method(manifest.method)
    detector = method().set_params(**method.completed(manifest.settings))
    if detector.false_alarm_rate != manifest.false_alarm_rate:
        raise ModelFileError("its false-alarm rate and its settings differ")
    return detector


def _scorer(
    detector: Detector[Any], weights: bytes, graph: bytes | None, shape: tuple[int, int, int]
) -> torch.nn.Module:
    from safetensors.torch import load as load_tensors  # of the extra `train`

    features = None
    if graph is not None:
        backbone = networks.backbone.Backbone(graph, Path(detector.backbone or "").name)
        features = networks.backbone.Features(backbone, shape)
    scorer = with_backbone(detector.head(shape, features), features, shape)
    scorer.load_state_dict(load_tensors(weights))
    return scorer.eval()


def _reference(content: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # such a file is a zip, and may be a bomb
        if sum(part.file_size for part in archive.infolist()) > _MOST_REFERENCES * math.prod(shape) + _HEAD:
            raise ModelFileError("its reference images claim to be more, or larger, than amiss keeps")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["normal"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise ModelFileError(f"its reference images are {images.dtype} {images.shape}, not uint8 (n, {shape})")
    return images
