"""The common checks. Each takes a detector class and raises AssertionError with what it found.

One small fit for each class serves them all. A class names a check that does not apply to it, with the reason, in
`excused_checks`.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .. import export, registry
from ..calibration import smoothed
from ..calibration.maps import resized
from ..data import open_images
from ..data.preprocessing import to_float
from ..detectors.detector import Detector
from ..engines import allowed_difference
from ..errors import AmissError, DataError, DegenerateTrainingWarning, NoMapError, NotFittedError, UsageError
from ..explain import explainer_names, get_explainer
from ..lazy import torch
from ..metrics import Ranking
from ..model import FittedModel
from ..settings import settings_of

Method = type[Detector[Any]]
Check = Callable[[Method], None]

_CHECKS: dict[str, Check] = {}
_FITTED: dict[Method, Detector[Any]] = {}
_SAVED: dict[Method, bytes] = {}
#: An AUROC that shows learning on the common task, and one that an untrained network stays below.
LEARNT, UNTRAINED = 0.9, 0.8


@dataclass(frozen=True)
class Task:
    """A small real task: (n, h, w) uint8 images of one handwritten digit as normal, and labelled unseen ones."""

    normal: NDArray[np.uint8]
    unseen: NDArray[np.uint8]
    anomalous: NDArray[np.bool_]


def check(function: Check) -> Check:
    """Register a common check under its name."""

    def run(method: Method) -> None:
        if function.__name__ in method.excused_checks:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateTrainingWarning)  # fits of one epoch are; `learns` allows none
            function(method)

    functools.update_wrapper(run, function)
    _CHECKS[function.__name__] = run
    return run


def checks() -> list[Check]:
    """All common checks; call each with a detector class."""
    return list(_CHECKS.values())


@functools.cache
def task() -> Task:
    """Sixes among scikit-learn's handwritten digits (UCI Optical Recognition, 8x8), enlarged to 16x16.

    Easy enough for a fit of seconds to show learning, and no class that its ink alone gives away (an untrained
    autoencoder tells zeros apart at 0.93, sixes at 0.44).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    six = digits.target == 6
    normal = images[six]
    held_out = 50
    others = images[~six][::8]
    unseen = np.concatenate([normal[:held_out], others])
    return Task(normal[held_out:], unseen, np.arange(len(unseen)) >= held_out)


@functools.cache
def moving_task() -> Task:
    """A grainy bar that crosses 16x16 pixels, one a frame, in noise, and in the unseen video three a frame at last."""
    rng = np.random.default_rng(0)

    def video(steps: NDArray[np.int64]) -> NDArray[np.uint8]:
        frames = rng.integers(0, 20, (len(steps), 16, 16), dtype=np.uint8)
        for frame, place in zip(frames, np.cumsum(steps), strict=True):
            frame[4:12, (place + np.arange(3)) % 16] = rng.integers(140, 250, (8, 3))
        return frames

    steps = np.ones(200, dtype=np.int64)
    steps[60:] = 3
    anomalous = np.arange(200) >= 60
    return Task(video(np.ones(400, dtype=np.int64)), video(steps), anomalous)


def task_of(method: Method) -> Task:
    """What a method is checked on: images, or a video where it scores clips."""
    return task() if _scores_images(method) else moving_task()


def _scores_images(method: Method) -> bool:
    return method().clip_length == 1


def _small(method: Method) -> NDArray[np.uint8]:
    return task_of(method).normal[: 60 if _scores_images(method) else 200]


def _settings(method: Method, **changes: Any) -> dict[str, Any]:
    """Few epochs and few filters: the checks ask how a method behaves, not how well it does.

    Nor do they look through a large backbone; that any backbone works is a check of its own.
    """
    settings = {"seed": 0, "epochs": min(method().epochs, 12), "false_alarm_rate": 0.1, "features": None}
    return settings | method.quick_settings() | changes


def _shortest(method: Method, **changes: Any) -> dict[str, Any]:
    """Next to no training, for checks of which it would tell nothing more."""
    settings = _settings(method)
    return settings | method(**settings).shortest_settings() | changes


def fitted(method: Method) -> Detector[Any]:
    """The one small fit that serves all checks of a class; checks must not change it."""
    if method not in _FITTED:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DegenerateTrainingWarning)
            _FITTED[method] = method(**_settings(method)).fit(task_of(method).normal)
    return _FITTED[method]


def _reloaded(method: Method, engine: str) -> FittedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.amiss"
        if method not in _SAVED:  # an export takes long
            _SAVED[method] = fitted(method).save(path).read_bytes()
        path.write_bytes(_SAVED[method])
        return registry.load(path, engine)


def _float32_scores(detector: Detector[Any]) -> NDArray[np.float32]:
    """Of the unseen images, on one engine for all: a trial tells which precision is fastest, and it may tell otherwise
    the next time."""
    return detector.model_.on("torch").score(task_of(type(detector)).unseen).scores


def _raises(kind: type[Exception], action: Callable[[], object], *words: str) -> None:
    try:
        action()
    except kind as error:
        message = str(error)
    else:
        raise AssertionError(f"expected {kind.__name__}, but nothing was raised")
    assert message.strip(), "the error has no message"
    missing = [word for word in words if word not in message]
    assert not missing, f"the message does not say {missing[0]!r}: {message}"


@check
def settings_are_only_stored(method: Method) -> None:
    """Constructors store, `get_params` gives back, and scikit-learn's `clone` works."""
    from sklearn.base import clone

    detector = method(seed=7, size="32x32")
    assert detector.get_params()["seed"] == 7
    twin = clone(detector)
    assert twin is not detector
    assert twin.get_params() == detector.get_params()
    assert not [name for name in vars(detector) if name.endswith("_")], "a constructor must not learn anything"
    _raises(UsageError, lambda: method().set_params(no_such_setting=1), "no_such_setting")
    wrong: dict[str, Any] = {"seed": "one"}
    _raises(UsageError, lambda: method(**wrong).fit(task_of(method).normal), "seed")


@check
def describes_itself(method: Method) -> None:
    """The facts that `amiss methods` shows are there."""
    for fact in ("title", "paper", "family", "needs", "good_for"):
        assert getattr(method, fact), f"{method.__name__}.{fact} is empty"
    assert method.__doc__, "a method needs a docstring"


@check
def scores_are_sound(method: Method) -> None:
    """Scores are float32, finite and not constant; p-values in (0, 1]; decisions are p <= alpha."""
    detector, unseen = fitted(method), task_of(method).unseen
    result = detector.score(unseen)
    assert result.scores.dtype == np.float32
    assert result.scores.shape == (len(unseen),)
    assert np.isfinite(result.scores).all()
    assert len(np.unique(result.scores)) > len(unseen) // 2, "scores tie or are constant"
    assert result.p_values.dtype == np.float64
    assert ((result.p_values > 0) & (result.p_values <= 1)).all()
    assert detector.decision_.guaranteed == _scores_images(method), "blocks of one video are no independent images"
    np.testing.assert_array_equal(result.is_anomaly, result.p_values <= detector.false_alarm_rate + 1e-12)
    np.testing.assert_array_equal(detector.predict(unseen), result.is_anomaly)


@check
def learns(method: Method) -> None:
    """AUROC of at least 0.9 on the small task, where an untrained copy stays below 0.8."""
    if not method.learns:
        return
    trained = Ranking(fitted(method).score(task_of(method).unseen).scores, task_of(method).anomalous).auroc()
    assert trained >= LEARNT, f"AUROC {trained:.3f} after fitting"
    untrained = Ranking(_untrained(method).score(task_of(method).unseen).scores, task_of(method).anomalous).auroc()
    assert untrained < UNTRAINED, f"AUROC {untrained:.3f} without training: the task shows nothing"


def _untrained(method: Method) -> FittedModel:
    detector = fitted(method)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return detector.model_.with_scorer(detector.head(detector.preprocessing_.shape))


@check
def same_seed_same_scores(method: Method) -> None:
    """A refit starts fresh and gives equal scores; another seed gives others, or divides the images in other folds."""
    if not method.learns:
        return
    small = _small(method)
    detector = method(**_shortest(method, epochs=2)).fit(small)
    first = _float32_scores(detector)
    np.testing.assert_array_equal(_float32_scores(detector.fit(small)), first)
    calibrated = detector.calibration_scores_["torch"]
    other = method(**_shortest(method, epochs=2, seed=1)).fit(small)
    same = np.array_equal(_float32_scores(other), first)
    assert not (same and np.array_equal(other.calibration_scores_["torch"], calibrated)), "the seed changes nothing"


@check
def resumes_to_the_same_result(method: Method) -> None:
    """A fit that is broken off after an epoch and resumed scores as an unbroken one."""
    if not method.has_epochs:
        return

    class BrokenOffError(Exception):
        pass

    def break_off(task: str, done: int, total: int, detail: str) -> None:
        if task not in ("read", "score") and done == 2:
            raise BrokenOffError

    small, settings = _small(method), _shortest(method, epochs=3)
    whole = method(**settings).fit(small)
    with tempfile.TemporaryDirectory() as folder:
        try:
            method(**settings).fit(small, work_dir=folder, progress=break_off)
        except BrokenOffError:
            pass
        else:
            raise AssertionError("the fit told no progress, so it could not be broken off")
        _raises(AmissError, lambda: method(**settings).fit(small[1:], work_dir=folder, resume=True), "resume")
        resumed = method(**settings).fit(small, work_dir=folder, resume=True)
        epochs, expected = ([stage["epochs"] for stage in each.training_["stages"]] for each in (resumed, whole))
        assert epochs == expected
        np.testing.assert_array_equal(_float32_scores(resumed), _float32_scores(whole))


@check
def batches_do_not_matter(method: Method) -> None:
    """Each image is scored alone: order and batch size change nothing beyond the tolerance."""
    detector, unseen = fitted(method), task_of(method).unseen[:60]
    allowed = allowed_difference(detector.calibration_scores_["torch"])
    together = detector.score(unseen).scores
    np.testing.assert_array_equal(detector.score(unseen).scores, together)
    if _scores_images(method):
        backwards = detector.score(unseen[::-1]).scores[::-1]
        assert np.abs(backwards - together).max() <= allowed
    for size in (1, 7):
        rows = [row.score for row in detector.model_.rows(open_images(unseen), size)]
        assert np.abs(np.array(rows) - together).max() <= allowed, f"batches of {size} score differently"


@check
def engines_agree(method: Method) -> None:
    """Save and load give equal scores; ONNX Runtime agrees with torch for batch 1 and n; maps too."""
    detector, unseen = fitted(method), task_of(method).unseen
    scores = detector.score(unseen).scores
    np.testing.assert_array_equal(_reloaded(method, "auto").score(unseen).scores, scores)
    exported = _reloaded(method, "onnxruntime")
    assert exported.engine.name == "onnxruntime"
    allowed = allowed_difference(detector.calibration_scores_["torch"])
    assert np.abs(exported.score(unseen).scores - scores).max() <= allowed
    assert np.abs(exported.score(unseen[:1]).scores - scores[:1]).max() <= allowed
    assert np.abs(exported.decision.threshold - fitted(method).decision_.threshold) <= allowed
    if method.has_map:
        exact = detector.model_.on("torch").anomaly_map(unseen[:8])  # bfloat16, where a trial chose it, rounds maps
        np.testing.assert_allclose(exported.anomaly_map(unseen[:8]), exact, atol=1e-4)
        np.testing.assert_allclose(detector.anomaly_map(unseen[:8]), exact, atol=0.02 * float(np.ptp(exact)))


@check
def exported_graph_agrees(method: Method) -> None:
    """The graph of `amiss export`, given pictures of another size and colour, scores and decides as the model does, for
    one picture and for several; its map is the model's, at the size of the picture."""
    model = _reloaded(method, "onnxruntime")
    graph = export.whole_graph.whole_graph(model.graph or b"", model.preprocessing, model.decision, model.clip_length)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    assert names == ["score", "p_value", "is_anomaly", *(["map"] if method.has_map else [])]
    rng = np.random.default_rng(0)
    gray = task_of(method).unseen[-12:].repeat(3, axis=1).repeat(2, axis=2)[..., None]
    pictures = (gray * rng.uniform(0.5, 1, (1, *gray.shape[1:3], 3))).astype(np.uint8)
    length = model.clip_length
    if length > 1:  # every clip is scored as a video of its own, of which the last frame tells
        inputs = {"clip": np.stack([pictures[:length], pictures[-length:]])}
        expected = np.array([model.score(clip).scores[-1] for clip in inputs["clip"]])
    else:
        inputs, expected = {"image": pictures}, model.score(pictures).scores
    found = dict(zip(names, session.run(None, inputs), strict=True))
    single = session.run(["score"], {name: value[:1] for name, value in inputs.items()})[0]
    allowed = allowed_difference(model.decision.calibration)
    assert np.abs(found["score"] - expected).max() <= allowed
    assert np.abs(single - expected[:1]).max() <= allowed
    np.testing.assert_allclose(found["p_value"], model.decision.p_values(found["score"]), rtol=1e-6)
    np.testing.assert_array_equal(found["is_anomaly"], model.decision.is_anomaly(found["score"]))
    if method.has_map:
        clips = inputs["clip"] if length > 1 else pictures[:, None]
        maps = [resized(model.anomaly_map(clip)[-1], *pictures.shape[1:3]) for clip in clips]
        np.testing.assert_allclose(found["map"], np.stack(maps), atol=1e-4, rtol=1e-4)


@check
def only_the_region_decides(method: Method) -> None:
    """Pixels outside the region of interest change neither scores nor maps, whatever the size of the picture; maps are
    finite, and outside have their smallest value inside."""
    detector = method(**_shortest(method, region="0.25,0.25,0.5,0.75")).fit(_small(method))
    roi, inside = detector.preprocessing_.roi, detector.preprocessing_.inside
    assert roi is not None
    assert inside is not None
    pictures = task_of(method).unseen[-24:].repeat(3, axis=1).repeat(2, axis=2)
    outside = ~roi.at(*pictures.shape[1:])
    changed = pictures.copy()
    changed[:, outside] = np.random.default_rng(0).integers(0, 256, (len(pictures), outside.sum()))
    scores = detector.score(pictures).scores
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1, "the inside decides nothing"
    np.testing.assert_array_equal(detector.score(changed).scores, scores)
    if detector.gives_map:
        maps = detector.anomaly_map(changed)
        np.testing.assert_array_equal(maps, detector.anomaly_map(pictures))
        assert np.isfinite(maps).all()
        lowest = maps[:, inside].min(axis=1, keepdims=True)
        np.testing.assert_array_equal(maps[:, ~inside], lowest.repeat((~inside).sum(), axis=1))


@check
def scoring_changes_nothing(method: Method) -> None:
    """`score` leaves weights, buffers and settings as they were."""
    detector = fitted(method)
    scorer = detector.model_.torch_scorer()
    before = {name: value.clone() for name, value in scorer.state_dict().items()}
    settings, threshold = detector.get_params(), detector.decision_.threshold
    detector.score(task_of(method).unseen[:20])
    for name, value in scorer.state_dict().items():
        assert bool((value == before[name]).all()), f"{name} changed"
    assert (detector.get_params(), detector.decision_.threshold) == (settings, threshold)


@check
def any_shape_fits(method: Method) -> None:
    """One and three channels, odd and non-square sizes."""
    rng = np.random.default_rng(0)
    for shape in ((19, 33), (33, 19, 3), (64, 21)):
        images = rng.integers(0, 256, (12 if _scores_images(method) else 120, *shape), dtype=np.uint8)
        detector = method(**_shortest(method, size="native")).fit(images)
        assert detector.preprocessing_.shape == (3 if len(shape) == 3 else 1, *shape[:2])
        assert np.isfinite(detector.score(images).scores).all()


@check
def patches_give_maps(method: Method) -> None:
    """Any method works on overlapping patches, and then has a map, also where patches do not divide the image."""
    if not _scores_images(method):
        _raises(UsageError, lambda: method(patch=(12, 5)).fit(task_of(method).normal), "patch")
        return
    images = task_of(method).normal[:24]
    detector = method(**_shortest(method, size=(17, 19), patch=(12, 5))).fit(images)
    assert detector.gives_map
    maps = detector.anomaly_map(images[:3])
    assert maps.shape == (3, 17, 19)
    assert np.isfinite(maps).all()
    assert np.isfinite(detector.score(images).scores).all()
    _raises(UsageError, lambda: method(patch=(12, 40)).fit(images), "patch")


@check
def features_work(method: Method) -> None:
    """Any method works on the feature maps of a local backbone, and the saved model needs the file no more."""
    if not _scores_images(method):
        _raises(UsageError, lambda: method(features="any.onnx").fit(task_of(method).normal), "features")
        return
    images = task_of(method).normal[:24]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "backbone.onnx"
        file.write_bytes(small_backbone())
        detector = method(**_shortest(method, size="24x20", features=str(file))).fit(images)
        saved = detector.save(Path(folder) / "model.amiss")
        file.unlink()
        scores = detector.use_engine("torch").score(images).scores
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(registry.load(saved, "torch").score(images).scores, scores)
        exported = registry.load(saved, "onnxruntime").score(images).scores
        assert np.abs(exported - scores).max() <= allowed_difference(detector.calibration_scores_["torch"]) + 1e-6
        if detector.gives_map:
            assert detector.anomaly_map(images[:2]).shape == (2, 24, 20)
        _raises(UsageError, lambda: method(features=str(file)).fit(images), "backbone.onnx")


def small_backbone() -> bytes:
    """An ONNX graph with untrained convolutions: RGB images of any size to feature maps at strides 2 and 4."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, before = [], [], ("image", 3)
    for name, channels in (("half", 6), ("quarter", 8)):
        weight = rng.normal(0, 0.4, (channels, before[1], 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"{name}/weight"))
        nodes.append(
            helper.make_node("Conv", [before[0], f"{name}/weight"], [f"{name}/sum"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"{name}/sum"], [name]))
        before = (name, channels)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, f"h/{stride}", f"w/{stride}"])
        for name, channels, stride in (("half", 6, 2), ("quarter", 8, 4))
    ]
    graph = helper.make_graph(nodes, "backbone", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@check
def anomalies_teach_or_are_refused(method: Method) -> None:
    """Labelled anomalies are learnt from, named in the record and raise the figures; or there is a clear error."""
    taught, unseen = task_of(method).unseen[task_of(method).anomalous], task_of(method).unseen
    half = taught[::2]
    if not method().learns_from_anomalies():
        _raises(UsageError, lambda: method().fit(task_of(method).normal, anomalies=half), "anomalies")
        return
    detector = method(**_settings(method)).fit(task_of(method).normal, anomalies=half)
    assert detector.splits_["labelled"]["count"] == len(half)
    before = Ranking(fitted(method).score(unseen).scores, task_of(method).anomalous).auroc()
    after = Ranking(detector.score(unseen).scores, task_of(method).anomalous).auroc()
    assert after >= before, f"AUROC {before:.3f} without labelled anomalies, {after:.3f} with them"


@check
def maps_are_sound(method: Method) -> None:
    """Where a method has a map it is finite, float32 and as large as the image, and its regions are what exceeds the
    threshold when smoothed; elsewhere there is a clear error."""
    detector, unseen = fitted(method), task_of(method).unseen[:5]
    if not method.has_map:
        _raises(NoMapError, lambda: detector.anomaly_map(unseen), "map")
        _raises(NoMapError, lambda: detector.regions(unseen), "map")
        return
    maps = detector.anomaly_map(unseen)
    assert maps.dtype == np.float32
    assert maps.shape == unseen.shape
    assert np.isfinite(maps).all()
    scale = detector.map_scale_
    assert scale is not None
    assert scale.floor < scale.threshold
    for regions, above in zip(detector.regions(unseen), smoothed(maps) > scale.threshold, strict=True):
        assert np.array_equal(sum((region.mask() for region in regions), np.zeros_like(above)), above)


@check
def explanations_are_sound(method: Method) -> None:
    """Every explainer says clearly that it does not suit, or gives a finite map of the image's size: the same again
    with the same seed, and with one changed image at a time."""
    model = fitted(method).model_
    *_, last = model.inputs(open_images(task_of(method).unseen[-8:], "score"))
    image = last.image
    assert image is not None
    quick = {"samples": 40, "segments": 8, "window": 0.5}
    for name in explainer_names():
        kind = get_explainer(name)
        settings: dict[str, Any] = {key: value for key, value in quick.items() if key in settings_of(kind)}
        explainer = kind(**settings)
        reason = explainer.refusal(model)
        if reason is not None:
            _raises(UsageError, lambda explainer=explainer: explainer.check(model), method.__name__)  # type: ignore[misc]
            continue
        explainer.check(model)
        found = explainer.explain(model, to_float(image))
        assert found.map.shape == image.shape[-2:], (name, found.map.shape)
        assert np.isfinite(found.map).all(), name
        assert found.words
        again = explainer.explain(model, to_float(image))
        np.testing.assert_array_equal(found.map, again.map, err_msg=name)
        single = kind(**settings, together=1).explain(model, to_float(image))
        np.testing.assert_allclose(found.map, single.map, atol=1e-3 * max(1.0, float(np.abs(found.map).max())))


@check
def bad_input_is_explained(method: Method) -> None:
    """An empty folder, one image, NaN, a wrong channel count, a missing folder, no fit: each a clear error."""
    detector, images = fitted(method), task_of(method).normal
    with tempfile.TemporaryDirectory() as folder:
        _raises(DataError, lambda: method().fit(folder), folder)
        file = Path(folder) / "notes.txt"
        file.write_text("no image")
        _raises(AmissError, lambda: method().fit(file), "notes.txt")
        _raises(AmissError, lambda: detector.score(file), "notes.txt")
    _raises(DataError, lambda: method().fit(images[:1]), "at least")
    _raises(DataError, lambda: method().fit(images[:0]))
    spoilt = images.astype(np.float32) / 255
    spoilt[3, 0, 0] = np.nan
    _raises(DataError, lambda: method().fit(spoilt), "NaN")
    _raises(DataError, lambda: detector.score(spoilt), "NaN")
    _raises(DataError, lambda: detector.score(np.zeros((4, 16, 16, 2), np.uint8)), "2")
    _raises(AmissError, lambda: method().fit("no/such/folder"), "no/such/folder")
    _raises(NotFittedError, lambda: method().score(images), "fit")
    _raises(NotFittedError, lambda: method().save("nowhere.amiss"), "fit")
