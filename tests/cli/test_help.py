"""Help, version and usage errors, the same for every verb."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import amiss

Run = Callable[..., Any]

VERBS = (
    "demo",
    "fit",
    "teach",
    "versions",
    "score",
    "watch",
    "serve",
    "eval",
    "explain",
    "export",
    "info",
    "methods",
    "bench list",
    "bench run",
    "bench show",
    "data list",
    "data get",
)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str, flag: str, run: Run) -> None:
    done = run(*verb.split(), flag).well()
    text = re.sub(r"[│╭╮╰╯─]", " ", done.out)
    _, found, example = text.partition("Example")
    assert found
    assert f"amiss {verb}" in example
    assert "\\b" not in text
    assert "[/" not in text


def test_every_verb_is_tested_here(run: Run) -> None:
    listed = re.findall(r"^[│ ] +([a-z]+)  ", run("--help").well().out.partition("Commands")[2], re.M)
    assert set(listed) == {verb.split()[0] for verb in VERBS}


@pytest.mark.parametrize("arguments", [(), ("data",), ("bench",)])
def test_without_arguments_help_is_shown(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)
    assert done.code in (0, 2)
    assert "Usage" in done.out + done.err


def test_version(run: Run) -> None:
    assert run("--version").well().out == f"{amiss.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("fit",),
        ("fit", "folder"),
        ("score",),
        ("score", "model"),
        ("eval", "model"),
        ("info",),
        ("methods", "--nonsense"),
        ("fit", "folder", "--out", "x.amiss", "--epochs", "many"),
        ("data", "fetch"),
    ],
    ids=" ".join,
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("verb", [*VERBS])
def test_every_verb_takes_json(verb: str, run: Run) -> None:
    assert "--json" in run(*verb.split(), "--help").well().out


@pytest.mark.parametrize("verb", ["fit", "score", "explain", "eval", "teach", "watch", "export"])
def test_every_verb_that_reads_pictures_can_be_allowed_larger_ones(verb: str, run: Run) -> None:
    assert "--max-pixels" in run(verb, "--help").well().out


def test_readme_commands_are_understood(run: Run) -> None:
    """Every option that the README shows exists."""
    readme = Path(amiss.__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("amiss is installed without its README")
    blocks = re.findall(r"^```sh\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S)
    lines = re.findall(r"^amiss (.*)$", "\n".join(blocks), re.M)
    assert len(lines) >= 3
    for line in lines:
        verb, options = line.split()[0], re.findall(r"--[a-z-]+", line)
        text = run(verb, "--help").well().out
        for option in options:
            assert option in text


def test_ctrl_c_is_a_failure_like_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from amiss.cli import methods

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "_facts", interrupt)
    run("methods").failed(1, "stopped")
