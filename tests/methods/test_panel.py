"""What only the panel promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import amiss
from amiss.data.preprocessing import to_float
from amiss.errors import UsageError
from amiss.metrics import Ranking
from amiss.settings import preset
from amiss.testing import checks, fitted, task

pytestmark = pytest.mark.slow


def test_the_score_is_the_weighted_sum_of_scaled_members() -> None:
    normal, unseen = task().normal, task().unseen
    panel = amiss.Panel(members="knn,pca", calibration="split").fit(normal)
    alone = [kind(calibration="split").fit(normal) for kind in (amiss.KNN, amiss.PCA)]
    stop = panel.splits_["stop"]["images"]
    assert all(each.splits_["stop"]["images"] == stop for each in alone), "members learn from the same parts"
    found = panel.score(unseen).scores
    scaled = []
    for detector, number in zip(alone, range(2), strict=True):
        scorer = panel.model_.torch_scorer()
        mean, deviation = (float(scorer.get_buffer(f"score_{what}")[number]) for what in ("mean", "deviation"))
        weight = panel.member_facts()[number]["weight"]
        scaled.append(weight * (detector.score(unseen).scores - mean) / deviation)
    np.testing.assert_allclose(found, np.sum(scaled, axis=0), rtol=1e-2, atol=1e-2)


def test_a_fold_in_whose_grain_no_local_anomaly_shows_is_no_hindrance() -> None:
    grain = np.random.default_rng(0).integers(0, 256, (20, 12, 12), dtype=np.uint8)
    panel = amiss.Panel(members="knn,pca", size="native").fit(grain)
    assert panel.splits_["folds"] == 10


def test_members_are_scaled_on_images_that_they_have_not_seen() -> None:
    """Then the sum over members has mean zero, and its calibration scores are what the fits of the folds gave."""
    panel = amiss.Panel(members="knn,pca").fit(task().normal[:60])
    scores = panel.calibration_scores_["torch"]
    assert panel.splits_["folds"] == 10
    assert len(scores) == 60
    assert scores.mean() == pytest.approx(0, abs=1e-3)
    assert panel.score(task().normal[:60]).scores.mean() < scores.mean(), "what was learnt from scores lower"


def test_members_are_scaled_on_the_stop_part_where_images_are_held_out() -> None:
    normal = task().normal
    panel = amiss.Panel(members="knn,pca", calibration="split").fit(normal)
    stack = amiss.data.stack.load_stack(amiss.open_images(normal), panel.preprocessing_)
    stop = [stack.digests.index(digest) for digest in panel.splits_["stop"]["images"]]
    scorer = panel.model_.torch_scorer()
    with torch.no_grad():
        scaled = scorer.scaled(scorer.member_outputs(torch.from_numpy(to_float(stack.images[stop]))), "score")
    np.testing.assert_allclose(scaled.mean(dim=1), [0, 0], atol=1e-3)
    weights = [facts["weight"] for facts in panel.member_facts()]
    np.testing.assert_allclose(scaled.std(dim=1, correction=0), weights, atol=1e-3)


def test_cost_and_share_of_each_member_are_recorded() -> None:
    panel = fitted(amiss.Panel)
    stages = panel.training_["stages"]
    names = list(panel.members)
    assert {stage["stage"].split(":")[0] for stage in stages[:-1]} == {"folds", *names}
    shares = {name: value for name, value in stages[-1]["figures"][0].items() if name.startswith("share of ")}
    assert set(shares) == {f"share of {name}" for name in names}
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    facts = panel.member_facts()
    assert [each["name"] for each in facts] == names
    assert sum(each["weight"] for each in facts) == pytest.approx(1, abs=0.01)


def test_who_sees_nothing_has_no_weight() -> None:
    """The largest gradient is about the same whether a digit is whole or not; how its pixels lie is not."""
    facts = amiss.Panel(members="gradient,pca").fit(task().normal).member_facts()
    weight = {each["name"]: each["weight"] for each in facts}
    assert weight["pca"] > 5 * weight["gradient"]


def test_who_knows_kinds_gains_weight_by_kinds_that_were_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright and dark textures: a mean over all places tells a kind that nobody has shown it, memory of places less."""
    images = task().normal[:60].repeat(4, axis=1).repeat(4, axis=2)
    settings = {"members": "patch_memory,dfm", "size": (64, 64)}
    weights = {}
    for skill in ([0.0, 0.0], [0.0, 1.0], None):
        with monkeypatch.context() as patch:
            if skill is not None:
                patch.setattr(amiss.Panel, "_skill_of_kinds", lambda *_, skill=skill: skill)
            facts = amiss.Panel(**settings).fit(images).member_facts()
        weights[str(skill)] = {each["name"]: each["weight"] for each in facts}["dfm"]
    assert weights["[0.0, 0.0]"] < weights["None"] < weights["[0.0, 1.0]"]


def test_kinds_are_held_out_where_images_are_held_out_for_good() -> None:
    images = task().normal[:60].repeat(4, axis=1).repeat(4, axis=2)
    panel = amiss.Panel(members="patch_memory,dfm", size=(64, 64), calibration="split").fit(images)
    assert "folds" not in panel.splits_ or panel.splits_["folds"] is None
    assert sum(each["weight"] for each in panel.member_facts()) == pytest.approx(1, abs=0.01)


def test_few_different_pictures_are_few_kinds() -> None:
    images = task().normal[:3].repeat(4, axis=1).repeat(4, axis=2).repeat(7, axis=0)
    panel = amiss.Panel(members="patch_memory,dfm", size=(64, 64)).fit(images)
    assert np.isfinite(panel.score(images).scores).all()


def test_it_is_near_its_best_member() -> None:
    unseen, labels = task().unseen, task().anomalous
    alone = [Ranking(fitted(kind).score(unseen).scores, labels).auroc() for kind in (amiss.KNN, amiss.PCA)]
    together = Ranking(amiss.Panel(members="knn,pca").fit(task().normal).score(unseen).scores, labels).auroc()
    assert together > max(alone) - 0.02


def test_members_are_told_their_settings() -> None:
    panel = amiss.Panel(members="knn,pca", told="knn.neighbours=1; pca.components=5", seed=3, epochs=2)
    members = panel.member_recipes()
    assert members["knn"].get_params()["neighbours"] == 1
    assert members["pca"].get_params()["components"] == 5
    assert {member.seed for member in members.values()} == {3}
    assert {member.epochs for member in members.values()} == {2}


def test_where_images_lie_any_way_round_a_turned_one_is_no_anomaly() -> None:
    members = "adacl,located_adacl,patch_memory"
    turned, upright = (amiss.Panel(members=members, vary=vary).member_recipes() for vary in ("rotate,light", "none"))
    assert turned["adacl"].get_params()["anomalies"] == ("cut_paste", "puzzle")
    assert upright["adacl"].get_params()["anomalies"] == amiss.ADACL().anomalies
    assert turned["located_adacl"].get_params()["vary"] == ("rotate", "light")
    assert turned["patch_memory"].get_params()["vary"] == ("rotate", "light")


def test_who_takes_no_backbone_sees_the_image_itself() -> None:
    images = task().normal[:40]
    panel = amiss.Panel(members="dfm,knn", size=(64, 64)).fit(images)
    alone = amiss.KNN(size=(64, 64)).fit(images)
    scorer = panel.model_.torch_scorer()
    kept = scorer.inner.members["knn"].inner.get_buffer("kept")
    torch.testing.assert_close(kept, alone.model_.torch_scorer().get_buffer("kept"))
    assert panel.model_.backbone is not None
    assert amiss.Panel(members="knn,pca").fit(images).model_.backbone is None


def test_efforts_are_settings() -> None:
    assert amiss.Panel.effort_settings("normal") == {}
    assert "located_adacl" in amiss.Panel.effort_settings("best")["members"]
    with pytest.raises(UsageError, match="quick, normal, best"):
        amiss.Panel.effort_settings("most")
    with pytest.raises(UsageError, match="one way"):
        amiss.KNN.effort_settings("quick")


def test_labelled_anomalies_reach_the_members_that_can_use_them() -> None:
    bad = task().unseen[task().anomalous][:10]
    panel = amiss.Panel(members="located_adacl,pca", told="located_adacl.steps=5", epochs=1)
    assert panel.fit(task().normal, anomalies=bad).splits_["labelled"]["count"] == 10
    with pytest.raises(UsageError, match="does not learn from anomalies"):
        amiss.Panel(members="knn,pca").fit(task().normal, anomalies=bad)


def test_bad_settings_are_explained() -> None:
    for settings, word in (
        ({"members": "knn,k_nn"}, "k_nn"),
        ({"members": "knn,panel"}, "panel"),
        ({"members": "knn,knn"}, "twice"),
        ({"told": "adnl.epochs=3"}, "adnl"),
        ({"told": "knn=3"}, "METHOD.KEY=VALUE"),
        ({"members": "knn,pca", "told": "knn.neighbors=3"}, "neighbours"),
    ):
        with pytest.raises(UsageError, match=word):
            amiss.Panel(**settings).fit(task().normal)


def test_a_fresh_fit_leaves_nothing_of_an_older_one_to_resume(tmp_path: Path) -> None:
    def panel(seed: int) -> amiss.Panel:
        return amiss.Panel(members="adacl,pca", told="adacl.fewest_steps=3", epochs=2, seed=seed)

    def break_off(task: str, done: int, total: int, detail: str) -> None:
        if task == "adacl: fit":
            raise KeyboardInterrupt

    images = task().normal[:60]
    panel(1).fit(images, work_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        panel(2).fit(images, work_dir=tmp_path, progress=break_off)
    resumed = panel(2).fit(images, work_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.score(images).scores, panel(2).fit(images).score(images).scores)


@dataclass(kw_only=True, eq=False)
class PanelOfClips(amiss.Panel):
    """Members of two clip lengths."""

    excused_checks: ClassVar[dict[str, str]] = {"learns": "frame_difference tells as much before a fit as after it"}

    members: tuple[str, ...] = preset(amiss.Panel, "members", ("frame_difference", "motion_memory"))


PanelOfClips.__module__ = amiss.Panel.__module__  # it is loaded as the panel that it is


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_common_check_of_a_panel_of_clips(check: Callable[[type[amiss.Panel]], None]) -> None:
    check(PanelOfClips)


def test_members_of_shorter_clips_see_the_last_frames() -> None:
    panel = fitted(PanelOfClips)
    assert panel.model_.clip_length == 4
    scorer = panel.torch_scorer()
    clips = torch.rand(3, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, _ = scorer.member_outputs(clips)
    torch.testing.assert_close(found["score"], amiss.FrameDifference().build((1, 16, 16))(clips[:, -2:])["score"])


def test_members_of_clips_are_weighed_by_created_anomalies_of_motion() -> None:
    """What changes from frame to frame tells of speed; how bright a single frame is at its brightest does not."""
    facts = {each["name"]: each["weight"] for each in fitted(PanelOfClips).member_facts()}
    assert sum(facts.values()) == pytest.approx(1, abs=0.01)
    assert min(facts.values()) > 0.05


def test_images_and_clips_do_not_mix() -> None:
    with pytest.raises(UsageError, match="see clips, as motion_memory, or single images, as pca"):
        amiss.Panel(members="pca,motion_memory").fit(task().normal)


def test_a_panel_of_an_earlier_version_has_the_members_of_that_time() -> None:
    panel = amiss.Panel(members="knn,adacl,bcae1", told="bcae1.compression=16")
    kept = panel.settings_as_text()
    assert (
        kept["told"] == "bcae1.compression=16;adacl.normalisation=group;adacl.averaged=0.8;bcae1.distorter_decays=True"
    )
    assert amiss.Panel.completed(kept) == kept
    earlier = amiss.Panel(**amiss.Panel.completed(kept | {"told": "none"})).member_recipes()
    assert earlier["adacl"].get_params()["normalisation"] == "batch"
    assert earlier["bcae1"].get_params()["compression"] == 0
