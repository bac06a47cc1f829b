"""A fitted model as one file for other runtimes, with the page that says how to run it; in 8 bits where that holds."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, anomalies, engines, export
from ..anomalies.kinds import LOCAL
from ..calibration import MapScale, p_values
from ..data import Images, open_images
from ..data.preprocessing import to_float
from ..data.stack import Stack, load_stack
from ..environment import files, versions
from ..environment.outputs import run_folder
from ..errors import AmissError, DataError, UsageError
from ..fitting.fit import part_of, with_groups
from ..lazy import torch
from ..metrics import Ranking
from ..model import FittedModel
from ..progress import Progress, silent

#: What a model can become.
FORMS = ("onnx", "openvino")
#: Names of the files, whatever the form: two forms must not mix in one folder.
_NAMES = ("model.onnx", "model.xml", "model.bin", "README.md")
#: Images that it takes at least to say what 8 bits cost.
_FEWEST = 20
#: 8 bits are refused where the AUROC falls by more, or where p-values of normal images move by more on average; those
#: of two orders that have nothing to do with each other differ by a third.
MOST_AUROC_LOST, MOST_P_VALUE_MOVED = 0.01, 0.2
#: Times that single images are scored, to say how long it takes.
_TRIALS = 20


@dataclass(frozen=True)
class EightBitCost:
    """What 8 bits cost and gain, on normal images that the model has not learnt from and anomalies created of them.

    Attributes:
        images: how many normal images; they set the threshold of the 8 bits, too.
        auroc_before, auroc_after: of local created anomalies against these, in float32 and in 8 bits.
        p_value_moved: by how much the p-values of the normal images differ on average, each among these images.
        milliseconds_before, milliseconds_after: the scorer for one image on this machine, the median.
    """

    images: int
    auroc_before: float
    auroc_after: float
    p_value_moved: float
    milliseconds_before: float
    milliseconds_after: float

    @property
    def holds(self) -> bool:
        """Is it so little that the model may be used in 8 bits?"""
        return self.auroc_before - self.auroc_after <= MOST_AUROC_LOST and self.p_value_moved <= MOST_P_VALUE_MOVED

    def explain(self) -> str:
        """One sentence with all of it."""
        return (
            f"On {self.images} normal images and anomalies created of them, the AUROC is {self.auroc_after:.3f} in "
            f"place of {self.auroc_before:.3f}, p-values of normal images differ by {self.p_value_moved:.3f} on "
            f"average, and the scorer takes {self.milliseconds_after:.3g} ms an image in place of "
            f"{self.milliseconds_before:.3g} on the machine that wrote it."
        )


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        model: whose decision the files hold.
        files: in the folder.
        cost: of 8 bits, where they were asked for.
    """

    model: FittedModel
    files: list[Path]
    cost: EightBitCost | None


def export_model(
    model: FittedModel,
    folder: str | Path,
    to: str = "onnx",
    int8_images: Images | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
) -> Exported:
    """Write a model as one graph from pixels of any size to score, p-value, decision and map, and a page beside it.

    See `amiss.export.whole_graph` for inputs and outputs. Before anything is written, the graph scores the model's
    reference images, and must agree with the model.

    Args:
        model: any; clips included.
        folder: is made where it is missing; holds `model.onnx`, or `model.xml` and `model.bin`, and `README.md`.
        to: onnx or openvino.
        int8_images: compute in 8 bits, and set the threshold by these normal images. Of those that the model has
            learnt from, known by their pixels, no use is made.
        progress: told what is done of how much.
        overwrite: replace what of that lies in the folder, in either form.

    Raises:
        UsageError: there is no such form, or 8 bits make no sense for the model, or stray too far.
        DataError: too few images that the model has not learnt from.
        MissingExtraError: the extra `export`, or `openvino`, or for 8 bits `train`, is not installed.
        WriteError: the folder cannot be written, somebody else is writing to it, or it holds a file of one of these
            names, and `overwrite` was not asked for.
    """
    if to not in FORMS:
        raise UsageError(f"there is no form {to!r} to export to; there are: {', '.join(FORMS)}")
    versions.require("export", "exporting", "onnx")
    if to == "openvino":
        versions.require("openvino", "exporting to OpenVINO", "openvino")
    folder = Path(folder)
    with run_folder(folder, overwrite=overwrite, is_ours=_NAMES.__contains__) as earlier:
        model, cost = model.on("onnxruntime"), None
        if int8_images is not None:
            model, cost = in_eight_bits(model, int8_images, progress)
        facts = _facts(model, cost)
        parts = _parts(model, to, facts)
        for name, content in parts.items():
            with files.atomic_write(folder / name) as file:
                file.write(content)
        for each in earlier:
            if each.name not in parts:  # of another form
                each.unlink()
    return Exported(model, [folder / name for name in parts], cost)


def _parts(model: FittedModel, to: str, facts: dict[str, str]) -> dict[str, bytes]:
    """Contents of the files, by name: the graph, checked, and its page."""
    assert model.graph is not None  # it runs on ONNX Runtime
    graph = export.whole_graph.whole_graph(model.graph, model.preprocessing, model.decision, model.clip_length, facts)
    _check(model, graph)
    parts = export.openvino_files.openvino_files(graph) if to == "openvino" else {"model.onnx": graph}
    return {**parts, "README.md": _page(model, to, next(iter(parts)), facts).encode()}


def in_eight_bits(model: FittedModel, images: Images, progress: Progress = silent) -> tuple[FittedModel, EightBitCost]:
    """The same model with convolutions in 8 bits, calibrated anew; and what that costs.

    Ranges of activations come from the model's reference images, which it has learnt from. So the given images stay
    unseen, and the threshold that they set keeps its promise.

    Args:
        model: on ONNX Runtime, learnt from images.
        images: normal ones, of which at least 20 the model has not learnt from.
        progress: told what is done of how much.

    Raises:
        UsageError: a model that learnt from video, or without convolutions; or 8 bits stray too far: the AUROC of
            created anomalies falls by more than 0.01, or p-values of normal images move by more than 0.2 on average.
        DataError: too few images.
        MissingExtraError: the extra `train` is not installed.
    """
    if model.learnt_from_video:
        raise UsageError(
            f"this {model.label} learnt from video, and 8 bits are measured on images that stand alone; leave out "
            "--int8"
        )
    versions.require("train", "an export in 8 bits, which is measured on created anomalies", "torch")
    stack = load_stack(open_images(images, "fit").normal, model.preprocessing, progress)
    held_out = _unseen(model, stack)
    normal = stack.images[held_out]
    assert model.graph is not None  # it runs on ONNX Runtime
    graph = export.int8.quantized(model.graph, to_float(model.reference))
    before, after = model.engine, engines.onnx_engine.OnnxEngine(graph)
    output = engines.run_batches(after, normal, model.batch_size)
    created = _created(normal)
    scores = {
        engine: [engines.run_batches(engine, part, model.batch_size).scores for part in (normal, created)]
        for engine in (before, after)
    }
    auroc = [_auroc(*scores[engine]) for engine in (before, after)]
    ranks = [p_values(scores[engine][0], scores[engine][0]) for engine in (before, after)]
    single = to_float(normal[:1])
    cost = EightBitCost(
        images=len(normal),
        auroc_before=auroc[0],
        auroc_after=auroc[1],
        p_value_moved=float(np.abs(ranks[0] - ranks[1]).mean()),
        milliseconds_before=_milliseconds(before, single),
        milliseconds_after=_milliseconds(after, single),
    )
    if not cost.holds:
        raise UsageError(
            f"8 bits stray too far for {model.label}, so nothing is written: {cost.explain()} At most "
            f"{MOST_AUROC_LOST} and {MOST_P_VALUE_MOVED} are allowed; leave out --int8"
        )
    splits = model.record.splits
    names = [stack.items[index].name for index in held_out]
    part = with_groups(part_of([stack.digests[index] for index in held_out], names), stack, held_out)
    record = model.record.model_copy(update={"splits": splits.model_copy(update={"calibrate": part, "folds": None})})
    calibration = dataclasses.replace(
        model.calibration,
        scores={**model.calibration.scores, after.name: output.scores},
        map_scale=None
        if output.maps is None
        else MapScale.of(output.maps, model.false_alarm_rate, model.preprocessing.inside),
    )
    return dataclasses.replace(model, graph=graph, calibration=calibration, record=record), cost


def _unseen(model: FittedModel, stack: Stack) -> list[int]:
    """Indices of the images that the model has not learnt from, each once."""
    splits = model.record.splits
    learnt_from = (splits.train, splits.stop, splits.labelled, splits.discarded)
    used = {digest for part in learnt_from if part is not None for digest in part.images}
    first: dict[str, int] = {}
    for index, digest in enumerate(stack.digests):
        if digest not in used:
            first.setdefault(digest, index)
    if len(first) < _FEWEST:
        raise DataError(
            f"8 bits take at least {_FEWEST} normal images that the model has not learnt from, and {len(first)} of the "
            f"{len(stack.digests)} given are such; give others with --images"
        )
    return list(first.values())


def _created(normal: NDArray[Any]) -> NDArray[np.float32]:
    """Local anomalies created of normal images (n, c, h, w), those that can be seen."""
    generator = torch.Generator().manual_seed(0)
    creator = anomalies.local.LocalAnomalies(LOCAL, ("hard", "soft"))
    created, changed = creator.create(torch.from_numpy(to_float(normal)), generator)
    return created[changed.flatten(1).any(dim=1)].numpy()


def _auroc(normal: NDArray[np.float32], created: NDArray[np.float32]) -> float:
    return Ranking(np.concatenate([normal, created]), np.arange(len(normal) + len(created)) >= len(normal)).auroc()


def _milliseconds(engine: engines.Engine, image: NDArray[np.float32]) -> float:
    times = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        engine.run(image)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def _check(model: FittedModel, graph: bytes) -> None:
    """The graph must score the reference images as the model does."""
    inputs = model.reference
    if inputs.dtype != np.uint8:
        inputs = np.rint(to_float(inputs) * 255).astype(np.uint8)
    if model.clip_length > 1:
        inputs = np.stack([inputs[np.arange(model.clip_length) % len(inputs)]])
    pixels = np.moveaxis(inputs, -3, -1)
    found = engines.onnx_engine.OnnxEngine(graph).run(pixels)
    frames = pixels.reshape(-1, *pixels.shape[-3:])
    again = [model.preprocessing.prepare(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    inputs = np.stack(again).reshape(inputs.shape)  # what is filled in is filled in by the graph once more
    difference = float(np.abs(found.scores - model.run(inputs).scores).max())
    if not difference <= engines.allowed_difference(model.decision.calibration):
        raise AmissError(
            f"the exported graph scores the reference images of {model.label} otherwise, by up to {difference:.3g}, so "
            "nothing is written; please report it"
        )


def _facts(model: FittedModel, cost: EightBitCost | None) -> dict[str, str]:
    """The metadata of the graph."""
    decision, scale = model.decision, model.map_scale
    facts = {
        "amiss": __version__,
        "method": model.method.name,
        "label": model.label,
        "fitted_on": model.record.fitted_on,
        "colour": model.preprocessing.colour,
        "height": model.preprocessing.height,
        "width": model.preprocessing.width,
        "aspect": model.preprocessing.aspect,
        "region": "all" if model.preprocessing.roi is None else model.preprocessing.roi.in_words,
        "false_alarm_rate": decision.false_alarm_rate,
        "threshold": decision.threshold,
        "calibration_scores": decision.n,
        "promise": decision.explain(),
        "precision": "float32" if cost is None else "int8",
    }
    if scale is not None:
        facts |= {"map_floor": scale.floor, "map_threshold": scale.threshold}
    if cost is not None:
        facts["int8"] = cost.explain()
    return {name: str(value) for name, value in facts.items()}


def _page(model: FittedModel, to: str, file: str, facts: dict[str, str]) -> str:
    values = {
        "file": file,
        "openvino": to == "openvino",
        "clip_length": model.clip_length,
        "gives_map": model.gives_map,
        "keys": ", ".join(f"`{name}`" for name in facts),
        "int8": facts.get("int8", ""),
    }
    return export.page.page(facts | values)
