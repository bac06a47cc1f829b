"""What the README and the pages in docs/ show works, and what they point at is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amiss.cli import make_app
from amiss.data import known_sets
from amiss.detectors.detector import Detector
from amiss.detectors.reconstructor import Reconstructor
from amiss.registry import get_method, method_names
from amiss.settings import settings_of
from amiss.testing.videos import crossing, write_video

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: The folders that the pages speak of: whether their pictures are normal, and how many there are.
FOLDERS = {
    "parts/good": (True, 100),
    "parts/new": (True, 6),
    "parts/labelled/good": (True, 12),
    "parts/labelled/scratch": (False, 12),
}


class Step(NamedTuple):
    """Something a page shows: a `python` block, or a line of an `sh` block that calls amiss."""

    language: str
    text: str
    where: str


def steps(page: Path) -> Iterator[Step]:
    """The python blocks and the amiss commands of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^( *)```(python|sh)\n(.*?)^\1```$", text, re.M | re.S):
        indent, language, body = block.groups()
        line = text[: block.start(3)].count("\n") + 1
        lines = [each.removeprefix(indent) for each in body.splitlines()]
        if language == "python":
            yield Step(language, "\n" * (line - 1) + "\n".join(lines), f"{page.name}:{line}")
            continue
        for number, command in enumerate(lines, start=line):
            if command.startswith("amiss "):
                yield Step(language, command, f"{page.name}:{number}")


def known_set_in(step: Step) -> str | None:
    """The known data set that a command names, if any."""
    names = "|".join(known_sets())
    found = re.search(rf"(?:^|[\s'\"])({names}):", step.text)
    return found[1] if found else None


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the pages describe it, with handwritten digits: zeros are good, ones are scratched."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    pools = {True: iter(images[digits.target == 0]), False: iter(images[digits.target == 1])}
    for folder, (normal, count) in FOLDERS.items():
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(next(pools[normal])).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "hall").mkdir()
    for number, day in enumerate(("hall/monday", "hall/tuesday", "hall/wednesday", "today")):
        write_video(tmp_path / f"{day}.mp4", crossing(1, 60, seed=number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fit makes two steps: the pages show how, not how well."""
    fit = Detector.fit

    def quick_fit(self: Detector, *arguments: Any, **options: Any) -> Detector:
        self.set_params(**self.shortest_settings())
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Detector, "fit", quick_fit)


@pytest.mark.slow
@pytest.mark.usefixtures("parts", "quick")
@pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_works(page: Path, require_data: Callable[[str], None]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    absent: dict[str, None] = {}
    for step in steps(page):
        known = known_set_in(step)
        if known is not None and known_sets()[known].locate() is None:
            absent[known] = None
        elif step.language == "python":
            exec(compile(step.text, str(page), "exec"), names)
        else:
            arguments = shlex.split(step.text, comments=True)[1:]
            result = CliRunner().invoke(make_app(), arguments, prog_name="amiss")
            assert result.exit_code == 0, f"{step.where}: {step.text}\n{result.output}\n{result.exception!r}"
    for known in absent:  # all the rest of the page has run
        require_data(known)


def test_the_pages_show_something() -> None:
    shown = [step for page in PAGES for step in steps(page)]
    assert {step.language for step in shown} == {"python", "sh"}
    verbs = {step.text.split()[1] for step in shown if step.language == "sh"}
    assert {"fit", "score", "eval", "info", "methods", "data", "teach"} <= verbs


def test_every_method_has_a_page_with_a_picture_and_its_settings() -> None:
    index = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    common, parts = index.split("## Parts of autoencoders")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "methods").glob("*.md")}
    assert sorted(pages) == list(method_names())
    for name, page in pages.items():
        assert f"](../images/{name}.png)" in page
        explained = page + common + (parts if issubclass(get_method(name), Reconstructor) else "")
        missing = [setting for setting in settings_of(get_method(name)) if f"`{setting}`" not in explained]
        assert not missing, f"docs/methods/{name}.md does not explain {missing}"


def test_every_manifest_key_is_documented() -> None:
    from amiss.model.manifest import Manifest

    table = (ROOT / "docs" / "model-file.md").read_text(encoding="utf-8").partition("## The manifest")[2]
    assert re.findall(r"^\| `(\w+)`", table.partition("\n## ")[0], re.M) == list(Manifest.model_fields)


def test_every_key_of_known_sets_is_documented() -> None:
    from amiss.data.known import _KEYS

    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for key in _KEYS:
        assert f"`{key}=" in text
    for name in known_sets():
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} points at {target}, which is not there"
        if anchor:
            assert anchor in anchors(path), f"{page.name} points at {target}, and there is no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get on GitHub."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
