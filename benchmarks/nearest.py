"""Nearest neighbours of patch features in a memory bank: matrix products beside faiss and 8-bit integers.

    python benchmarks/nearest.py

Needs faiss-cpu beside amiss and what it is trained with. The memory bank and the queries are those of `patch_memory` on
a photograph of gravel: principal components of patch features, 256 for an image, and 1,000 that were kept. All ways are
timed by turns in one run, on one thread each; writes results/nearest.md.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import amiss
from amiss.data.examples import make_example
from amiss.environment import machine
from amiss.metrics import Ranking
from amiss.networks.memory_bank import MemoryBank

RESULTS = Path(__file__).parent.parent / "results"
IMAGES, REPEATS = 40, 15

Floats = NDArray[np.float32]


def bank_and_queries() -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """What a fitted patch_memory keeps (m, d), queries (n, 256, d) of test images, and which of these are anomalous."""
    example = make_example("gravel", 0)
    detector = amiss.PatchMemory(calibration="split").fit(np.stack(example.learnt))
    memory = detector.model_.torch_scorer()
    seen: list[Floats] = []

    def keep(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.append(given[0].permute(0, 2, 3, 1).flatten(1, 2).numpy())

    bank = next(each for each in memory.modules() if isinstance(each, MemoryBank))
    with torch.inference_mode(), bank.register_forward_pre_hook(keep):
        bad = np.concatenate([np.stack(pictures) for pictures, _ in example.defective.values()])
        detector.model_.on("torch").score(np.concatenate([np.stack(example.good), bad]))
    features = np.concatenate(seen)
    projection, offset = bank.get_buffer("projection").numpy(), bank.get_buffer("offset").numpy()
    queries = (features @ projection.T - offset).astype(np.float32)
    return bank.get_buffer("kept").numpy(), queries, np.arange(len(queries)) >= len(example.good)


def graph(kept: Floats, bits: int) -> onnxruntime.InferenceSession:
    """The product and the search for its smallest value, as a graph of ONNX Runtime."""
    constants = [
        numpy_helper.from_array(kept.T.copy(), "kept"),
        numpy_helper.from_array(np.square(kept).sum(1), "length"),
    ]
    constants.append(numpy_helper.from_array(np.float32(-2), "twice"))
    nodes = []
    if bits == 8:
        scale = np.abs(kept).max() / 127
        constants[0] = numpy_helper.from_array(np.rint(kept.T / scale).astype(np.int8).copy(), "kept")
        constants.append(numpy_helper.from_array(np.float32(scale), "scale"))
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["queries"], ["small", "unit", "zero"]),
            helper.make_node("MatMulInteger", ["small", "kept", "zero"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["unit", "scale"], ["both"]),
            helper.make_node("Mul", ["float", "both"], ["product"]),
        ]
    else:
        nodes = [helper.make_node("MatMul", ["queries", "kept"], ["product"])]
    nodes += [
        helper.make_node("Mul", ["product", "twice"], ["cross"]),
        helper.make_node("Add", ["cross", "length"], ["nearness"]),
        helper.make_node("ReduceMin", ["nearness"], ["nearest"], axes=[1], keepdims=0),
    ]
    given = helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["n", kept.shape[1]])
    wanted = helper.make_tensor_value_info("nearest", TensorProto.FLOAT, ["n"])
    model = helper.make_model(
        helper.make_graph(nodes, "nearest", [given], [wanted], constants),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def ways(kept: Floats) -> dict[str, Callable[[Floats], Floats]]:
    """From queries (n, d) to their distances (n,) to the nearest kept one."""
    length = np.square(kept).sum(axis=1)

    def distance(nearness: Floats, queries: Floats) -> Floats:
        return np.sqrt(np.maximum(nearness + np.square(queries).sum(axis=1), 0))

    def plain(queries: Floats) -> Floats:
        return distance((length - 2 * queries @ kept.T).min(axis=1), queries)

    float_graph, integer_graph = graph(kept, 32), graph(kept, 8)
    flat, hnsw = faiss.IndexFlatL2(kept.shape[1]), faiss.IndexHNSWFlat(kept.shape[1], 32)
    for index in (flat, hnsw):
        index.add(kept)
    return {
        "matrix product, numpy": plain,
        "matrix product, ONNX Runtime (what amiss does)": lambda q: distance(
            float_graph.run(None, {"queries": q})[0], q
        ),
        "the same in 8 bits": lambda q: distance(integer_graph.run(None, {"queries": q})[0], q),
        "faiss, exact": lambda q: np.sqrt(np.maximum(flat.search(q, 1)[0][:, 0], 0)),
        "faiss, graph of neighbours (HNSW)": lambda q: np.sqrt(np.maximum(hnsw.search(q, 1)[0][:, 0], 0)),
    }


def main() -> None:
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    kept, queries, labels = bank_and_queries()
    known = ways(kept)
    seconds: dict[str, list[float]] = {name: [] for name in known}
    batch = np.ascontiguousarray(queries[:IMAGES].reshape(-1, kept.shape[1]))
    for _ in range(REPEATS):
        for name, way in known.items():
            start = time.perf_counter()
            way(batch)
            seconds[name].append((time.perf_counter() - start) / IMAGES)
    base = np.median(seconds["matrix product, ONNX Runtime (what amiss does)"])
    exact = known["matrix product, numpy"](queries.reshape(-1, kept.shape[1]))
    text = [
        "# Nearest neighbours in a memory bank",
        "",
        f"Written by `python benchmarks/nearest.py`; seed 0. {queries.shape[1]} places of an image, {kept.shape[1]} "
        f"values each, among {len(kept)} kept ones; {IMAGES} images at once, median of {REPEATS} times by turns in one "
        "run, one thread. *Error*: largest difference of a distance, in % of the median distance. AUROC: of the mean "
        f"of the largest twentieth, over {len(queries)} pictures of gravel with drawn defects in "
        f"{int(labels.sum())}.",
        "",
        f"Machine: {machine.cpu_name()}. faiss {faiss.__version__}, onnxruntime {onnxruntime.__version__}.",
        "",
        "| way | ms an image | times as long | error, % | AUROC, % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, way in known.items():
        found = way(np.ascontiguousarray(queries.reshape(-1, kept.shape[1])))
        maps = np.sort(found.reshape(len(queries), -1), axis=1)
        score = maps[:, -round(0.05 * maps.shape[1]) :].mean(axis=1)
        error = 100 * np.abs(found - exact).max() / np.median(exact)
        median = np.median(seconds[name])
        text.append(
            f"| {name} | {1000 * median:.2f} | {median / base:.2f} | {error:.2g} | "
            f"{100 * Ranking(score, labels).auroc():.2f} |"
        )
    (RESULTS / "nearest.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
