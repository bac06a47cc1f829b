"""Settings: every kind takes what is meant, however it is written, and refuses the rest by name and value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import amiss
from amiss.errors import UsageError
from amiss.registry import get_method, method_names
from amiss.settings import (
    Kind,
    OptionalWord,
    Patches,
    Plain,
    Settable,
    Size,
    WholeNumbers,
    Words,
    as_text,
    check_settings,
    narrowed,
    parse_settings,
    preset,
    set_values,
    setting,
    settings_of,
    values_of,
)

KNOWN = ("rotate", "shift")
VARY = Words(KNOWN)


@dataclass(kw_only=True)
class Example(metaclass=Settable):
    """One setting of every kind."""

    flag: bool = setting(False, "true or false")
    count: int = setting(3, "bounded", low=1, high=9)
    share: float = setting(0.5, "bounded below", low=0.0)
    mode: str = setting("fast", "one of two", choices=("fast", "slow"))
    gate: str | None = setting(None, "one or nothing", choices=(None, "sa", "ssa"))
    file: str | None = setting(None, "any word or nothing", kind=OptionalWord())
    vary: tuple[str, ...] = setting((), "any of two", kind=VARY)
    members: tuple[str, ...] = setting(("a", "b:x=1,2"), "any", kind=Words(divider=" + "))
    filters: tuple[int, ...] = setting((8, 16), "of layers", kind=WholeNumbers(least=2))
    patch: tuple[int, int] | None = setting(None, "of the image", kind=Patches())
    size: tuple[int, int] | str = setting("auto", "of the image", kind=Size())
    score_path: str = setting("normal", "named otherwise", choices=("normal", "mean"), name="score")


# -- what each kind takes ----------------------------------------------------------------------------------------------

TAKEN: list[tuple[Kind, Any, Any, str]] = [  # kind, as it is given, as it is kept, as it is written
    (OptionalWord(), None, None, "none"),
    (OptionalWord(), "none", None, "none"),
    (OptionalWord(), "sa", "sa", "sa"),
    (VARY, (), (), "none"),
    (VARY, "none", (), "none"),
    (VARY, " none ", (), "none"),
    (VARY, [], (), "none"),
    (VARY, "shift", ("shift",), "shift"),
    (VARY, "rotate, shift", ("rotate", "shift"), "rotate,shift"),
    (VARY, ["shift", "rotate"], ("shift", "rotate"), "shift,rotate"),
    (Words(), "what,ever", ("what", "ever"), "what,ever"),
    (Words(divider=" + "), "a:x=1,2 + b", ("a:x=1,2", "b"), "a:x=1,2 + b"),
    (WholeNumbers(), "64", (64,), "64"),
    (WholeNumbers(), (64,), (64,), "64"),
    (WholeNumbers(least=2), "32, 64", (32, 64), "32,64"),
    (WholeNumbers(least=2), [32, 64], (32, 64), "32,64"),
    (Patches(), None, None, "none"),
    (Patches(), "none", None, "none"),
    (Patches(), "32", (32, 16), "32:16"),
    (Patches(), 32, (32, 16), "32:16"),
    (Patches(), "30:25", (30, 25), "30:25"),
    (Patches(), (30, 25), (30, 25), "30:25"),
    (Patches(), [30, 25], (30, 25), "30:25"),
    (Patches(), "5", (5, 2), "5:2"),
    (Size(), "native", "native", "native"),
    (Size(), "auto", "auto", "auto"),
    (Size(), "64x128", (64, 128), "64x128"),
    (Size(), (64, 128), (64, 128), "64x128"),
    (Size(), [8, 4096], (8, 4096), "8x4096"),
    (Plain(bool), True, True, "True"),
    (Plain(int), 3, 3, "3"),
    (Plain(float), 3, 3, "3"),
    (Plain(float), 0.5, 0.5, "0.5"),
    (Plain(str), "word", "word", "word"),
]


@pytest.mark.parametrize(("kind", "given", "kept", "text"), TAKEN, ids=lambda value: repr(value))
def test_what_is_taken(kind: Kind, given: Any, kept: Any, text: str) -> None:
    typed = kind.typed("name", given)
    assert typed == kept
    assert type(typed) is type(kept)
    assert kind.typed("name", typed) is typed, "a typed value stays the object that it is"
    assert kind.text(typed) == text
    if not isinstance(kind, Plain):
        assert kind.typed("name", text) == typed, "as it is written it is read"


# -- what each kind refuses --------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Any]] = [
    *[("flag", value) for value in (1, 0, "true", None)],
    *[("count", value) for value in (True, 2.0, "2", None, 0, 10)],
    *[("share", value) for value in (True, "0.5", None, -0.1, float("nan"))],
    *[("mode", value) for value in ("quick", "none", None, 1)],
    *[("gate", value) for value in ("sb", "", 1, True, ("sa",))],
    *[("file", value) for value in (1, True, ("a",))],
    *[("vary", value) for value in ("flip", "rotate,flip", ("rotate", "flip"), (1,), 1, None, True)],
    *[("members", value) for value in (1, None, (None,))],
    *[("filters", value) for value in ("8", "", "none", "a,b", "8,", "8,0", "8,-1", "8.5,2", (8,), ())],
    *[("filters", value) for value in ((8, True), (8, 1.0), (8, "16"), 8, None, "88")],
    *[("patch", value) for value in ("0", "3", "abc", "30:0", "30:31", "30:25:1", "-8", "", "30:", "99999")],
    *[("patch", value) for value in (0, 3, -8, True, 30.0, (30,), (30, 0), (30, 31), (30, 25, 1), (30.0, 25.0))],
    *[("patch", value) for value in ((True, True), ("30", "25"))],
    *[("size", value) for value in ("128", "0x10", "4x4", "axb", "99999x10", "-8x8", "", "none", "8x8x8")],
    *[("size", value) for value in (None, 128, True, (128,), (8, 7), (4097, 8), (8, 8, 8), (64.0, 64.0), ("8", "8"))],
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda value: repr(value))
def test_what_is_refused_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        check_settings(Example, {name: value})
    message = str(caught.value)
    assert message.startswith(name)
    said = [repr(value), str(value)]
    if isinstance(value, tuple | str):  # of several, that which is wrong; a size as it is written
        said += [repr(each) for each in (value.split(",") if isinstance(value, str) else value) if each not in KNOWN]
        said += ["x".join(map(str, value))]
    assert any(each in message for each in said), message
    kept = getattr(Example(**{name: value}), name)
    assert kept is value or isinstance(value, list), "constructors raise nothing and store it as it is"


def test_bounds_and_choices_are_told() -> None:
    with pytest.raises(UsageError, match=r"count must be from 1 to 9, but is 10"):
        check_settings(Example, {"count": 10})
    with pytest.raises(UsageError, match=r"share must be at least 0\.0, but is -1"):
        check_settings(Example, {"share": -1})
    with pytest.raises(UsageError, match=r"gate must be one of none, sa, ssa, but is 'sb'"):
        check_settings(Example, {"gate": "sb"})
    with pytest.raises(UsageError, match=r"vary knows no 'flip'; there are: rotate, shift"):
        check_settings(Example, {"vary": "rotate,flip"})
    with pytest.raises(UsageError, match=r"Example has no setting 'coutn'; did you mean count\?"):
        check_settings(Example, {"coutn": 1})


# -- objects that have settings ----------------------------------------------------------------------------------------


def test_constructors_store_the_typed_value_and_names_of_users() -> None:
    example = Example(filters="32,64", vary="none", gate="none", patch="32", size="64x128", score="mean")
    assert (example.filters, example.vary, example.gate) == ((32, 64), (), None)
    assert (example.patch, example.size, example.score_path) == ((32, 16), (64, 128), "mean")
    assert values_of(example)["score"] == "mean"
    assert "score_path" not in settings_of(Example)
    with pytest.raises(TypeError, match="absent"):
        Example(absent=1)


def test_set_values_changes_all_or_nothing() -> None:
    example = Example()
    set_values(example, {"filters": [4, 4], "score": "mean"})
    assert (example.filters, example.score_path) == ((4, 4), "mean")
    with pytest.raises(UsageError, match="patch"):
        set_values(example, {"count": 5, "patch": "3"})
    assert example.count == 3


def test_settings_of_the_command_line() -> None:
    pairs = ["flag=True", "count=4", "share=1", "gate=ssa", "vary=rotate,shift", "patch=none", "size=32x32"]
    assert parse_settings(Example, pairs) == {
        "flag": True,
        "count": 4,
        "share": 1.0,
        "gate": "ssa",
        "vary": ("rotate", "shift"),
        "patch": None,
        "size": (32, 32),
    }
    for pair, words in {
        "count": "write --set key=value",
        "count=x": "count must be a whole number, but is 'x'",
        "flag=1": "flag must be true or false, but is '1'",
        "share=much": "share must be a number, but is 'much'",
        "cuont=4": "did you mean count",
        "patch=3": "patch must be .*'3'",
    }.items():
        with pytest.raises(UsageError, match=words):
            parse_settings(Example, [pair])


def test_a_preset_has_the_facts_of_what_it_presets() -> None:
    @dataclass(kw_only=True)
    class Named(Example):
        gate: str | None = preset(Example, "gate", "sa")

    assert Named().gate == "sa"
    with pytest.raises(UsageError, match="gate"):
        check_settings(Named, {"gate": "sb"})


def test_narrowed_filters() -> None:
    assert narrowed((4, 64, 1024)) == (8, 16, 32)


# -- of all methods ----------------------------------------------------------------------------------------------------

#: As they were written before they had types.
OLD = {"size": "64x128", "patch": "30:25", "features": "none"}


@pytest.mark.parametrize("name", method_names())
def test_old_strings_are_accepted_by_every_method(name: str) -> None:
    method = get_method(name)
    detector = method(**OLD)
    params = detector.get_params()
    assert (params["size"], params["patch"], params["features"]) == ((64, 128), (30, 25), None)
    assert method(**as_text(method, params)).get_params() == params


@pytest.mark.parametrize("name", method_names())
def test_settings_as_text_come_back(name: str) -> None:
    detector = get_method(name)()
    text = detector.settings_as_text()
    assert all(isinstance(value, bool | int | float | str) for value in text.values()), "as JSON has them"
    again = get_method(name)().set_params(**text)
    assert again.get_params() == detector.get_params()
    assert again.settings_as_text() == text


@pytest.mark.parametrize("name", method_names())
def test_a_clone_of_scikit_learn_has_equal_settings_and_constructors_keep_what_they_get(name: str) -> None:
    detector = get_method(name)(**OLD)
    params = detector.get_params()
    copy = clone(detector)  # which refuses constructors that change what they are given
    assert type(copy) is type(detector)
    assert copy.get_params() == params
    kept = type(detector)(**params).get_params()
    for each, value in params.items():
        assert kept[each] is value, each


def test_what_cannot_be_meant_is_told_when_fitting_begins() -> None:
    images = np.zeros((20, 16, 16), np.uint8)
    for settings in ({"filters": "8"}, {"size": "7x7"}, {"patch": "3"}, {"gate": "sb"}):
        (name,) = settings
        with pytest.raises(UsageError, match=f"^{name}"):
            amiss.BCAE1(**settings).fit(images)


def test_words_that_say_nothing_are_left_out() -> None:
    """Earlier versions wrote them into model files."""
    for text in ("", "none", "none,rotate", "rotate,"):
        assert check_settings(Example, {"vary": text})["vary"] in ((), ("rotate",))
    with pytest.raises(UsageError, match="members must name 1 at least"):
        Words(least=1).typed("members", "none")


def test_numpys_whole_numbers_are_whole_numbers() -> None:
    given = {"count": np.int64(3), "filters": (np.int32(32), 64), "patch": np.int64(12), "size": (np.int64(16), 32)}
    typed = check_settings(Example, given)
    assert (typed["count"], typed["filters"], typed["patch"], typed["size"]) == (3, (32, 64), (12, 6), (16, 32))
    assert all(type(value) is int for value in (typed["count"], *typed["filters"], *typed["patch"], *typed["size"]))


def test_constructors_store_what_cannot_be_meant() -> None:
    for name in ("size", "patch", "gate", "vary"):
        with pytest.raises(UsageError, match=name):
            check_settings(Example, {name: getattr(Example(**{name: np.array([16, 16])}), name)})


def test_a_setting_without_a_kind_is_told_to_the_author() -> None:
    with pytest.raises(TypeError, match="tuple needs its kind"):
        setting((1, 2), "of something")


def test_names_and_words_of_earlier_versions_are_understood() -> None:
    old = amiss.PCA(calibrate="held_out")
    assert old.get_params()["calibration"] == "split"
    assert "calibrate" not in old.get_params()
    assert parse_settings(amiss.PCA, ["calibrate=held_out"]) == {"calibration": "split"}
    assert amiss.PCA().set_params(calibrate="cross").calibration == "cross"
