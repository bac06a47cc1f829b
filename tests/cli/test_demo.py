"""The demonstration works with nothing on disk but what scikit-learn brings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from amiss.cli import main
from amiss.data.examples import demo_data
from amiss.data.known import KnownSet

pytestmark = pytest.mark.slow


@pytest.fixture
def nothing_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownSet, "locate", lambda known: None)


@pytest.mark.usefixtures("nothing_on_disk")
def test_demo_learns_and_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    monkeypatch.setattr(sys, "argv", ["amiss", "demo", "--out", str(out), "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert facts["auroc"]["value"] > 0.9
    assert facts["false_alarm_rate"]["promised"] == 0.05
    assert "digits" in facts["data"]
    assert "No anomaly was shown" in printed.err
    assert "</html>" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("nothing_on_disk")
def test_learnt_and_scored_pictures_are_different_ones() -> None:
    data = demo_data()
    learnt = {item.name for item in data.normal}
    assert not learnt & {item.name for item in data.labelled}
    assert {item.anomalous for item in data.normal} == {False}
    assert {item.anomalous for item in data.labelled} == {False, True}
    needed = 1 / data.false_alarm_rate - 1
    assert 0.2 * len(data.normal) >= needed, "the demonstration must be able to keep its promise"


def test_fashion_mnist_is_used_where_it_is(require_data: object) -> None:
    assert callable(require_data)
    require_data("fashion-mnist")
    data = demo_data()
    assert "Fashion-MNIST" in data.words
    assert len(data.normal) == 6000
