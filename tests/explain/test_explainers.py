"""Explainers against brute force, on detectors whose answers are known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss import KNN, PCA, FrameDifference
from amiss.data.preprocessing import to_float
from amiss.detectors.detector import Detector
from amiss.errors import DataError, UsageError
from amiss.explain import explainer_names, get_explainer
from amiss.explain.explainer import Question
from amiss.explain.explainers.occlusion import sliding
from amiss.explain.filling import filling
from amiss.explain.images import explain_collection
from amiss.explain.superpixels import attributed, superpixels
from amiss.testing import task

pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
SIDE = 16


def flat(count: int, seed: int = 0) -> np.ndarray:
    """(n, 16, 16) uint8: a gentle slope in noise."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(80, 160, SIDE)[None, None]
    return np.rint(slope + rng.normal(0, 6, (count, SIDE, SIDE))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return PCA(false_alarm_rate=0.05).fit(flat(200))


@pytest.fixture(scope="module")
def spotted() -> np.ndarray:
    image = flat(1, seed=9)[0]
    image[3:7, 9:13] = 250
    return image


def prepared(detector: Detector, image: np.ndarray) -> np.ndarray:
    return to_float(detector.preprocessing_.prepare(image))


@pytest.mark.parametrize("name", ["residual", "difference", "occlusion", "shap", "lime", "counterfactual"])
def test_a_planted_spot_is_found(detector: Detector, spotted: np.ndarray, name: str) -> None:
    found = detector.explain(spotted, name)
    inside = found.map[3:7, 9:13].mean()
    outside = np.delete(found.map, slice(8, 14), axis=1).mean()
    assert inside > outside
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert (2 <= row <= 7, 8 <= column <= 13) == (True, True), (row, column)
    assert "amiss" in found.words

    assert "upper right" in found.words
    assert found.settings["seed"] == 0


def test_the_scorer_in_use_stays_where_it_is() -> None:
    """What scores on a GPU goes on there; `meta` stands in for a device here."""
    detector = amiss.BCAE1(epochs=1, filters="4,4").fit(task().normal)
    scorer = detector.model_.torch_scorer()
    elsewhere = detector.model_.with_scorer(scorer.to("meta"))
    with pytest.raises(NotImplementedError, match="meta"):  # a copy of nothing cannot be moved
        elsewhere.torch_scorer()
    assert {value.device.type for value in scorer.state_dict().values()} == {"meta"}


def test_the_smallest_rectangle_makes_it_normal(detector: Detector, spotted: np.ndarray) -> None:
    found = detector.explain(spotted, "counterfactual")
    (region,) = found.regions
    assert found.is_anomaly
    assert not found.replaced.is_anomaly
    assert found.replaced.p_value > detector.false_alarm_rate >= found.p_value
    assert region.height * region.width < 64
    assert region.mask(found.map.shape)[3:7, 9:13].mean() > 0.5
    image = prepared(detector, spotted)
    question = Question(detector.model_, image, filling(detector.model_, image, "auto"))
    smaller = [
        (region.top + 1, region.left, region.height - 1, region.width),
        (region.top, region.left, region.height - 1, region.width),
        (region.top, region.left + 1, region.height, region.width - 1),
        (region.top, region.left, region.height, region.width - 1),
    ]
    scores = question.without(type(region)(*each).mask(question.size) for each in smaller)
    assert detector.decision_.is_anomaly(scores).all()  # from no side could it be smaller


def test_nothing_has_to_change_in_a_normal_image(detector: Detector) -> None:
    image = next(image for image in flat(20, seed=5) if detector.score(image[None]).p_values[0] > 0.3)
    found = detector.explain(image, "counterfactual")
    assert "normal already" in found.notes[0]
    assert found.words.startswith("normal")


def test_the_thesis_rectangle_raises_the_score_most(detector: Detector) -> None:
    image = flat(1, seed=3)[0]
    found = detector.explain(image, "counterfactual", search="raise", block=0.25)
    (region,) = found.regions
    given = prepared(detector, image)
    noise = np.random.default_rng(0).random(given.shape, dtype=np.float32)
    rises = {}
    for square in sliding((SIDE, SIDE), (4, 4), 0.75):
        changed = given.copy()
        changed[:, *square.slices] = noise[:, *square.slices]
        rises[square] = detector.engine_.run(changed[None]).scores[0]
    assert region == max(rises, key=lambda square: rises[square])
    assert "a change would raise the score most in 6.2 % of the image" in found.words


def test_occlusion_is_the_mean_loss_of_the_windows_over_a_place(detector: Detector, spotted: np.ndarray) -> None:
    found = detector.explain(spotted, "occlusion", window=0.5, overlap=0.5)
    image = prepared(detector, spotted)
    question = Question(detector.model_, image, filling(detector.model_, image, "auto"))
    base = detector.engine_.run(image[None]).scores[0]
    for row, column in ((0, 0), (5, 10), (15, 3)):
        losses = []
        for top, left in itertools.product((0, 4, 8), repeat=2):
            if top <= row < top + 8 and left <= column < left + 8:
                changed = image.copy()
                changed[:, top : top + 8, left : left + 8] = question.expected[:, top : top + 8, left : left + 8]
                losses.append(base - detector.engine_.run(changed[None]).scores[0])
        assert found.map[row, column] == pytest.approx(np.mean(losses) / question.unit, rel=1e-4)


def test_shap_gives_shapley_values(detector: Detector, spotted: np.ndarray) -> None:
    from captum.attr import KernelShap

    image = prepared(detector, spotted)
    question = Question(detector.model_, image, filling(detector.model_, image, "auto"))
    parts = np.add.outer(np.arange(SIDE) // 8 * 2, np.arange(SIDE) // 8)  # quarters
    found = attributed(KernelShap, question, parts, 2000, 0)

    def value(kept: tuple[int, ...]) -> float:
        mask = ~np.isin(parts, kept)
        return float(question.scores(question.mixed(mask)[None])[0]) / question.unit

    for player in range(4):
        others = [other for other in range(4) if other != player]
        exact = sum(
            math.factorial(len(kept)) * math.factorial(3 - len(kept)) / math.factorial(4)
            * (value((*kept, player)) - value(kept))
            for size in range(4)
            for kept in itertools.combinations(others, size)
        )  # fmt: skip
        assert found[parts == player][0] == pytest.approx(exact, abs=5e-4 * float(found.max()))


def test_superpixels_cover_the_image_without_gaps(spotted: np.ndarray) -> None:
    parts = superpixels(spotted[None].astype(np.float32) / 255, 20)
    assert parts.shape == (SIDE, SIDE)
    assert set(np.unique(parts)) == set(range(parts.max() + 1))
    assert parts.max() >= 3
    colour = superpixels(np.random.default_rng(0).random((3, 20, 24), dtype=np.float32), 6)
    assert colour.shape == (20, 24)


@pytest.mark.parametrize("name", ["lime", "shap"])
def test_seeds_decide_the_samples(detector: Detector, spotted: np.ndarray, name: str) -> None:
    one, same = (detector.explain(spotted, name, samples=40) for _ in range(2))
    other = detector.explain(spotted, name, samples=40, seed=1)
    np.testing.assert_array_equal(one.map, same.map)
    assert not np.array_equal(one.map, other.map)


@pytest.mark.parametrize("name", ["residual", "occlusion", "counterfactual", "shap"])
def test_engines_agree(detector: Detector, spotted: np.ndarray, name: str, tmp_path: Path) -> None:
    settings = {"fill": "nearest"}
    there = amiss.load(detector.save(tmp_path / "x.amiss"), "onnxruntime").explain(spotted, name, **settings)
    here = detector.explain(spotted, name, **settings)
    np.testing.assert_allclose(here.map, there.map, atol=1e-3 * np.abs(here.map).max())
    assert there.score == pytest.approx(here.score, rel=1e-4)


@pytest.mark.parametrize("name", ["lime", "shap"])
@pytest.mark.parametrize("shape", [(16, 16), (8, 40)])
def test_an_image_that_is_all_alike_has_parts_all_the_same(name: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    detector = PCA().fit((rng.integers(0, 255, (60, 1, 1)) * np.ones(shape)).astype(np.uint8))
    for segments in (2, 6):
        found = detector.explain(np.full(shape, 90, np.uint8), name, segments=segments)
        assert np.isfinite(found.map).all()


def test_too_few_samples_are_told(detector: Detector, spotted: np.ndarray) -> None:
    few, enough = (
        [note for note in detector.explain(spotted, "shap", **settings).notes if "samples" in note]
        for settings in ({"samples": 10, "segments": 40}, {"samples": 100, "segments": 10})
    )
    assert len(few) == 1
    assert "10 samples cannot tell" in few[0]
    assert not enough


def test_lime_is_ridge_regression_in_which_near_samples_count_more(detector: Detector, spotted: np.ndarray) -> None:
    """Against scikit-learn, on all subsets of the superpixels, each as often as the other."""
    from sklearn.linear_model import Ridge

    image = prepared(detector, spotted)
    parts = superpixels(image, 6)
    count = int(parts.max()) + 1
    question = Question(detector.model_, image, filling(detector.model_, image, "auto"))
    left = np.array(list(itertools.product((0, 1), repeat=count)))
    scores = question.without(~row.astype(bool)[parts] for row in left) / question.unit
    distances = 1 - np.sqrt(left.mean(axis=1))
    model = Ridge(alpha=1e-9).fit(left, scores, sample_weight=np.exp(-((distances / 0.25) ** 2) / 2))
    found = detector.explain(spotted, "lime", segments=6, samples=4000, ridge=1e-9)
    expected = model.coef_[parts]
    np.testing.assert_allclose(found.map, expected, atol=0.15 * np.abs(expected).max())
    far = detector.explain(spotted, "lime", segments=6, samples=4000, ridge=1e-9, kernel=100)
    assert np.abs(far.map - expected).max() > np.abs(found.map - expected).max()


def test_the_difference_asks_nothing(detector: Detector, spotted: np.ndarray) -> None:
    found = detector.explain(spotted, "difference")
    image = prepared(detector, spotted)
    np.testing.assert_allclose(found.map, np.abs(image - filling(detector.model_, image, "auto"))[0], rtol=1e-6)
    assert (found.passes, found.filled) == (0, "nearest")


@pytest.mark.parametrize("kind", ["nearest", "mean"])
def test_fillings(detector: Detector, spotted: np.ndarray, kind: str) -> None:
    image = prepared(detector, spotted)
    made = filling(detector.model_, image, kind)
    normal = to_float(detector.model_.reference)
    if kind == "mean":
        np.testing.assert_allclose(made, normal.mean(axis=0), rtol=1e-5)
    else:
        assert min(float(np.abs(made - each).max()) for each in normal) == 0
    with pytest.raises(UsageError, match="no reconstruction"):
        filling(KNN().fit(flat(40)).model_, image, "reconstruction")
    with pytest.raises(UsageError, match="patches or features"):
        filling(KNN(patch="8").fit(flat(40)).model_, image, "reconstruction")


def test_a_reconstruction_is_what_an_autoencoder_expects() -> None:
    detector = amiss.BCAE1(epochs=1, filters="4,4").fit(task().normal).use_engine("torch")
    image = prepared(detector, task().unseen[-1])
    made = filling(detector.model_, image, "auto")
    network = detector.model_.torch_scorer().network
    import torch

    with torch.no_grad():
        np.testing.assert_allclose(made, network.reconstruct(torch.from_numpy(image)[None])[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        detector.explain(task().unseen[-1], "residual").map, ((made - image) ** 2).mean(axis=0), atol=1e-5
    )


def test_frames_of_a_video_are_explained_with_their_clip() -> None:
    rng = np.random.default_rng(0)
    still = np.full((300, 24, 32), 90) + rng.normal(0, 3, (300, 24, 32))
    detector = FrameDifference(false_alarm_rate=0.1).fit(still.astype(np.uint8))
    video = still[:10].astype(np.uint8)
    video[-1, 4:10, 20:28] = 240
    found = detector.explain(video, "occlusion", window=0.25)
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert 2 <= row <= 12, row
    assert 17 <= column <= 30, column
    assert found.is_anomaly
    assert found.name.endswith("[9]")
    assert found.filled == "mean"
    with pytest.raises(UsageError, match="fill=mean"):
        detector.explain(video, "occlusion", fill="nearest")


def test_many_images_and_those_that_cannot_be_read(detector: Detector, spotted: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    for number, image in enumerate([*flat(3, seed=4), spotted]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    collection = amiss.open_images(tmp_path)
    explainer = get_explainer("residual")()
    told: list[tuple[int, int]] = []
    found = list(
        explain_collection(
            detector.model_,
            collection,
            explainer,
            total=5,
            progress=lambda task, done, total, detail: told.append((done, total)),
        )
    )
    assert [each.explanation is None for each in found] == [False, False, False, False, True]
    assert "cut.png" in str(found[-1].error)
    assert told[-1] == (5, 5)
    strangest = list(
        explain_collection(
            detector.model_,
            collection,
            explainer,
            most=1,
            total=5,
            progress=lambda task, done, total, detail: told.append((done, total)),
        )
    )
    assert told[-2:] == [(1, 2), (2, 2)], "what cannot be read is told, too"
    assert [each.item.name for each in strangest if each.explanation] == [(tmp_path / "3.png").as_posix()]
    assert sum(each.explanation is None for each in strangest) == 1


def test_what_cannot_be_meant(detector: Detector, spotted: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean occlusion"):
        detector.explain(spotted, "oclusion")
    with pytest.raises(UsageError, match="holds 3 images"):
        detector.explain(flat(3))
    assert detector.explain(spotted[:, :, None]).map.shape == spotted.shape
    with pytest.raises(UsageError, match="no setting 'windw'"):
        detector.explain(spotted, "occlusion", windw=0.5)
    (tmp_path / "cut.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cut\.png"):
        detector.explain(tmp_path / "cut.png")
    names = {"residual", "difference", "lrp", "lime", "shap", "counterfactual", "occlusion"}
    assert set(explainer_names()) == names
