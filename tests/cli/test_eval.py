"""`amiss eval`: the contract's figures, on a tree as MVTec lays it out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amiss.registry import load

Run = Callable[..., Any]
MEASURES = ("auroc", "aupr", "eer", "f1", "precision", "recall", "best_f1")


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def document(run: Run, model: Path, pictures: Path) -> dict[str, Any]:
    found: dict[str, Any] = run("eval", model, pictures / "mvtec", "--json").well().json
    return found


def test_json_has_the_contracts_keys(document: dict[str, Any]) -> None:
    assert set(document["kinds"]) == {"first", "second"}
    for part in (document, *document["kinds"].values()):
        for name in MEASURES:
            assert set(part[name]) == {"value", "low", "high"}
            assert 0 <= part[name]["low"] <= part[name]["value"] <= part[name]["high"] <= 1
        assert set(part["false_alarm_rate"]) == {"promised", "achieved", "low", "high", "bound95"}
    assert document["false_alarm_rate"]["promised"] == 0.1
    assert (document["n_normal"], document["n_anomalous"]) == (30, 45)
    assert document["left_out"]["used_to_fit"] == 0


def test_the_test_folder_alone_gives_the_same(run: Run, model: Path, pictures: Path, document: dict[str, Any]) -> None:
    test = run("eval", model, pictures / "mvtec" / "test", "--json").well().json
    for name in (*MEASURES, "false_alarm_rate", "kinds"):
        assert test[name] == document[name]


def test_people_get_a_table_with_every_measure(run: Run, model: Path, pictures: Path, document: dict[str, Any]) -> None:
    done = run("eval", model, pictures / "mvtec").well()
    assert done.err == ""
    assert "\x1b" not in done.out
    for title in ("AUROC", "AUPR", "EER", "F1", "precision", "recall", "best F1", "first", "second", "False-alarm"):
        assert title in done.out
    assert f"{document['auroc']['value']:.3f}" in done.out
    assert "promised at most 10 %" in done.out
    assert "30 normal and 45 anomalous" in done.out


def test_out_is_the_document(run: Run, model: Path, pictures: Path, document: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "new" / "m.json"
    done = run("eval", model, pictures / "mvtec", "--out", out, "--json").well()
    assert json.loads(out.read_text()) == done.json == document


def test_report_is_written(run: Run, map_model: Path, pictures: Path, tmp_path: Path) -> None:
    done = run("eval", map_model, pictures / "mvtec", "--report", tmp_path / "pages", "--json").well()
    text = (tmp_path / "pages" / "report.html").read_text(encoding="utf-8")
    assert f"{done.json['auroc']['value']:.3f}" in text
    assert "first" in text
    run("eval", map_model, pictures / "mvtec", "--report", tmp_path / "p.html").well()
    assert (tmp_path / "p.html").exists()


def test_images_of_the_fit_are_left_out_and_told(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "mvtec" / "test", tmp_path / "test")
    for name in ("000.png", "001.png", "002.png"):
        shutil.copy(pictures / "good" / name, tmp_path / "test" / "good" / f"fitted-{name}")
    done = run("eval", model, tmp_path / "test", "--json").well()
    assert done.json["left_out"]["used_to_fit"] == 3
    assert done.json["n_normal"] == 30
    assert "3 images had been used to fit" in done.err


def test_what_cannot_be_evaluated_is_explained(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    shutil.copytree(pictures / "mvtec" / "test" / "good", tmp_path / "only" / "good")
    run("eval", model, pictures / "new").failed(1, "label", "good")
    run("eval", model, tmp_path / "only").failed(1, "only", "anomal")
    run("eval", model, tmp_path / "empty").failed(1, "empty")
    run("eval", model, tmp_path / "note.txt").failed(1, "note.txt")
    run("eval", model, tmp_path / "missing").failed(2, "missing")
    run("eval", tmp_path / "missing.amiss", pictures / "mvtec").failed(1, "missing.amiss")
    done = run("eval", model, pictures / "new", "--json")
    done.failed(1)
    assert set(done.json) == {"error"}


def test_places_that_cannot_be_written_are_explained(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options in (
        ("--out", tmp_path),
        ("--out", tmp_path / "file" / "m.json"),
        ("--report", tmp_path / "file"),
        ("--report", tmp_path / "file" / "p.html"),
    ):
        done = run("eval", model, pictures / "mvtec" / "test", *options)
        assert done.code in (1, 2)
        assert "Traceback" not in done.err
        assert done.err.startswith("amiss: ")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["x[/b]", "[red]x", ":smile:"])
def test_odd_names_are_shown_as_they_are(name: str, run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / name.replace("/", "")
    shutil.copytree(pictures / "mvtec" / "test", folder)
    (folder / "first").rename(folder / "k[i]")
    out = tmp_path / name / "m.json"
    done = run("eval", model, folder, "--out", out).well()
    assert str(out) in done.out
    assert "k[i]" in done.out
    assert folder.name in done.out


def test_known_sets_are_labelled(run: Run, model: Path, require_data: Callable[[str], None]) -> None:
    require_data("mnist")
    done = run("eval", model, "mnist:test:normal=6:kinds=1,7:limit=200", "--json").well()
    assert set(done.json["kinds"]) == {"1", "7"}
    assert done.json["n_normal"] + done.json["n_anomalous"] == 200


def test_unknown_engine_is_bad_usage(run: Run, model: Path, pictures: Path) -> None:
    run("eval", model, pictures / "mvtec", "--engine", "cuda").failed(2, "onnxruntime")


def test_another_rate_is_measured_without_another_fit(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ("eval", model, pictures / "mvtec", "--false-alarm-rate", 0.3)
    done = run(*arguments, "--json", "--report", tmp_path).well()
    assert done.json["false_alarm_rate"]["promised"] == done.json["decision"]["false_alarm_rate"] == 0.3
    decision = load(model).with_false_alarm_rate(0.3).decision
    assert done.json["threshold"] == done.json["decision"]["threshold"] == decision.threshold
    assert "at most about 30\u00a0%" in (tmp_path / "report.html").read_text(encoding="utf-8")
    text = run(*arguments).well().out
    assert "promised at most 30 %" in text
    assert "With 95 % confidence, this threshold flags at most" in text


def test_good_and_bad_need_no_layout(
    run: Run, model: Path, pictures: Path, document: dict[str, Any], tmp_path: Path
) -> None:
    for old, new in (("good", "a"), ("first", "b"), ("second", "c")):
        shutil.copytree(pictures / "mvtec" / "test" / old, tmp_path / new)
    sides = ("--good", tmp_path / "a", "--bad", tmp_path / "b", "--bad", tmp_path / "c")
    found = run("eval", model, *sides, "--json").well().json
    for name in (*MEASURES, "false_alarm_rate", "n_normal", "n_anomalous"):
        assert found[name] == document[name]
    assert found["kinds"]["b"] == document["kinds"]["first"]
    run("eval", model, "--good", tmp_path / "a").failed(2, "--bad")
    run("eval", model).failed(2, "--good")
    run("eval", model, tmp_path, *sides).failed(2, "--good")


def test_swapped_labels_stand_before_the_table(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    test = pictures / "mvtec" / "test"
    done = run("eval", model, "--good", test / "first", "--bad", test / "good").well()
    warning, table = done.out.index("labels swapped"), done.out.index("AUPR")
    assert warning < table
    assert "normal images are flagged" in done.out
