"""The Open Inference Protocol: by hand, and by a client that others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from amiss.model import FittedModel


def request(images: np.ndarray, **more: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": [*images.shape, 1], "datatype": "UINT8", "data": images.ravel().tolist()}
    return {"inputs": [tensor], **more}


def outputs(answer: dict[str, Any]) -> dict[str, np.ndarray]:
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]}


def test_metadata(client: Any) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    facts = client.get("/v2/models/part").json()
    (version,) = facts["versions"]
    assert facts["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, -1]}]
    assert [each["name"] for each in facts["outputs"]] == ["score", "p_value", "is_anomaly", "map"]
    assert client.get(f"/v2/models/part/versions/{version}/ready").status_code == 200
    assert client.get("/v2/models/part/versions/1/ready").status_code == 404
    assert client.get("/v2/models/lid").json() == {"error": "there is no model 'lid'; there are: part"}


def test_tensors_in_json(client: Any, model: FittedModel, images: np.ndarray) -> None:
    answer = client.post("/v2/models/part/infer", json=request(images, id="7")).json()
    assert (answer["model_name"], answer["id"]) == ("part", "7")
    assert [each["datatype"] for each in answer["outputs"]] == ["FP32", "FP64", "BOOL", "FP32"]
    found, expected = outputs(answer), model.score(images)
    np.testing.assert_allclose(found["score"], expected.scores, rtol=1e-6)
    np.testing.assert_array_equal(found["p_value"], expected.p_values)
    np.testing.assert_array_equal(found["is_anomaly"], expected.is_anomaly)
    np.testing.assert_allclose(found["map"], model.anomaly_map(images), rtol=1e-5)


def test_nested_data_wanted_outputs_and_another_rate(client: Any, model: FittedModel, images: np.ndarray) -> None:
    asked = request(images, parameters={"false_alarm_rate": 0.5}, outputs=[{"name": "is_anomaly"}])
    asked["inputs"][0]["data"] = images[..., None].tolist()
    answer = client.post("/v2/models/part/infer", json=asked).json()
    assert [each["name"] for each in answer["outputs"]] == ["is_anomaly"]
    expected = model.with_false_alarm_rate(0.5).score(images).is_anomaly
    np.testing.assert_array_equal(outputs(answer)["is_anomaly"], expected)


def test_colour_images_are_scored_as_everywhere(client: Any, model: FittedModel, images: np.ndarray) -> None:
    colour = np.stack([images, images[::-1], images], axis=3)
    tensor = {"name": "image", "shape": [*colour.shape], "datatype": "UINT8", "data": colour.ravel().tolist()}
    answer = client.post("/v2/models/part/infer", json={"inputs": [tensor]}).json()
    np.testing.assert_allclose(outputs(answer)["score"], model.score(colour).scores, rtol=1e-6)


def test_tensors_as_bytes(client: Any, model: FittedModel, images: np.ndarray) -> None:
    asked = request(images, parameters={"binary_data_output": True})
    del asked["inputs"][0]["data"]
    asked["inputs"][0]["parameters"] = {"binary_data_size": images.nbytes}
    head = json.dumps(asked).encode()
    answer = client.post(
        "/v2/models/part/infer",
        content=head + images.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    told, behind = json.loads(answer.content[:length]), answer.content[length:]
    sizes = [each["parameters"]["binary_data_size"] for each in told["outputs"]]
    assert sum(sizes) == len(behind)
    np.testing.assert_allclose(np.frombuffer(behind[: sizes[0]], "<f4"), model.score(images).scores, rtol=1e-6)


def wrong(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [1, 2, 3, 4]}
    return {"inputs": [{**tensor, **changes}]}


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({}, 400, "inputs"),
        ([1], 400, "no inference request"),
        ({"inputs": []}, 422, "one tensor, called image"),
        (wrong(name="picture"), 422, "one tensor, called image"),
        (wrong(datatype="FP32"), 422, "FP32"),
        (wrong(shape=[2, 2, 1]), 422, "[n, h, w, c]"),
        (wrong(shape=[1, 1, 2, 2]), 422, "c = 1 or 3"),
        (wrong(shape=[0, 2, 2, 1]), 422, "[0, 2, 2, 1]"),
        (wrong(shape=[1, 100_000, 100_000, 1]), 413, "pixels"),
        (wrong(shape=[1000, 2, 2, 1]), 413, "at most 64 images"),
        (wrong(data=[1, 2, 3]), 400, "4 whole numbers"),
        (wrong(data=[[1, 2], [3]]), 400, "4 whole numbers"),
        (wrong(data=[1, 2, 3, 256]), 400, "from 0 to 255"),
        (wrong(data=[1, 2, 3, 0.5]), 400, "whole numbers"),
        (wrong(data=["a", "b", "c", "d"]), 400, "whole numbers"),
        (wrong(data=None), 400, "behind the JSON"),
        ({**wrong(), "outputs": [{"name": "heat"}]}, 422, "no output 'heat'"),
        ({**wrong(), "parameters": {"false_alarm_rate": 2}}, 422, "false-alarm rate is 2"),
        ({**wrong(), "parameters": {"false_alarm_rate": "low"}}, 422, "'low'"),
    ],
)
def test_what_is_wrong_is_said(asked: Any, status: int, words: str, client: Any) -> None:
    answer = client.post("/v2/models/part/infer", json=asked)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1000000"])
def test_a_wrong_length_of_the_json_is_said(length: str, client: Any) -> None:
    answer = client.post("/v2/models/part/infer", json=wrong(), headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert length in answer.json()["error"]


def test_an_existing_client_works(
    process: Callable[..., Any], path: Any, model: FittedModel, images: np.ndarray
) -> None:
    from tritonclient import http

    _, address = process(path)
    with http.InferenceServerClient(address.removeprefix("http://")) as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("part")
        version = triton.get_model_metadata("part")["versions"][0]
        tensor = http.InferInput("image", [*images.shape, 1], "UINT8")
        expected = model.score(images)
        for binary in (True, False):
            tensor.set_data_from_numpy(images[..., None], binary_data=binary)
            names = ("score", "p_value", "is_anomaly", "map")
            wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in names]
            result = triton.infer("part", [tensor], model_version=version, outputs=wanted, request_id="a")
            np.testing.assert_allclose(result.as_numpy("score"), expected.scores, rtol=1e-6)
            np.testing.assert_array_equal(result.as_numpy("p_value"), expected.p_values)
            np.testing.assert_array_equal(result.as_numpy("is_anomaly"), expected.is_anomaly)
            np.testing.assert_allclose(result.as_numpy("map"), model.anomaly_map(images), rtol=1e-5)
        with pytest.raises(Exception, match="no model 'lid'"):
            triton.infer("lid", [tensor])
