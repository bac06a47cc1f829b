"""What the named reconstructing methods promise, and what degenerate training says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import amiss
from amiss.detectors.reconstructor import Reconstructor, _diagnose_negative, diagnose_svdd
from amiss.errors import DegenerateTrainingWarning, UsageError
from amiss.metrics import Ranking
from amiss.networks.asymmetric import AsymmetricConv2d
from amiss.testing import fitted, task
from amiss.training.stage import Batch

pytestmark = pytest.mark.slow

MEAN = "error of the mean image"
QUICK = {"filters": "16,16,16", "epochs": 8, "learning_rate": 4e-3}
WIDE = QUICK | {"compression": 0.0}
#: Fits of a few epochs may look degenerate; where that is the question, `pytest.warns` asks it.
pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")


def test_strengthened_kernels_are_fused_when_saved(tmp_path: Path) -> None:
    plain, strengthened = (amiss.BCAE1(**QUICK, conv=conv).fit(task().normal[:40]) for conv in ("plain", "asymmetric"))
    shapes = [
        {name: value.shape for name, value in detector.model_.torch_scorer().state_dict().items()}
        for detector in (plain, strengthened)
    ]
    assert shapes[0] == shapes[1]
    kept = amiss.BCAE1(**QUICK, conv="asymmetric", fuse=False).fit(task().normal[:40])
    assert any(isinstance(part, AsymmetricConv2d) for part in kept.model_.torch_scorer().modules())
    np.testing.assert_allclose(
        strengthened.score(task().unseen).scores, kept.score(task().unseen).scores, rtol=1e-4, atol=1e-7
    )
    loaded = amiss.load(kept.save(tmp_path / "unfused.amiss"))
    np.testing.assert_array_equal(loaded.score(task().unseen).scores, kept.score(task().unseen).scores)


def test_alps_gives_three_scores() -> None:
    detector = fitted(amiss.ALPS)
    assert isinstance(detector, Reconstructor)
    paths = detector.path_scores(task().unseen)
    np.testing.assert_allclose((paths["normal"] + paths["perturbed"]) / 2, paths["mean"], rtol=1e-5)
    scorer: Any = detector.model_.torch_scorer()
    scaled = (paths["mean"] - scorer.get_buffer("low").numpy()) / scorer.get_buffer("span").numpy()
    np.testing.assert_allclose(detector.score(task().unseen).scores, scaled, rtol=1e-4, atol=1e-4)


def test_the_distorter_does_harm_and_touches_nothing_else() -> None:
    """ALPS III-C: its own steps alone raise the error of perturbed codes, and not that of the others."""
    from amiss.training.stage import Batch, PreparedImages

    detector = amiss.ALPS(**QUICK).fit(task().normal)
    scorer: Any = detector.model_.torch_scorer()
    images = PreparedImages(torch.from_numpy(task().normal[:64, None]))[:]
    player = next(each for each in detector.stages(scorer)[0].players if each.name == "distorter")  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(player.parameters, 1e-3)
    before = {path: scorer.errors(images, path).mean().item() for path in ("normal", "perturbed")}
    for _ in range(30):
        loss = player.terms(Batch(images, torch.Generator()))["distortion"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = {path: scorer.errors(images, path).mean().item() for path in ("normal", "perturbed")}
    assert after["normal"] == before["normal"]
    assert after["perturbed"] > 1.5 * before["perturbed"]


def test_score_is_a_setting_and_a_method() -> None:
    detector = amiss.ALPS(score="perturbed")
    assert detector.get_params()["score"] == "perturbed"
    assert callable(detector.score)
    assert detector.set_params(score="normal").get_params()["score"] == "normal"
    with pytest.raises(UsageError, match="score must be one of"):
        amiss.ALPS(score="best").fit(task().normal)


def test_negative_learning_needs_no_anomalies_but_uses_them() -> None:
    anomalies = task().unseen[task().anomalous]
    without = fitted(amiss.ADNL)
    assert [stage["stage"] for stage in without.training_["stages"]] == ["fit"]
    assert "labelled" not in without.splits_
    for phase, stages in (("after", ["fit", "negative"]), ("mixed", ["fit"])):
        detector = amiss.BCAE1(**QUICK, negative="bounded", negative_phase=phase).fit(
            task().normal, anomalies=anomalies[:20]
        )
        assert [stage["stage"] for stage in detector.training_["stages"]] == stages
        assert "negative term" in detector.training_["stages"][-1]["figures"][-1]


@pytest.mark.filterwarnings("ignore:the code holds:amiss.errors.DegenerateTrainingWarning")
def test_every_negative_form_raises_the_error_of_labelled_anomalies() -> None:
    """Nines, which a small autoencoder of sixes with a wide code paints not badly, against the fit without labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    shown, hidden = images[digits.target == 9][:30], images[digits.target == 9][30:80]
    before = amiss.BCAE1(**WIDE).fit(task().normal)
    normal = task().unseen[~task().anomalous]

    def ratio(detector: amiss.Detector) -> float:
        return float(detector.score(hidden).scores.mean() / detector.score(normal).scores.mean())

    for form in ("plain", "weighted", "repeated", "bounded"):
        settings = {"negative": form, "negative_epochs": 4, "negative_weight": 2.0, "negative_moves": 2}
        taught = amiss.BCAE1(**WIDE, **settings).fit(task().normal, anomalies=shown)
        assert ratio(taught) > 1.5 * ratio(before), form


def test_anomalies_that_are_also_normal_are_left_out() -> None:
    both = np.concatenate([task().normal[:5], task().unseen[task().anomalous][:5]])
    detector = amiss.BCAE1(**QUICK, negative="bounded", negative_epochs=1).fit(task().normal, anomalies=both)
    assert detector.splits_["labelled"]["count"] == 5
    assert any("also among the normal images" in note for note in detector.notes_)


def test_batch_normalisation_stands_still_where_anomalies_are_learnt_from() -> None:
    settings = {**QUICK, "epochs": 2, "negative_epochs": 2}
    plain = amiss.BCAE1(**settings).fit(task().normal).model_.torch_scorer()
    taught = amiss.BCAE1(**settings, negative="repeated").fit(
        task().normal, anomalies=task().unseen[task().anomalous][:5]
    )
    buffers = dict(plain.named_buffers())
    assert any("running_mean" in name for name in buffers)
    for name, value in taught.model_.torch_scorer().named_buffers():
        assert torch.equal(value, buffers[name]), name


def test_mixed_anomalies_share_the_normal_images_batch() -> None:
    sizes: set[int] = set()
    detector = amiss.AAE(filters="8,8,8,8", epochs=1, batch_size=32, negative="repeated", negative_phase="mixed")
    scorer = detector.build((1, 16, 16))
    scorer.network.encoder.register_forward_hook(lambda module, given, made: sizes.add(len(given[0])))
    (stage,) = detector.stages(scorer)
    batch = Batch(torch.rand(6, 1, 16, 16), torch.Generator().manual_seed(0), torch.rand(4, 1, 16, 16))
    found = {player.name: set(player.terms(batch)) for player in stage.players}
    assert sizes == {10}
    assert found["negative"] == {"negative term"}
    assert found["autoencoder"] == {"reconstruction error"}
    assert (stage.keep, stage.patience) == ("last", None)


def test_validation_images_that_are_learnt_from_are_left_out() -> None:
    from amiss.data import Collection, Item

    anomalies = task().unseen[task().anomalous]
    images = [*task().normal[:6], *task().unseen[~task().anomalous][:4], *anomalies[:7]]
    items = [
        Item(str(number), lambda image=image: image, anomalous=number >= 10)  # type: ignore[misc]
        for number, image in enumerate(images)
    ]
    detector = amiss.BCAE1(**QUICK, negative="bounded", negative_epochs=1).fit(
        task().normal, anomalies=anomalies[:3], validation=Collection(items, "labelled")
    )
    assert "(4 anomalies seen)" in detector.training_["stages"][0]["chosen_by"]
    assert any(note.startswith("9 of the validation images") for note in detector.notes_)


def test_labelled_validation_chooses_the_epoch_and_says_so() -> None:
    from amiss.data import Collection, Item

    items = [
        Item(str(number), lambda number=number: task().unseen[number], anomalous=bool(task().anomalous[number]))  # type: ignore[misc]
        for number in range(40, 80)
    ]
    detector = amiss.BCAE1(**QUICK).fit(task().normal, validation=Collection(items, "labelled"))
    (stage,) = detector.training_["stages"]
    assert stage["chosen_by"] == "labelled validation (30 anomalies seen)"
    figures = [each["validation AUROC"] for each in stage["figures"]]
    assert figures[stage["chosen_epoch"] - 1] == max(figures)
    scores = detector.score(task().unseen[40:80]).scores
    assert Ranking(scores, task().anomalous[40:80]).auroc() == pytest.approx(max(figures), abs=1e-6)


@pytest.mark.parametrize("scope", ["last", "encoder", "joint"])
def test_svdd_draws_embeddings_together_and_changes_only_its_scope(scope: str) -> None:
    """RAVI 3.6: with a learning rate large enough to see it in a test."""
    settings = {"svdd": "one-class", "svdd_scope": scope, "svdd_learning_rate": 1e-3, "svdd_epochs": 3}
    before = amiss.BCAE1(**QUICK).fit(task().normal[:60]).model_.torch_scorer()
    detector = amiss.BCAE1(**QUICK, **settings).fit(task().normal[:60])
    after = detector.model_.torch_scorer()
    changed = {
        name
        for name, value in after.state_dict().items()
        if not torch.equal(value, before.state_dict()[name]) and "running" not in name
    }
    last = {name for name in changed if name.startswith("network.encoder.2.")}
    assert last
    if scope == "last":
        assert changed == last
    else:
        assert any(name.startswith("network.encoder.0.") for name in changed)
        assert any(name.startswith("network.decoder") for name in changed) == (scope == "joint")
    figures = detector.training_["stages"][-1]["figures"]
    assert figures[-1]["svdd"] < figures[0]["svdd"]
    with torch.no_grad():
        images = torch.rand(20, 1, 16, 16)
        spread = [float(scorer.network.encode(images).flatten(1).std(dim=0).mean()) for scorer in (before, after)]
    assert spread[1] < spread[0]


# -- degenerate training ----------------------------------------------------------------------------------------------


def test_an_autoencoder_that_learns_nothing_warns_and_notes_it() -> None:
    with pytest.warns(DegenerateTrainingWarning, match="raise epochs"):
        detector = amiss.BCAE1(epochs=1, fewest_steps=1, filters="8,8,8").fit(task().normal[:20])
    assert any("raise epochs" in note for note in detector.notes_)


def test_a_code_larger_than_the_picture_warns() -> None:
    with pytest.warns(DegenerateTrainingWarning, match="a number for every 0.5 of the image.*compression=32"):
        amiss.BCAE1(filters="8,8", compression=0.0, epochs=1, fewest_steps=10).fit(task().normal[:60])


def test_a_distorter_that_wins_warns() -> None:
    with pytest.warns(DegenerateTrainingWarning, match="distorter wins.*lower strength"):
        amiss.ALPS(
            filters="8,8,8", epochs=4, strength=50.0, distorter_every=1, distorter_weight=10.0, learning_rate=1e-2
        ).fit(task().normal[:60])


def test_an_exploding_negative_term_warns() -> None:
    with pytest.warns(DegenerateTrainingWarning, match="negative=bounded"):
        amiss.BCAE1(**QUICK, negative="weighted", negative_weight=1e4, negative_epochs=4).fit(
            task().normal, anomalies=task().normal[:3] // 2
        )


def test_a_collapsed_centre_warns() -> None:
    """Images that hardly differ are drawn onto one point."""
    alike = task().normal[:1] // 2 + np.random.default_rng(0).integers(0, 3, (60, 16, 16), dtype=np.uint8)
    with pytest.warns(DegenerateTrainingWarning, match="collapsed"):
        amiss.BCAE1(**QUICK, svdd="one-class", svdd_scope="encoder", svdd_learning_rate=1e-3, svdd_epochs=10).fit(alike)


@pytest.mark.parametrize(
    ("diagnose", "figures", "found"),
    [
        (_diagnose_negative, [{"stop": 0.02}, {"stop": 0.03, MEAN: 0.1}], False),
        (_diagnose_negative, [{"stop": 0.02}, {"stop": 0.05, MEAN: 0.1}], True),
        (_diagnose_negative, [{"stop": 0.2, MEAN: 0.1}], True),
        (diagnose_svdd, [{"spread": 0.5}], False),
        (diagnose_svdd, [{"spread": 1e-5}], True),
    ],
)
def test_diagnoses(diagnose: Any, figures: list[Mapping[str, float]], found: bool) -> None:
    assert bool(diagnose(figures)) == found
