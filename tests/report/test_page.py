"""The page: says what the data say, lets nothing in, needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amiss.errors import AmissError, DataError, UsageError
from amiss.report import Picture, ReportData, render, write_report
from amiss.report.charts import histogram, thinned_curve, tick_labels, ticks

VOID = {"meta", "link", "img", "br", "input", "hr"}
SVG_VOID = {"rect", "line", "path", "circle", "polyline"}


class Reader(HTMLParser):
    """Checks the nesting, and keeps text, ids, links and loaded addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_VOID, f"<{tag}/> is not closed in HTML"
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert (self.open or [""]).pop() == tag, f"</{tag}> closes what was not open"

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"p", "ul", "dl", "div", "table", "figure", "section", "h2", "h3"}:
            assert "p" not in self.open, f"<{tag}> inside <p>"
        self.tags.append(tag)
        self.ids.extend(value for name, value in attrs if name == "id" and value)
        self.attributes.extend((tag, name, value) for name, value in attrs)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value or "" for _, attribute, value in self.attributes if attribute == name]


def sample(n: int = 200, **changes: Any) -> ReportData:
    random = np.random.default_rng(0)
    scores = random.gamma(4, 0.3, n).astype(np.float32)
    calibration = random.gamma(4, 0.3, 300).astype(np.float32)
    threshold = float(np.sort(calibration)[-3])
    data = ReportData(
        title="bottles",
        summary=["Fitted on 1,240 normal images."],
        scores=scores,
        is_anomaly=scores > threshold,
        threshold=threshold,
        false_alarm_rate=0.01,
        decision="The threshold was set on 300 held-out normal images.",
        calibration_scores=calibration,
    )
    return replace(data, **changes)


def picture(name: str = "a/b/c.png", **changes: Any) -> Picture:
    rng = np.random.default_rng(0)
    return replace(Picture(name, rng.integers(0, 256, (90, 120, 3), dtype=np.uint8), 1.25, 0.0125, True), **changes)


def metrics() -> dict[str, Any]:
    keys = ("auroc", "aupr", "eer", "f1", "precision", "recall", "best_f1")
    same = {key: {"value": 0.9 - place / 100, "low": 0.7, "high": 0.95} for place, key in enumerate(keys)}
    rate = {"promised": 0.01, "achieved": 0.02, "low": 0.004, "high": 0.05}
    return same | {"false_alarm_rate": rate, "kinds": {"crack": same, "dent": {"auroc": same["auroc"]}}}


def full() -> ReportData:
    data = sample()
    labels = np.arange(200) % 10 == 0
    return replace(
        data,
        labels=labels,
        kinds=[("crack" if place % 20 else "dent") if bad else "good" for place, bad in enumerate(labels)],
        metrics=metrics(),
        roc=(np.array([0, 0.1, 1.0]), np.array([0, 0.8, 1.0])),
        worst=[picture(map=np.full((4, 4), 9, np.float32), kind="crack", note="Seen before.")],
        borderline=[picture("x[3]", p_value=None, is_anomaly=False)],
        missed=[picture("missed.png")],
        false_alarms=[],
        how_made=[("Method", "AdaCL")],
        errors=[("broken.png", "cut short")],
        map_floor=1.0,
        map_threshold=2.0,
    )


def test_the_headline_counts() -> None:
    data = sample()
    text = Reader(render(data)).text
    assert f"{int(data.is_anomaly.sum())} of 200 images" in text
    assert "at most about 1\u00a0% are flagged by mistake" in render(data)
    assert data.decision in text


@pytest.mark.parametrize(
    ("scores", "flags", "verdict"),
    [
        ([], [], "No image could be judged"),
        ([1.0], [True], "The image is amiss"),
        ([1.0], [False], "Nothing is amiss with the image"),
        ([1.0, 2.0], [False, False], "None of 2 images is amiss"),
        ([1.0, 2.0], [True, True], "All 2 images are amiss"),
        ([1.0, 2.0, 3.0], [False, False, True], "1 of 3 images is amiss"),
        ([1.0, float("nan"), 3.0], [False, False, True], "1 of 2 images is amiss"),
    ],
)
def test_the_headline_is_grammatical(scores: list[float], flags: list[bool], verdict: str) -> None:
    page = render(sample(scores=np.array(scores, np.float32), is_anomaly=np.array(flags, bool)))
    assert f"<h1>{verdict}</h1>" in page


@pytest.mark.parametrize("data", [sample(), full(), sample(0), sample(threshold=float("inf"))])
def test_nesting_ids_and_links(data: ReportData) -> None:
    reader = Reader(render(data))
    for link in reader.values("href"):
        assert link == "data:," or link[1:] in reader.ids
    for reference in " ".join(reader.values("aria-labelledby")).split():
        assert reference in reader.ids
    images = reader.tags.count("img")
    assert images == len(reader.values("alt"))
    assert reader.tags.count("h1") == 1


def test_self_contained() -> None:
    page = render(full())
    reader = Reader(page)
    assert "//" not in re.sub(r'base64,[^"]*', "", page)
    assert "script" not in reader.tags
    assert all(source.startswith("data:image/") for source in reader.values("src"))
    assert not re.search(r"url\(|@import|@font-face|https?:", page)
    policy = reader.values("content")[0]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]


def test_names_are_never_markup() -> None:
    bad = "\"'><script>alert(1)</script><img src=http://evil onerror=x>&amp;"
    data = replace(
        full(),
        title=bad,
        summary=[bad],
        decision=bad,
        worst=[picture(bad, kind=bad, note=bad, map=np.ones((2, 2), np.float32))],
        errors=[(bad, bad)],
        how_made=[(bad, bad)],
        kinds=[bad] * 200,
        metrics=metrics() | {"kinds": {bad: {"auroc": {"value": 0.5, "low": 0.4, "high": 0.6}}}},
    )
    page = render(data)
    reader = Reader(page)
    assert "<script" not in page
    assert "script" not in reader.tags
    assert all(source.startswith("data:image/") for source in reader.values("src"))
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert bad in " ".join(reader.words)


def test_names_that_are_no_text_or_turn_it_around_are_written(tmp_path: Path) -> None:
    data = sample(errors=[("\udcff\x00a\u202egnp.exe", "bad")])
    text = write_report(data, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "\ufffd\ufffda\ufffdgnp.exe" in text


def test_sections_appear_only_with_their_data() -> None:
    always = {"sure", "glossary", "results"}
    sometimes = {
        "scores",
        "quality",
        "kinds",
        "worst",
        "borderline",
        "missed",
        "false-alarms",
        "unreadable",
        "how-made",
    }
    assert set(Reader(render(full())).ids) >= always | sometimes
    empty = Reader(render(sample(0, calibration_scores=np.zeros(0, np.float32))))
    assert set(empty.ids) >= always
    assert not set(empty.ids) & sometimes
    assert set(Reader(render(sample())).ids) & sometimes == {"scores"}


def test_empty_lists_of_mistakes_are_good_news_only_with_labels() -> None:
    text = Reader(render(full())).text
    assert "No normal image was flagged." in text
    assert "No normal image was flagged." not in Reader(render(sample())).text


def test_flags_are_words_and_unknown_p_values_a_dash() -> None:
    text = Reader(render(full())).text
    assert "Flagged as amiss" in text
    assert "Not flagged" in text
    assert "p-value 0.0125" in text
    assert "p-value –" in text


def test_maps_are_shown_only_with_their_scale() -> None:
    assert Reader(render(full())).tags.count("img") == 4
    assert Reader(render(replace(full(), map_threshold=None))).tags.count("img") == 3


@pytest.mark.parametrize(
    "changes",
    [{"threshold": float("inf")}, {"calibration_scores": np.ones(20, np.float32)}, {"threshold": float("nan")}],
)
def test_an_alert_where_the_rate_cannot_be_promised(changes: dict[str, Any]) -> None:
    text = Reader(render(replace(sample(**changes), metrics=metrics()))).text
    assert "No promise can be made." in text
    assert "cannot be promised" in text
    assert "promised was at most" not in text
    assert "asked for was at most" in text
    assert "Promise:" not in text


def test_just_enough_calibration_images_for_the_promise() -> None:
    assert "Promise:" in Reader(render(sample(calibration_scores=np.ones(99, np.float32)))).text
    assert "Promise:" not in Reader(render(sample(calibration_scores=np.ones(98, np.float32)))).text


def test_more_false_alarms_than_promised_are_pointed_out() -> None:
    assert "More false alarms than promised" not in render(full())
    worse = metrics() | {"false_alarm_rate": {"promised": 0.01, "achieved": 0.09, "low": 0.05, "high": 0.12}}
    assert "More false alarms than promised" in render(replace(full(), metrics=worse))


def test_metrics_with_intervals_and_without() -> None:
    text = Reader(render(full())).text
    assert "AUROC 0.900 0.700 to 0.950" in text
    gone = {
        "auroc": {"value": None, "low": None, "high": None},
        "f1": {"value": 0.5, "low": None, "high": float("nan")},
    }
    text = Reader(render(replace(full(), metrics=gone, roc=None))).text
    assert "F1 0.500 –" in text
    assert "AUROC 0" not in text


def test_decisions_and_labels_add_up() -> None:
    data = full()
    assert data.labels is not None
    text = Reader(render(data)).text
    found, missed = int((data.labels & data.is_anomaly).sum()), int((data.labels & ~data.is_anomaly).sum())
    assert f"anomalous {found} found {missed} missed 20" in text


def table_rows(page: str) -> list[list[str]]:
    body = page.split("The same as a table")[1].split("<tbody>")[1].split("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def test_the_table_of_the_histogram_adds_up() -> None:
    data = full()
    rows = table_rows(render(data))
    assert sum(int(row[1]) for row in rows) == 200
    assert sum(int(row[2]) + int(row[3]) for row in rows) == 200
    assert sum(int(row[3]) for row in rows) == 20
    assert sum(int(row[4]) for row in rows) == 300
    assert sum(int(row[1]) for row in rows if row[5] == "flagged") == int(data.is_anomaly.sum())


THRESHOLDS = [0.0, 1.0, 1.7, -5.0, 1e3, 1e-12, float("inf"), float("nan")]
SHAPES = {
    "spread": np.random.default_rng(0).normal(1, 1, 500),
    "equal": np.full(9, 1.0),
    "zero": np.zeros(5),
    "one": np.array([3.0]),
    "none": np.zeros(0),
    "outliers": np.array([*np.linspace(0, 2, 300), 1e30, -1e30, np.inf]),
    "huge": np.full(4, 3e38),
    "small": np.array([1e-40, 2e-40, 3e-40]),
    "steps": np.repeat([0.0, 1.0, 1.7], 7),
}


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bins_hold_every_score_on_its_side_of_the_threshold(shape: str, threshold: float) -> None:
    scores = SHAPES[shape]
    calibration = np.random.default_rng(1).normal(1, 1, 50)
    labels = np.arange(len(scores)) % 3 == 0
    counted = histogram(scores, calibration, threshold, labels)
    assert counted is not None
    assert counted.anomalous is not None
    assert counted.counts.sum() == len(scores)
    assert counted.anomalous.sum() == labels.sum()
    assert counted.calibration.sum() == 50
    assert (counted.anomalous <= counted.counts).all()
    assert (np.diff(counted.edges) > 0).all()
    above = int((scores > threshold).sum()) if np.isfinite(threshold) else 0
    assert counted.counts[counted.flagged_from :].sum() == above
    alone = histogram(scores, np.zeros(0), threshold)
    assert (alone is None) == (not len(scores))
    assert alone is None or (alone.counts.sum() == len(scores) and (np.diff(alone.edges) > 0).all())
    render(sample(scores=scores.astype(np.float32), is_anomaly=scores > threshold, threshold=threshold))


def test_ticks_are_round_and_told_apart() -> None:
    for low, high in [(0, 1), (-3, 7.2), (1e6, 1e6 + 1), (4e30, 5e30), (1e-9, 3e-9), (0, 1e-40), (0, 12345)]:
        values = ticks(low, high)
        assert 2 <= len(values) <= 7
        assert len(set(tick_labels(values))) == len(values)


def test_a_long_curve_keeps_its_ends() -> None:
    x = np.linspace(0, 1, 5000)
    points = thinned_curve(x, x**0.5)
    assert len(points) <= 400
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert thinned_curve(np.zeros(0), np.zeros(0)) == []
    assert thinned_curve(np.array([np.nan, 0.0]), np.array([0.0, 1.0])) == []


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="200 scores needs as many labels, not 3"):
        render(sample(labels=np.zeros(3, bool)))


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "report.html"
    assert write_report(sample(), str(path)) == path
    before = path.read_bytes()
    assert before.decode("utf-8") == render(sample())

    def fail(source: object, target: object) -> None:
        assert Path(str(source)).parent == path.parent
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(AmissError, match="No space left"):
        write_report(full(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_report(sample(), tmp_path)


def test_a_promise_over_groups_is_told_as_one() -> None:
    of_groups = {"promised": 0.1, "achieved": 0.2, "low": 0.05, "high": 0.5, "n": 10}
    measured = metrics() | {"false_alarm_rate_of_groups": of_groups}
    data = replace(full(), groups=16, false_alarm_rate=0.1, metrics=measured)
    text = Reader(render(data)).text
    assert "of normal groups of related images, at most about 10 % have any image flagged by mistake" in text
    assert "would be flagged" not in text
    assert "Measured on 300 normal images of 16 groups held out" in text
    assert "groups with false alarms promised" in text
    assert "Of the 10 groups of normal images here, 20 % had any flagged" in text
    assert "Of the normal images themselves, 2 % were flagged." in text
    assert "More false alarms" not in text
    assert "No promise can be made." in Reader(render(replace(data, groups=8))).text
    videos = Reader(render(replace(data, frames=True))).text
    assert "of normal videos, at most about 10 % have any frame flagged" in videos


def test_an_unlucky_calibration_set_is_no_broken_promise() -> None:
    unlucky = metrics() | {"false_alarm_rate": {"promised": 0.01, "achieved": 0.03, "low": 0.02, "high": 0.04}}
    assert "More false alarms than promised" in render(replace(full(), metrics=unlucky))
    assert "More false alarms than promised" in render(replace(full(), metrics=unlucky, upper_rate=0.019))
    assert "More false alarms than promised" not in render(replace(full(), metrics=unlucky, upper_rate=0.021))
