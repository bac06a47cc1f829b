"""`amiss explain`, and what `amiss eval --explain` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import amiss
    from amiss.testing import task

    return amiss.PCA(false_alarm_rate=0.05).fit(task().normal).save(tmp_path_factory.mktemp("m") / "six.amiss")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from amiss.testing import task

    folder = tmp_path / "new"
    folder.mkdir()
    for number in (0, 1, -1, -2):
        Image.fromarray(task().unseen[number]).save(folder / f"{number % 100}.png")
    return folder


def test_a_folder_with_pictures(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "cut.png").write_bytes(b"no picture")
    done = run("explain", str(model), str(pictures), "--with", "occlusion", "--out", str(tmp_path / "why")).well()
    assert done.out.count("(p ") == 4
    assert "unreadable" in done.out
    assert "known limits" in done.out
    lines = [json.loads(line) for line in (tmp_path / "why/explanations.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    shown = [line["picture"] for line in lines if line["error"] is None]
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == sorted([*shown, "explanations.jsonl"])
    with Image.open(tmp_path / "why" / shown[0]) as picture:
        assert min(picture.size) >= 200


def test_json_and_the_strangest(run: Run, model: Path, pictures: Path) -> None:
    found = run("explain", str(model), str(pictures), "--with", "counterfactual", "--most", "2", "--json").well().json
    assert found["explainer"] == "counterfactual"
    scores = [each["score"] for each in found["explanations"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert found["explanations"][0]["settings"]["search"] == "restore"


def test_what_goes_wrong(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    run("explain", str(model), str(pictures), "--with", "lrp").failed(2, "LRP has no rule")
    run("explain", str(model), str(pictures), "--with", "shape").failed(2, "did you mean shap?")
    run("explain", str(model), str(pictures), "--set", "window=9").failed(2, "window")
    run("explain", str(model), str(tmp_path / "gone")).failed(2, "gone")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"no picture")
    done = run("explain", str(model), str(tmp_path / "bad"))
    assert done.code == 1
    assert "x.png" in done.out


def test_eval_measures_explanations(run: Run, model: Path, tmp_path: Path) -> None:
    from amiss.testing import task

    for label, rows in (("good", task().unseen[:8]), ("other", task().unseen[-6:])):
        (tmp_path / label).mkdir()
        for number, image in enumerate(rows):
            Image.fromarray(np.asarray(image)).save(tmp_path / label / f"{number}.png")
    people = run("eval", str(model), str(tmp_path), "--explain", "residual,occlusion", "--explained", "3").well().out
    assert "Explanations of 3 anomalies" in people
    assert "deletion" in people
    assert "pixel AUROC" not in people  # there are no masks
    found = run("eval", str(model), str(tmp_path), "--explain", "residual", "--explained", "3", "--json").well().json
    assert found["explanations"][0]["explainer"] == "residual"
    run("eval", str(model), str(tmp_path), "--explain", "magic").failed(2, "no explainer 'magic'")
    run("eval", str(model), "no/such/folder", "--explain", "lrp").failed(
        2, "LRP has no rule"
    )  # before anything is read


def test_a_report_explains_what_was_flagged(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("score", str(model), str(pictures), "--report", str(page), "--explain", "counterfactual").well()
    text = page.read_text(encoding="utf-8")
    assert "counterfactual: amiss (p 0." in text
    run("score", str(model), str(pictures), "--explain", "occlusion").failed(2, "--report")
    run("score", str(model), str(pictures), "--report", str(page), "--explain", "lrp").failed(2, "LRP has no rule")


def test_a_picture_unlike_those_learnt_from_is_told(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    with Image.open(pictures / "0.png") as image:
        image.point(lambda value: value // 8).resize((32, 16)).save(tmp_path / "dark.png")
    given = ("explain", str(model), str(tmp_path / "dark.png"), "--with", "residual", "--json")
    (found,) = run(*given).well().json["explanations"]
    assert found["notes"][-1].startswith("unlike the images learnt from: ")
    assert "wider (aspect 2, theirs 1)" in found["notes"][-1]
