"""Model files: a zip of a manifest (JSON), weights (safetensors), a scoring graph (ONNX) and a few reference images."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from pydantic import ValidationError

from . import versions
from .data.preprocessing import Preprocessing
from .detectors import get_method, method_name, method_names
from .detectors.base import Detector, MapScale
from .engines import check_engine
from .errors import AmissError, ModelFileError
from .files import atomic_write
from .manifest import FORMAT_VERSION, Manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAPH, _WEIGHTS, _REFERENCE, _MANIFEST = "graphs/score.onnx", "weights.safetensors", "reference.npz", "manifest.json"
#: The backbone alone, for torch; the scoring graph holds it too.
_BACKBONE = "graphs/backbone.onnx"
#: No honest part of a model is larger; a zip can claim to unpack to anything.
_LARGEST_PART = 2 << 30
#: An honest manifest of a million images has 20 MB.
_LARGEST_MANIFEST = 64 << 20
_LONGEST_REASON = 300


def save(detector: Detector, path: Path) -> Path:
    """Write a fitted detector to `path`, whole or not at all.

    Raises:
        NotFittedError: nothing has been learnt yet.
        WriteError: the folder does not exist or cannot be written.
    """
    graph = detector.graph()
    parts = {_WEIGHTS: _weights(detector), _GRAPH: graph, _REFERENCE: _reference(detector)}
    if detector.backbone_graph_ is not None:
        parts[_BACKBONE] = detector.backbone_graph_
    manifest = _manifest(detector) | {
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        "graphs": [name for name in (_GRAPH, _BACKBONE) if name in parts],
    }
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def load(path: str | Path, engine: str = "auto") -> Detector:
    """A fitted detector from a model file; runs no code from it.

    Args:
        path: of the `.amiss` file.
        engine: `auto` (torch where installed, else ONNX Runtime), `torch`, `torch-bfloat16` or `onnxruntime`.

    Raises:
        ModelFileError: the file is missing, cut, tampered with, of another kind, or newer than this amiss.
        UsageError: there is no such engine.
        MissingExtraError: the engine is torch, and torch is not installed.
    """
    check_engine(engine)
    path = Path(path)
    with _opened(path) as archive:
        manifest = _read_manifest(archive, path)
        names = [_WEIGHTS, _GRAPH, _REFERENCE, *([_BACKBONE] if _BACKBONE in manifest.graphs else [])]
        parts = {name: _read_part(archive, name, manifest, path) for name in names}
    try:
        detector = _restore(manifest, parts)
        return detector if engine == "auto" else detector.use_engine(engine)
    except ImportError:
        raise  # a library is missing or broken: the file is not to blame
    except AmissError as error:
        _refuse(path, str(error), error)
    except Exception as error:  # every part is whole, but they do not belong together
        _refuse(path, f"its parts do not fit together ({type(error).__name__}: {error})", error)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest alone, as `amiss info` shows it. Raises `ModelFileError` like `load`."""
    with _opened(Path(path)) as archive:
        return _read_manifest(archive, Path(path)).model_dump()


def _weights(detector: Detector) -> bytes:
    if detector._scorer is None:
        return detector._weights
    from safetensors.torch import save as save_tensors

    state = detector._scorer.state_dict()
    content: bytes = save_tensors({name: value.detach().cpu().contiguous() for name, value in state.items()})
    return content


def _reference(detector: Detector) -> bytes:
    images = detector._reference
    if images.dtype != np.uint8:
        images = np.rint(images * 255).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, normal=images)
    return buffer.getvalue()


def _manifest(detector: Detector) -> dict[str, Any]:
    scale = detector.map_scale_
    return {
        "format": "amiss model",
        "format_version": FORMAT_VERSION,
        "method": method_name(detector),
        "settings": detector.get_params() | {"features": Path(detector.features).name},
        "preprocessing": detector.preprocessing_.to_dict(),
        "splits": detector.splits_,
        "calibration": {name: [float(s) for s in scores] for name, scores in detector.calibration_scores_.items()},
        "false_alarm_rate": detector.false_alarm_rate,
        "map_scale": None if scale is None else asdict(scale),
        "precision_choice": detector.precision_choice_,
        "training": detector.training_,
        "lessons": detector.lessons_,
        "notes": detector.notes_,
        "fitted_on": detector.fitted_on_,
        "versions": detector.fitted_with_,
    }


def _restore(manifest: Manifest, parts: dict[str, bytes]) -> Detector:
    if manifest.method not in method_names():
        raise ModelFileError(
            f"it holds the method {manifest.method!r}, and this amiss knows only {', '.join(method_names())}"
        )
    detector = get_method(manifest.method)().set_params(**manifest.settings)
    if detector.false_alarm_rate != manifest.false_alarm_rate:
        raise ModelFileError("its false-alarm rate and its settings differ")
    if "torch" not in manifest.calibration:
        raise ModelFileError("it holds no float32 calibration scores")
    shape, scale = manifest.preprocessing, manifest.map_scale
    if (scale is None) == detector.gives_map:
        raise ModelFileError(f"its map scale does not suit the method {manifest.method}")
    detector.preprocessing_ = Preprocessing(shape.colour, shape.height, shape.width, shape.aspect)
    detector.calibration_scores_ = {
        name: np.sort(np.array(scores, dtype=np.float32)) for name, scores in manifest.calibration.items()
    }
    detector.map_scale_ = None if scale is None else MapScale(scale.floor, scale.threshold)
    detector.precision_choice_ = manifest.precision_choice.model_dump()
    detector.splits_, detector.training_ = manifest.splits.model_dump(exclude_none=True), manifest.training.model_dump()
    detector.lessons_ = [lesson.model_dump() for lesson in manifest.lessons]
    detector.notes_, detector.fitted_on_ = list(manifest.notes), manifest.fitted_on
    detector.fitted_with_ = dict(manifest.versions)
    detector._graph, detector._weights = parts[_GRAPH], parts[_WEIGHTS]
    detector.backbone_graph_ = parts.get(_BACKBONE)
    if (detector.backbone_graph_ is None) != (detector.features == "none"):
        raise ModelFileError("its settings and its backbone do not fit together")
    detector._engine, detector._calibration_images = None, None
    detector._reference = _load_reference(parts[_REFERENCE], detector.preprocessing_.shape)
    detector._scorer = _load_scorer(detector, parts[_WEIGHTS]) if versions.have("torch", "safetensors") else None
    return detector


def _load_scorer(detector: Detector, weights: bytes) -> Any:
    from safetensors.torch import load as load_tensors

    scorer = detector.scorer_for(detector.preprocessing_.shape)
    scorer.load_state_dict(load_tensors(weights))
    return scorer.eval()


def _load_reference(content: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["normal"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise ModelFileError(f"its reference images are {images.dtype} {images.shape}, not uint8 (n, {shape})")
    return images


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if path.is_dir():
            _refuse(path, "it is a folder")
        archive = zipfile.ZipFile(path)
    except ModelFileError:
        raise
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file {path}; fit one with: amiss fit NORMAL --out {path}") from error
    except OSError as error:
        _refuse(path, error.strerror or str(error), error)
    except Exception as error:  # zipfile meets damaged directories with errors of many kinds
        _refuse(path, "it is no zip, or it was cut short", error)
    with archive:
        yield archive


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    if _MANIFEST not in archive.namelist():
        _refuse(path, "it holds no manifest.json, so amiss did not write it")
    content = _read_limited(archive, _MANIFEST, path, _LARGEST_MANIFEST)
    try:
        head = json.loads(content)
    except (ValueError, RecursionError) as error:
        _refuse(path, "its manifest.json is damaged", error)
    if not isinstance(head, dict) or head.get("format") != "amiss model":
        _refuse(path, "its manifest.json is not one of amiss")
    version = head.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {version}, and this amiss reads up to {FORMAT_VERSION}; upgrade amiss"
        )
    try:
        return Manifest.model_validate(head)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        _refuse(path, f"{where} in its manifest.json is wrong ({first['msg']})", error)


def _read_part(archive: zipfile.ZipFile, name: str, manifest: Manifest, path: Path) -> bytes:
    if name not in archive.namelist():
        _refuse(path, f"its part {name} is missing")
    content = _read_limited(archive, name, path, _LARGEST_PART)
    if hashlib.sha256(content).hexdigest() != manifest.sha256.get(name):
        _refuse(path, f"its part {name} is not what was written (its SHA-256 differs)")
    return content


def _read_limited(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> bytes:
    if archive.getinfo(name).file_size > limit:
        _refuse(path, f"its part {name} claims to be larger than {limit >> 20} MiB")
    try:
        return archive.read(name)
    except Exception as error:  # BadZipFile, EOFError, zlib.error, LZMAError: each decompressor has its own
        _refuse(path, f"its part {name} is damaged", error)


def _refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    sentence = " ".join(reason.split())[:_LONGEST_REASON]  # torch lists every key on a line of its own
    raise ModelFileError(f"{path} is no usable model file: {sentence}; fetch or fit it again") from cause
