"""A new file in place of the old is taken up; a broken one is not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amiss
from amiss.errors import ModelFileError, UsageError
from amiss.model import FittedModel
from amiss.service.web.limits import Limits
from amiss.service.web.metrics import Metrics
from amiss.service.web.models import ServedModels, Workers


def load(path: Path) -> FittedModel:
    return amiss.load(path, without_torch=True)


def models_of(*paths: Path) -> ServedModels:
    metrics = Metrics()
    return ServedModels(paths, load, Workers(Limits(), metrics), metrics)


def put(source: Path | bytes, path: Path) -> None:
    """As `amiss fit --out` does: whole, at once."""
    part = path.with_suffix(".new")
    part.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    os.replace(part, path)


def test_a_broken_file_leaves_the_old_model(path: Path, other: Path) -> None:
    models = models_of(path)
    old = models["part"]
    asyncio.run(models.refresh())
    assert models["part"] is old
    for broken in (b"", b"no model", other.read_bytes()[:-100]):
        put(broken, path)
        asyncio.run(models.refresh())
        assert models["part"] is old
        assert "cannot be used" in models.faults["part"]
        assert str(path) not in models.faults["part"]
    path.unlink()
    asyncio.run(models.refresh())
    assert (models["part"], set(models.faults)) == (old, {"part"})
    put(other, path)
    asyncio.run(models.refresh())
    assert models["part"].model.label == "SSACAE"
    assert models["part"].version != old.version
    assert models.faults == {}


def test_the_same_file_written_again_changes_nothing(path: Path) -> None:
    models = models_of(path)
    old = models["part"]
    put(path.read_bytes(), path)
    asyncio.run(models.refresh())
    assert models["part"] is old


def test_names_must_differ(path: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match="rename one"):
        models_of(path, Path(shutil.copy(path, tmp_path / "b" / "part.amiss")))


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        models_of(tmp_path / "lid.amiss")


def test_models_of_clips_are_not_served(path: Path, model: FittedModel) -> None:
    of_clips = replace(model, method=replace(model.method, clip_length=4))
    metrics = Metrics()
    with pytest.raises(UsageError, match="amiss watch"):
        ServedModels([path], lambda _: of_clips, Workers(Limits(), metrics), metrics)


def test_no_request_is_lost_while_models_change(
    process: Callable[..., Any], path: Path, other: Path, images: np.ndarray, png: Callable[[np.ndarray], bytes]
) -> None:
    import httpx2

    _, address = process(path)
    first, second = path.read_bytes(), other.read_bytes()
    expected = [load(path).score(images).scores[-1], load(other).score(images).scores[-1]]
    picture = png(images[-1])
    seen: dict[str, float] = {}
    with httpx2.Client(base_url=address) as client:
        for content in (first, second, b"broken", first):
            put(content, path)
            for _ in range(400):
                answer = client.post("/models/part/score", files={"files": ("a.png", picture)})
                assert answer.status_code == 200
                seen[answer.json()["version"]] = answer.json()["results"][0]["score"]
                (told,) = client.get("/models").json()["models"]
                if told["fault"] if content == b"broken" else is_of(told, content):
                    break
            else:
                pytest.fail("the new file was not looked at")
    np.testing.assert_allclose(sorted(seen.values()), sorted(expected), rtol=1e-5)


def is_of(told: dict[str, Any], content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest().startswith(told["version"])
