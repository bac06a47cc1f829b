"""Model files as archives: a zip of a manifest (JSON) and parts whose digests it holds. No part is code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from ..environment.files import atomic_write
from ..errors import ModelFileError
from .graph_check import check_graph
from .manifest import FORMAT_VERSION, Manifest

MANIFEST = "manifest.json"
#: The scoring graph, the weights for torch, a few normal images as uint8.
GRAPH, WEIGHTS, REFERENCE = "graphs/score.onnx", "weights.safetensors", "reference.npz"
#: The backbone alone, for torch; the scoring graph holds it too.
BACKBONE = "graphs/backbone.onnx"
#: No honest part of a model is larger; a zip can claim to unpack to anything.
_LARGEST_PART = 2 << 30
#: An honest manifest of a million images has 20 MB.
_LARGEST_MANIFEST = 64 << 20
#: Of more than so many bytes, no honest part packs to a hundredth: weights hardly pack at all.
_MAY_PACK_WELL, _PACKED_AT_MOST = 64 << 20, 100
_LONGEST_REASON = 300


def write_archive(path: Path, facts: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: of the file.
        facts: the manifest's fields but for those that tell of the parts.
        parts: contents by name.

    Raises:
        WriteError: the folder does not exist or cannot be written.
    """
    manifest = Manifest(
        format="amiss model",
        format_version=1 if facts["preprocessing"]["roi"] is None else 2,  # before, all of an image was looked at
        **facts,
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        graphs=[name for name in (GRAPH, BACKBONE) if name in parts],
    )
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest.written(), indent=1))
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_STORED)  # weights hardly pack, and take long to unpack


def read_archive(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the parts of a model file, each checked.

    Raises:
        ModelFileError: the file is missing, cut, tampered with, of another kind, or newer than this amiss.
    """
    with _opened(path) as archive:
        manifest = _read_manifest(archive, path)
        names = [WEIGHTS, GRAPH, REFERENCE, *([BACKBONE] if BACKBONE in manifest.graphs else [])]
        return manifest, {name: _read_part(archive, name, manifest, path) for name in names}


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest alone, as `amiss info` shows it. Raises `ModelFileError` like `read_archive`."""
    with _opened(Path(path)) as archive:
        return _read_manifest(archive, Path(path)).model_dump()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if path.is_dir():
            refuse(path, "it is a folder")
        archive = zipfile.ZipFile(path)
    except ModelFileError:
        raise
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file {path}; fit one with: amiss fit NORMAL --out {path}") from error
    except OSError as error:
        refuse(path, error.strerror or str(error), error)
    except Exception as error:  # zipfile meets damaged directories with errors of many kinds
        refuse(path, "it is no zip, or it was cut short", error)
    with archive:
        _check_names(archive.namelist(), path)
        yield archive


def _check_names(names: list[str], path: Path) -> None:
    """No part is ever unpacked to a file; but a name that would lead elsewhere, or two of one name, is no accident."""
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            refuse(path, f"its part {name!r} is named so as to lie outside of it")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        refuse(path, f"it holds its part {twice} twice")


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    if MANIFEST not in archive.namelist():
        refuse(path, "it holds no manifest.json, so amiss did not write it")
    content = _read_limited(archive, MANIFEST, path, _LARGEST_MANIFEST)
    try:
        head = json.loads(content)
    except (ValueError, RecursionError) as error:
        refuse(path, "its manifest.json is damaged", error)
    if not isinstance(head, dict) or head.get("format") != "amiss model":
        refuse(path, "its manifest.json is not one of amiss")
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
        refuse(path, f"{where} in its manifest.json is wrong ({first['msg']})", error)


def _read_part(archive: zipfile.ZipFile, name: str, manifest: Manifest, path: Path) -> bytes:
    if name not in archive.namelist():
        refuse(path, f"its part {name} is missing")
    content = _read_limited(archive, name, path, _LARGEST_PART)
    if hashlib.sha256(content).hexdigest() != manifest.sha256.get(name):
        refuse(path, f"its part {name} is not what was written (its SHA-256 differs)")
    if name in (GRAPH, BACKBONE):
        try:
            check_graph(content)
        except ValueError as error:
            refuse(path, f"its part {name} is refused: {error}", error)
    return content


def _read_limited(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> bytes:
    part = archive.getinfo(name)
    if part.file_size > limit:
        refuse(path, f"its part {name} claims to be larger than {limit >> 20} MiB")
    if part.file_size > max(_MAY_PACK_WELL, _PACKED_AT_MOST * part.compress_size):
        refuse(path, f"its part {name} claims to unpack to more than {_PACKED_AT_MOST} times its size")
    try:
        return archive.read(name)
    except Exception as error:  # BadZipFile, EOFError, zlib.error, LZMAError: each decompressor has its own
        refuse(path, f"its part {name} is damaged", error)


def refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    """Raises `ModelFileError` that names the file and the reason, in one sentence."""
    sentence = " ".join(reason.split())[:_LONGEST_REASON]  # torch lists every key on a line of its own
    raise ModelFileError(f"{path} is no usable model file: {sentence}; fetch or fit it again") from cause
