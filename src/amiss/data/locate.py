"""Where known data sets lie on disk, and how their official files are fetched."""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from amiss.errors import MissingDataError

#: Called with the bytes fetched so far and the whole size, or None where the server does not tell.
Progress = Callable[[int, int | None], None]

_SYSTEM_FOLDERS = ("/usr/share/datasets", "/usr/local/share/datasets")
_CHUNK = 1 << 16


def cache_folder() -> Path:
    """The user's own folder for data sets, which need not exist yet; `fetch` puts them there by default."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "amiss" / "data"


def data_folders() -> list[Path]:
    """The folders looked into, in this order: those of $AMISS_DATA, the user's cache, the system's."""
    given = [Path(part).expanduser() for part in os.environ.get("AMISS_DATA", "").split(os.pathsep) if part]
    return [*given, cache_folder(), *map(Path, _SYSTEM_FOLDERS)]


def find(folder_names: Sequence[str], files: Sequence[str]) -> Path | None:
    """The first folder of one of these names, below one of `data_folders()`, that holds all of `files`, or None.

    Args:
        folder_names: names or relative paths, the preferred one first; "" is the data folder itself.
        files: names or relative paths of files or folders that must be in it.
    """
    for base in data_folders():
        for folder_name in folder_names:
            folder = base / folder_name
            if folder.is_dir() and all((folder / file).exists() for file in files):
                return folder
    return None


def checksum(path: Path, algorithm: str, *, unpacked: bool = False, limit: int = 1 << 30) -> str:
    """The digest of a file in hex, or with `unpacked` of what its gzip holds; reads at most `limit` bytes.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read or unpacked, or is larger than `limit`.
    """
    digest, size = hashlib.new(algorithm, usedforsecurity=False), 0
    with gzip.open(path) if unpacked else path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise OSError(f"it holds more than {limit} bytes")
            digest.update(chunk)
    return digest.hexdigest()


def fetch(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    unpacked: bool = False,
    limit: int = 1 << 30,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> Path:
    """Download one file over http or https, check it, and only then put it at `destination`.

    Args:
        url: where it is.
        destination: the file to write; its folder is made.
        sha256, md5: the digest it must have, in hex; at least one is required.
        unpacked: the digest is that of the content of the gzip file, not of the file.
        limit: the most bytes that are accepted, fetched or unpacked.
        timeout: seconds of silence after which it gives up.
        progress: called as the bytes come in.

    Returns:
        `destination`.

    Raises:
        MissingDataError: it could not be had, for whatever reason; the message says where to put it by hand.
    """
    wanted = {name: digest for name, digest in (("sha256", sha256), ("md5", md5)) if digest is not None}
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        if not url.startswith(("https://", "http://")):
            raise OSError("only http and https addresses are fetched")
        if not wanted:
            raise OSError("no checksum is known for it")
        destination.parent.mkdir(parents=True, exist_ok=True)
        # An opener of its own: the default one would follow a redirection to ftp.
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        with opener.open(url, timeout=timeout) as response, partial.open("wb") as out:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            done = 0
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if done > limit:
                    raise OSError(f"it is larger than {limit} bytes")
                out.write(chunk)
                if progress is not None:
                    progress(done, total)
        for algorithm, digest in wanted.items():
            found = checksum(partial, algorithm, unpacked=unpacked, limit=limit)
            if found != digest.lower():
                raise OSError(f"its {algorithm} is {found} where {digest} was expected")
        os.replace(partial, destination)
    except (OSError, EOFError, ValueError, HTTPException, zlib.error) as error:
        raise MissingDataError(
            f"{destination.name} could not be fetched from {url} ({error}); "
            f"download it by hand and put it at {destination}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return destination
