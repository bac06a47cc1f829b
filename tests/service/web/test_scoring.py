"""The API for people: the scores of scoring, maps and regions, and one sentence for what goes wrong."""

from __future__ import annotations

import base64
import importlib.resources
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from amiss.calibration import smoothed
from amiss.data import open_images
from amiss.data.appearance import Appearance, UsualAppearance
from amiss.engines import allowed_difference
from amiss.model import FittedModel
from amiss.report.heatmap import overlay
from amiss.report.table import COLUMNS
from amiss.service.web.app import make_app

Png = Callable[[np.ndarray], bytes]


def files(png: Png, images: np.ndarray) -> list[Any]:
    return [("files", (f"{n}.png", png(image))) for n, image in enumerate(images)]


def test_scores_are_those_of_scoring(client: Any, model: FittedModel, images: np.ndarray, png: Png) -> None:
    answer = client.post("/models/part/score", files=files(png, images)).json()
    expected = model.score(images)
    results = answer["results"]
    assert [result["name"] for result in results] == [f"{n}.png" for n in range(len(images))]
    np.testing.assert_allclose([result["score"] for result in results], expected.scores, rtol=1e-6)
    np.testing.assert_array_equal([result["p_value"] for result in results], expected.p_values)
    np.testing.assert_array_equal([result["is_anomaly"] for result in results], expected.is_anomaly)
    assert expected.is_anomaly.any()
    assert not expected.is_anomaly.all()


def test_another_rate_decides_by_the_same_scores(client: Any, model: FittedModel, images: np.ndarray, png: Png) -> None:
    answer = client.post("/models/part/score?false_alarm_rate=0.5", files=files(png, images)).json()
    expected = model.with_false_alarm_rate(0.5).score(images)
    np.testing.assert_array_equal([result["is_anomaly"] for result in answer["results"]], expected.is_anomaly)
    assert expected.is_anomaly.sum() > model.score(images).is_anomaly.sum()
    assert answer["decision"] == client.get("/models/part/decision?false_alarm_rate=0.5").json()
    assert answer["decision"]["flagged"] == model.decision.n * 0.5 - 1


def test_regions_are_those_of_the_model(client: Any, model: FittedModel, images: np.ndarray, png: Png) -> None:
    answer = client.post("/models/part/score?regions=true", files=files(png, images)).json()
    expected = [[region.to_dict() for region in regions] for regions in model.regions(images)]
    assert any(expected)
    found = [[{**region, "box": list(region["box"])} for region in result["regions"]] for result in answer["results"]]
    assert found == expected


def test_a_map_laid_over_its_image_is_the_report_s_picture(
    client: Any, model: FittedModel, images: np.ndarray, png: Png
) -> None:
    large = images.repeat(3, axis=1).repeat(3, axis=2)[-1]
    result = client.post("/models/part/score?map=true", files=files(png, large[None])).json()["results"][0]
    layer = Image.open(io.BytesIO(base64.b64decode(result["map"])))
    assert (layer.mode, layer.size, result["size"]) == ("RGBA", (48, 48), [48, 48])
    laid = Image.alpha_composite(Image.fromarray(large).convert("RGBA"), layer).convert("RGB")
    scale = model.map_scale
    assert scale is not None
    expected = overlay(large, smoothed(model.anomaly_map(large[None])[0]), scale.threshold, scale.floor)
    assert np.abs(np.asarray(laid).astype(int) - expected).max() <= 2
    assert not np.array_equal(expected[..., 0], large)


def test_a_broken_file_is_a_result_with_its_error_and_the_others_go_on(
    client: Any, images: np.ndarray, png: Png
) -> None:
    sent = [("files", ("a.png", png(images[0]))), ("files", ("b.png", b"no image")), ("files", ("c.png", b""))]
    answer = client.post("/models/part/score?map=true&regions=true", files=sent)
    assert answer.status_code == 200
    good, bad, empty = answer.json()["results"]
    assert good["error"] is None
    assert "b.png is not a picture" in bad["error"]
    assert (bad["score"], bad["is_anomaly"], bad["map"]) == (None, None, None)
    assert empty["error"]


def test_a_decompression_bomb_is_not_unpacked(service: Any, path: Path, png: Png) -> None:
    bomb = png(np.zeros((400, 400), np.uint8))
    assert len(bomb) < 2000
    with service(path, pixels=100_000) as client:
        result = client.post("/models/part/score", files=[("files", ("bomb.png", bomb))]).json()["results"][0]
    assert "400x400 pixels, more than the 100000" in result["error"]


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("/models/lid/score", 404, "no model 'lid'; there are: part"),
        ("/models/part/score?false_alarm_rate=1", 422, "false_alarm_rate"),
        ("/models/part/score?false_alarm_rate=nan", 422, "false_alarm_rate"),
        ("/models/part/score?explain=astrology", 422, "no explainer 'astrology'"),
    ],
)
def test_what_cannot_be_meant_is_said(
    url: str, status: int, words: str, client: Any, images: np.ndarray, png: Png
) -> None:
    answer = client.post(url, files=files(png, images[:1]))
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_without_a_file_the_request_is_wrong(client: Any) -> None:
    answer = client.post("/models/part/score")
    assert (answer.status_code, answer.json()) == (422, {"error": "files is wrong: Field required"})


def test_an_explanation_says_where(client: Any, images: np.ndarray, png: Png) -> None:
    pytest.importorskip("scipy")
    answer = client.post("/models/part/score?explain=residual", files=files(png, images[-1:])).json()
    explanation = answer["results"][0]["explanation"]
    assert explanation["words"].startswith("amiss (p ")
    assert explanation["replaced"]["score"] < answer["results"][0]["score"]
    assert Image.open(io.BytesIO(base64.b64decode(explanation["picture"]))).size == (256, 256)


def test_a_picture_unlike_those_learnt_from_has_a_note(
    path: Path, model: FittedModel, images: np.ndarray, png: Png
) -> None:
    seen = [Appearance.of(image, model.preprocessing.prepare(image)) for image in images]
    usual = replace(model, usual=UsualAppearance.of(seen))
    dark = images[0] // 8
    with TestClient(make_app([path], lambda _: usual), base_url="http://127.0.0.1") as client:
        answer = client.post("/models/part/score", files=files(png, np.stack([images[0], dark]))).json()
        url = "/models/part/score?explain=residual"
        explained = client.post(url, files=files(png, np.stack([images[0], dark]))).json()["results"]
    expected = list(usual.rows(open_images(np.stack([images[0], dark]), "score")))
    assert [result["note"] for result in answer["results"]] == [row.note for row in expected]
    assert expected[0].note is None
    assert expected[1].note
    assert expected[1].note in explained[1]["explanation"]["notes"]
    assert expected[1].note not in explained[0]["explanation"]["notes"]


def test_the_table_of_the_page_has_the_columns_of_other_tables() -> None:
    script = (importlib.resources.files("amiss.service.web") / "static" / "page.js").read_text(encoding="utf-8")
    (head,) = re.findall(r"const rows = \[(\[.*\])\];", script)
    name, *others = COLUMNS
    assert json.loads(head) == [name, "model", *others]
    cells = ["decided" if column == "is_anomaly" else f"result.{column}" for column in others]
    assert f"rows.push([image.name, name, {', '.join(cells)}]);" in script


def test_the_overview_tells_what_each_model_is(client: Any, model: FittedModel) -> None:
    overview = client.get("/models").json()
    (summary,) = overview["models"]
    assert (summary["name"], summary["method"], summary["gives_map"], summary["fault"]) == ("part", "Panel", True, None)
    assert overview["limits"] == {"bytes": 64 << 20, "pixels": 64_000_000, "files": 64}
    details = client.get("/models/part").json()
    assert details["calibration"] == sorted(model.decision.draws.tolist())
    assert details["decision"]["promise"] == model.decision.explain()


def test_one_image_has_the_score_that_it_has_among_many(
    client: Any, model: FittedModel, images: np.ndarray, png: Png
) -> None:
    together = client.post("/models/part/score", files=files(png, images)).json()["results"]
    alone = [client.post("/models/part/score", files=files(png, image[None])).json()["results"][0] for image in images]
    difference = [abs(one["score"] - each["score"]) for one, each in zip(alone, together, strict=True)]
    assert max(difference) <= allowed_difference(model.decision.calibration)
