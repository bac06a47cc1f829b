"""`amiss fit`: writes a whole model file or none, and says what it did."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from amiss.model.archive import read_manifest
from amiss.registry import load

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_json_is_one_document(run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "part.amiss"
    done = run("fit", pictures / "good", "--out", out, *quick, "--json").well()
    assert done.json["model"] == str(out)
    assert done.json["images"] == {"train": 70, "stop": 10, "calibrate": 20}
    assert done.json["folds"] is None
    assert (done.json["size"], done.json["channels"]) == ([16, 16], 1)
    decision = done.json["decision"]
    assert (decision["false_alarm_rate"], decision["guaranteed"], decision["images_needed"]) == (0.1, True, 9)
    assert decision == load(out).decision.to_dict()
    assert (round(decision["upper_rate"], 4), decision["confidence"]) == (0.2161, 0.95)  # Beta(2, 19)
    assert "Wrote" in done.err
    assert names(tmp_path) == ["part.amiss"]
    assert load(out).decision.threshold == decision["threshold"]


def test_same_command_same_scores(
    run: Run, pictures: Path, quick: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    run("fit", pictures / "good", "--out", tmp_path / "again.amiss", *quick).well()
    first, second = load(model), load(tmp_path / "again.amiss")
    assert first.score(pictures / "new").scores.tolist() == second.score(pictures / "new").scores.tolist()


def test_a_region_is_learnt_kept_and_told(run: Run, pictures: Path, tmp_path: Path) -> None:
    out, spoilt = tmp_path / "p.amiss", tmp_path / "spoilt"
    fast = ("--method", "pca", "--false-alarm-rate", "0.1")
    done = run(
        "fit", pictures / "good", "--out", out, *fast, "--region", "2,0,12,16", "--ignore", "0,0,0.5,0.25"
    ).well()
    told = "65.6 % of each image, between 12.5 and 87.5 % of its width, and 0 and 100 % of its height"
    assert f"It looks at {told}" in done.out
    assert told in " ".join(run("info", out).well().out.split())
    spoilt.mkdir()
    for file in (pictures / "new").iterdir():
        with Image.open(file) as picture:
            picture.paste(255, (0, 0, 2, 16))
            picture.save(spoilt / file.name)
    as_it_was = run("score", out, pictures / "new", "--report", tmp_path / "r.html", "--json").well().json["rows"]
    found = run("score", out, spoilt, "--json").well().json["rows"]
    assert [row["score"] for row in found] == [row["score"] for row in as_it_was]
    assert told in (tmp_path / "r.html").read_text(encoding="utf-8")
    run("fit", pictures / "good", "--out", out, *fast, "--region", "2,0,17,16").failed(2, "reaches beyond the images")
    keep = ("--region", "0,0,1,1", "--set", "aspect=keep")
    run("fit", pictures / "good", "--out", out, *fast, *keep).failed(2, "aspect=keep")


def test_says_what_it_did_and_what_is_next(run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    done = run("fit", pictures / "good", "--out", tmp_path / "p.amiss", *quick).well()
    assert done.err == ""
    assert "\x1b" not in done.out
    for words in ("ADACL learnt from 70 gray images at 16x16", "10 %", "20 held-out", "amiss score"):
        assert words in done.out


def test_too_few_images_for_the_rate_are_told(run: Run, pictures: Path, tmp_path: Path) -> None:
    done = run(
        "fit",
        pictures / "good",
        "--out",
        tmp_path / "p.amiss",
        "--method",
        "adacl",
        "--epochs",
        "1",
        "--set",
        "fewest_steps=2",
    )
    assert "caution" in done.well().out
    for words in ("20 held-out", "99", "4.76 %"):
        assert words in done.out


def test_settings_reach_the_model(run: Run, pictures: Path, tmp_path: Path) -> None:
    options = (
        "--method",
        "adacl",
        "--epochs",
        "1",
        "--seed",
        "5",
        "--set",
        "fewest_steps=2",
        "--set",
        "size=24x16",
        "--set",
        "loss=bce",
    )
    run("fit", pictures / "good", "--out", tmp_path / "p.amiss", *options).well()
    found = read_manifest(tmp_path / "p.amiss")
    assert found["settings"] | {"epochs": 1, "seed": 5, "fewest_steps": 2, "loss": "bce"} == found["settings"]
    assert (found["preprocessing"]["height"], found["preprocessing"]["width"]) == (24, 16)


def test_several_inputs_and_globs(run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    good = pictures / "good"
    done = run("fit", f"{good}/00*.png", f"{good}/01*.png", good / "020.png", "--out", tmp_path / "p", *quick, "--json")
    assert sum(done.well().json["images"].values()) == 21


def test_only_the_good_of_a_labelled_folder_is_used(
    run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    done = run("fit", pictures / "mvtec", "--out", tmp_path / "p.amiss", *quick, "--json").well()
    assert sum(done.json["images"].values()) == 100
    done = run("fit", pictures / "mvtec" / "test", "--out", tmp_path / "p.amiss", *quick, "--json").well()
    assert sum(done.json["images"].values()) == 30
    assert any("only the normal images" in note for note in done.json["notes"])


def test_unreadable_files_are_told_and_left_out(
    run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(pictures / "good", tmp_path / "good")
    (tmp_path / "good" / "broken.png").write_bytes(b"\x89PNG\r\n")
    done = run("fit", tmp_path / "good", "--out", tmp_path / "p.amiss", *quick).well()
    assert "broken.png" in done.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--method", "adalc"), 2, ["adalc", "adacl"]),
        (("--set", "epoch=1"), 2, ["epoch", "epochs"]),
        (("--set", "epochs"), 2, ["key=value"]),
        (("--set", "epochs=one"), 2, ["epochs", "one"]),
        (("--set", "loss=mae"), 2, ["loss", "mse"]),
        (("--set", "anomalies=foo"), 2, ["foo", "puzzle"]),
        (("--set", "anomalies="), 2, ["anomalies"]),
        (("--set", "normal_high=0.8"), 2, ["normal_high"]),
        (("--set", "size=huge"), 2, ["huge", "HxW"]),
        (("--set", "size=4x4"), 2, ["4x4"]),
        (("--epochs", "0"), 2, ["epochs", "at least 1"]),
        (("--seed", "-1"), 2, ["seed"]),
        (("--seed", "99999999999999999999999"), 2, ["seed"]),
        (("--false-alarm-rate", "0"), 2, ["false_alarm_rate"]),
        (("--false-alarm-rate", "2"), 2, ["false_alarm_rate"]),
        (("--false-alarm-rate", "nan"), 2, ["false_alarm_rate"]),
        (("--set", "learning_rate=nan"), 2, ["learning_rate"]),
        (("--device", "gpu"), 2, ["gpu", "cuda"]),
    ],
    ids=str,
)
def test_bad_settings_are_explained(
    options: tuple[str, ...], code: int, words: list[str], run: Run, pictures: Path, tmp_path: Path
) -> None:
    quickly = ("--method", "adacl", *(() if "--epochs" in options else ("--epochs", "1")))
    run("fit", pictures / "good", "--out", tmp_path / "p.amiss", *quickly, *options).failed(code, *words)
    assert names(tmp_path) == [], "a mistyped setting leaves nothing behind"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_explained(device: str, run: Run, pictures: Path, tmp_path: Path) -> None:
    import torch

    if {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[device]:
        pytest.skip(f"{device} is here")
    done = run(
        "fit",
        pictures / "good",
        "--out",
        tmp_path / "p.amiss",
        "--method",
        "adacl",
        "--epochs",
        "1",
        "--device",
        device,
    )
    assert done.code in (1, 2)
    done.failed(done.code, device)
    assert names(tmp_path) == []


def test_bad_inputs_are_explained(run: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "few").mkdir()
    for name in ("000.png", "001.png"):
        shutil.copy(pictures / "good" / name, tmp_path / "few")
    out = tmp_path / "p.amiss"
    run("fit", tmp_path / "nowhere", "--out", out).failed(2, "nowhere")
    run("fit", f"{tmp_path}/*.webp", "--out", out).failed(1, "*.webp")
    run("fit", tmp_path / "empty", "--out", out).failed(1, "empty")
    run("fit", tmp_path / "note.txt", "--out", out).failed(1, "note.txt")
    run("fit", tmp_path / "few", "--out", out).failed(1, "at least 4")
    run("fit", "mnist:nonsense", "--out", out).failed(2, "nonsense")
    assert names(tmp_path) == ["empty", "few", "note.txt"]


def test_bad_places_for_the_model_are_explained_before_fitting(run: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "old.amiss.partial").touch()
    for out in (tmp_path / "missing" / "p.amiss", tmp_path / "file" / "p.amiss", tmp_path / ("x" * 300)):
        run("fit", pictures / "good", "--out", out, "--method", "adacl", "--epochs", "1").failed(
            1, out.parent.name[:20]
        )
    run("fit", pictures / "good", "--out", tmp_path, "--method", "adacl", "--epochs", "1").failed(2, "is a folder")
    done = run("fit", pictures / "good", "--out", tmp_path / "old.amiss", "--method", "adacl", "--epochs", "1")
    done.failed(done.code, "old.amiss.partial")


def test_json_errors_are_one_document_too(run: Run, pictures: Path, tmp_path: Path) -> None:
    done = run("fit", pictures / "good", "--out", tmp_path / "p.amiss", "--method", "adacl", "--epochs", "0", "--json")
    done.failed(2, "epochs")
    assert "epochs" in done.json["error"]


def test_odd_names_of_the_model_are_shown_as_they_are(
    run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    name = "[red]x[bold] :smile: ü.amiss"
    done = run("fit", pictures / "good", "--out", tmp_path / name, *quick).well()
    assert name in done.out
    assert (tmp_path / name).exists()


def test_titles_are_shown_without_pictures_for_words(
    run: Run, quick: tuple[str, ...], tmp_path: Path, pictures: Path
) -> None:
    """`fashion-mnist:train:normal=3` must not become a picture of a train."""
    import numpy as np

    from amiss.testing import task

    np.save(tmp_path / "a:train:b.npy", task().normal[:40])
    run("fit", tmp_path / "a:train:b.npy", "--out", tmp_path / "p.amiss", *quick).well()
    assert "a:train:b.npy" in "".join(run("info", tmp_path / "p.amiss").well().out.split())


# -- broken off --------------------------------------------------------------------------------------------------------

LONG = (
    "--method",
    "adacl",
    "--epochs",
    "4",
    "--set",
    "fewest_steps=60",
    "--set",
    "patience=4",
    "--false-alarm-rate",
    "0.1",
)


@pytest.fixture(scope="module")
def broken_off(start: Run, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """A folder in which a fit was stopped with Ctrl-C after an epoch; its exit code, output and errors."""
    folder = tmp_path_factory.mktemp("broken")
    process = start("fit", pictures / "good", "--out", folder / "p.amiss", *LONG)
    end = time.monotonic() + 120
    while not (folder / "p.amiss.partial" / "stage-0.ckpt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return folder, process.returncode, out, err


def test_ctrl_c_leaves_no_half_written_model(broken_off: tuple[Path, int, str, str]) -> None:
    folder, code, out, err = broken_off
    assert code != 0
    assert names(folder) == ["p.amiss.partial"]
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2, err


def test_ctrl_c_tells_how_to_go_on(broken_off: tuple[Path, int, str, str]) -> None:
    assert "amiss:" in broken_off[3]
    assert "--resume" in broken_off[3]


def test_resume_finishes_what_was_broken_off(
    broken_off: tuple[Path, int, str, str], run: Run, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken_off[0], folder)
    run("fit", pictures / "good", "--out", folder / "p.amiss", *LONG, "--seed", "1", "--resume").failed(1, "resume")
    run("fit", pictures / "good", "--out", folder / "p.amiss", *LONG, "--resume").well()
    assert names(folder) == ["p.amiss"]
    run("fit", pictures / "good", "--out", tmp_path / "whole.amiss", *LONG).well()
    first, second = load(folder / "p.amiss"), load(tmp_path / "whole.amiss")
    assert first.record.training.stages[0].epochs == 4
    assert first.score(pictures / "new").scores.tolist() == second.score(pictures / "new").scores.tolist()


@pytest.mark.parametrize("file", ["run.json", "stage-0.ckpt"])
@pytest.mark.parametrize("length", [0, 40])
def test_resume_from_a_damaged_checkpoint_is_explained_or_starts_anew(
    file: str, length: int, broken_off: tuple[Path, int, str, str], run: Run, pictures: Path, tmp_path: Path
) -> None:
    """A power cut can leave either file cut."""
    folder = tmp_path / "copy"
    shutil.copytree(broken_off[0], folder)
    damaged = folder / "p.amiss.partial" / file
    damaged.write_bytes(damaged.read_bytes()[:length])
    done = run("fit", pictures / "good", "--out", folder / "p.amiss", *LONG, "--resume")
    if done.code:
        done.failed(1, "resume")
    else:
        assert load(folder / "p.amiss").record.training.stages[0].epochs == 4


def test_without_resume_an_old_checkpoint_is_not_used(
    broken_off: tuple[Path, int, str, str], run: Run, pictures: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken_off[0], folder)
    run("fit", pictures / "good", "--out", folder / "p.amiss", *quick).well()
    assert load(folder / "p.amiss").record.training.stages[0].epochs == 1
    assert names(folder) == ["p.amiss"]


def test_without_a_method_a_panel_is_fitted_and_its_members_are_told(run: Run, pictures: Path, tmp_path: Path) -> None:
    quickly = ("--set", "size=64x64", "--set", "vary=flip")
    done = run("fit", pictures / "good", "--out", tmp_path / "p.amiss", *quickly, "--false-alarm-rate", "0.1").well()
    assert "Panel learnt from 100" in done.out
    assert "5 fits that had not seen it" in done.out
    members = load(tmp_path / "p.amiss").settings["members"].split(",")
    assert len(members) > 2
    for member in members:
        assert f"  {member}" in done.out
    assert done.out.count("share") == len(members)


def test_one_animation_makes_no_video_of_photographs(run: Run, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    first, *others = (Image.open(path) for path in sorted((pictures / "good").iterdir())[:20])
    first.save(folder / "a.gif", save_all=True, append_images=others[:4])
    for number, picture in enumerate(others):
        picture.save(folder / f"b{number}.png")
    options = ("--effort", "quick", "--set", "size=64x64", "--false-alarm-rate", "0.1", "--json")
    done = run("fit", folder, "--out", tmp_path / "p.amiss", *options).well()
    assert done.json["method"] == "panel"
    assert any(note.startswith("5 of 24 images are frames of videos or animations") for note in done.json["notes"])
    assert not load(tmp_path / "p.amiss").learnt_from_video


def test_efforts_of_the_default(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.amiss"
    run("fit", pictures / "good", "--out", out, "--effort", "most").failed(2, "quick, normal, best")
    run("fit", pictures / "good", "--out", out, "--method", "knn", "--effort", "quick").failed(2, "panel")
    done = run("fit", pictures / "good", "--out", out, "--effort", "quick", "--set", "size=64x64", "--json").well()
    assert [member["name"] for member in done.json["members"]] == ["patch_memory", "dfm"]
    assert (done.json["features"], done.json["folds"]) == ("efficientnet_lite0", 5)
