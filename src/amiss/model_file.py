"""Model files: a zip of a manifest (JSON), weights (safetensors), a scoring graph (ONNX) and a few reference images."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np

from . import versions
from .data.preprocessing import Preprocessing
from .detectors import get_method, method_name, method_names
from .detectors.base import Detector, MapScale
from .errors import ModelFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when a file of this version can no longer be read by older ones.
FORMAT_VERSION = 1
_GRAPH, _WEIGHTS, _REFERENCE, _MANIFEST = "graphs/score.onnx", "weights.safetensors", "reference.npz", "manifest.json"
#: No honest part of a model is larger; a zip can claim to unpack to anything.
_LARGEST_PART = 2 << 30


def save(detector: Detector, path: Path) -> Path:
    """Write a fitted detector to `path`, whole or not at all.

    Raises:
        NotFittedError: nothing has been learnt yet.
        ModelFileError: the folder does not exist or cannot be written.
    """
    graph = detector.graph()
    parts = {_WEIGHTS: _weights(detector), _GRAPH: graph, _REFERENCE: _reference(detector)}
    manifest = _manifest(detector) | {
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        "graphs": [_GRAPH],
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
    """
    path = Path(path)
    with _opened(path) as archive:
        manifest = _read_manifest(archive, path)
        parts = {name: _read_part(archive, name, manifest, path) for name in (_WEIGHTS, _GRAPH, _REFERENCE)}
    try:
        detector = _restore(manifest, parts)
    except ModelFileError:
        raise
    except Exception as error:  # a manifest of the right version but with fields missing or of the wrong kind
        _refuse(path, f"its contents do not fit together ({type(error).__name__}: {error})", error)
    return detector if engine == "auto" else detector.use_engine(engine)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` only when the block ends without an error."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise ModelFileError(f"{path} cannot be written: {error.strerror}; choose another place") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest alone, as `amiss info` shows it. Raises `ModelFileError` like `load`."""
    with _opened(Path(path)) as archive:
        return _read_manifest(archive, Path(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
        "settings": detector.get_params(),
        "preprocessing": detector.preprocessing_.to_dict(),
        "splits": detector.splits_,
        "calibration": {name: [float(s) for s in scores] for name, scores in detector.calibration_scores_.items()},
        "false_alarm_rate": detector.false_alarm_rate,
        "map_scale": None if scale is None else asdict(scale),
        "precision_choice": detector.precision_choice_,
        "training": detector.training_,
        "notes": detector.notes_,
        "fitted_on": detector.fitted_on_,
        "versions": detector.fitted_with_,
    }


def _restore(manifest: dict[str, Any], parts: dict[str, bytes]) -> Detector:
    name = manifest["method"]
    if name not in method_names():
        raise ModelFileError(
            f"the model file holds the method {name!r}, which this amiss does not know; it knows: "
            f"{', '.join(method_names())}"
        )
    detector = get_method(name)().set_params(**manifest["settings"])
    detector.preprocessing_ = Preprocessing.from_dict(manifest["preprocessing"])
    detector.calibration_scores_ = {
        engine: np.array(scores, dtype=np.float32) for engine, scores in manifest["calibration"].items()
    }
    if not all(np.isfinite(scores).all() and len(scores) for scores in detector.calibration_scores_.values()):
        raise ModelFileError("the model file's calibration scores are empty or not finite; fit the detector again")
    if "torch" not in detector.calibration_scores_:
        raise ModelFileError("the model file holds no float32 calibration scores; fit the detector again")
    scale = manifest["map_scale"]
    detector.map_scale_ = None if scale is None else MapScale(float(scale["floor"]), float(scale["threshold"]))
    detector.precision_choice_ = {key: str(manifest["precision_choice"][key]) for key in ("machine", "precision")}
    detector.splits_, detector.training_ = manifest["splits"], manifest["training"]
    detector.notes_, detector.fitted_on_ = list(manifest["notes"]), manifest["fitted_on"]
    detector.fitted_with_ = manifest["versions"]
    detector._graph, detector._weights = parts[_GRAPH], parts[_WEIGHTS]
    detector._engine, detector._calibration_images = None, None
    detector._reference = _load_reference(parts[_REFERENCE])
    detector._scorer = _load_scorer(detector, parts[_WEIGHTS]) if versions.have("torch", "safetensors") else None
    return detector


def _load_scorer(detector: Detector, weights: bytes) -> Any:
    from safetensors.torch import load as load_tensors

    scorer = detector.build(detector.preprocessing_.shape)
    scorer.load_state_dict(load_tensors(weights))
    return scorer.eval()


def _load_reference(content: bytes) -> NDArray[np.uint8]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["normal"]
    return images


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    if path.is_dir():
        _refuse(path, "it is a folder")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file {path}; fit one with: amiss fit NORMAL --out {path}") from error
    except zipfile.BadZipFile as error:
        _refuse(path, "it is no zip, or it was cut short", error)
    except OSError as error:
        _refuse(path, error.strerror or str(error), error)


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if _MANIFEST not in archive.namelist():
        _refuse(path, "it holds no manifest.json, so amiss did not write it")
    try:
        manifest = json.loads(_read_limited(archive, _MANIFEST, path))
    except ValueError as error:
        _refuse(path, "its manifest.json is damaged", error)
    if not isinstance(manifest, dict) or manifest.get("format") != "amiss model":
        _refuse(path, "its manifest.json is not one of amiss")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version < 1:
        _refuse(path, f"its format version is {version!r}")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {version}, and this amiss reads up to {FORMAT_VERSION}; upgrade amiss"
        )
    return manifest


def _read_part(archive: zipfile.ZipFile, name: str, manifest: dict[str, Any], path: Path) -> bytes:
    if name not in archive.namelist():
        _refuse(path, f"its part {name} is missing")
    content = _read_limited(archive, name, path)
    digests = manifest.get("sha256")
    if not isinstance(digests, dict) or hashlib.sha256(content).hexdigest() != digests.get(name):
        _refuse(path, f"its part {name} is not what was written (its SHA-256 differs)")
    return content


def _read_limited(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST_PART:
        _refuse(path, f"its part {name} claims to be larger than {_LARGEST_PART >> 30} GiB")
    try:
        return archive.read(name)
    except Exception as error:  # BadZipFile, EOFError, zlib.error, lzma.LZMAError: each decompressor has its own
        _refuse(path, f"its part {name} is damaged", error)


def _refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise ModelFileError(f"{path} is no usable model file: {reason}; fetch or fit it again") from cause
