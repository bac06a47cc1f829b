"""`amiss bench`: list, run, show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
ONE = ("ravi-4.12", "--cells", "autoencoder-rnn-1-y")


def test_run_goes_on_and_show_tells(run: Run, tmp_path: Path) -> None:
    work = tmp_path / "bench"
    first = run("bench", "run", *ONE, "--work", work, "--json").well().json
    assert [(each["cell"], each["state"]) for each in first] == [("autoencoder-rnn-1-y/weights/all", "measured")]
    assert "0 measured, 1 from before" in run("bench", "run", *ONE, "--work", work).well().out
    listed = {each["name"]: each for each in run("bench", "list", "--work", work, "--json").well().json}
    assert (listed["ravi-4.12"]["cells"], listed["ravi-4.12"]["measured"]) == (54, 1)
    assert "CRNN AE (1, Y) | paper | 0.6 |" in run("bench", "show", "ravi-4.12", "--work", work).well().out
    page = tmp_path / "page.html"
    shown = run("bench", "show", "ravi-4.12", "--work", work, "--html", page, "--json").well().json
    row = shown["sets"]["weights"]["rows"][0]
    assert row["figures"]["parameters"]["printed"] == 0.6
    assert row["figures"]["parameters"]["mean"] == pytest.approx(0.6, abs=0.01)
    assert "<table>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seeds", "0;1"), "--seeds must be whole numbers"),
        (("--budget", "soon"), "--budget must be a number"),
        (("--cells", "nothing"), "no cell is called nothing"),
    ],
)
def test_bad_usage(options: tuple[str, ...], words: str, run: Run, tmp_path: Path) -> None:
    run("bench", "run", "ravi-4.12", *options, "--work", tmp_path / "w").failed(2, words)
    assert not (tmp_path / "w").exists()


def test_an_unknown_table(run: Run) -> None:
    run("bench", "show", "ravi-4.14").failed(2, "there is no table 'ravi-4.14'")


def test_what_is_not_here_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.data.locate._SYSTEM_FOLDERS", ())
    monkeypatch.setenv("AMISS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = run("bench", "run", "adnl-2", "--work", tmp_path / "w").well()
    assert "5 not run: lobby is not here; see amiss data list" in done.out
    assert "not run: lobby is not here" in run("bench", "show", "adnl-2", "--work", tmp_path / "w").well().out
