"""Model files come back whole, or are refused with one kind of error that names the file."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import amiss
from amiss.engines import allowed_difference
from amiss.environment.files import atomic_write
from amiss.errors import AmissError, ModelFileError, UsageError
from amiss.model import FittedModel
from amiss.model.archive import read_manifest
from amiss.registry import load
from amiss.testing import fitted, task

pytestmark = pytest.mark.slow

METHODS = ("ADACL", "BCAE1")
PARTS = ("manifest.json", "weights.safetensors", "graphs/score.onnx", "reference.npz")
PROBE = task().unseen[::20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model_files(folder: Path) -> dict[str, Path]:
    return {name: fitted(getattr(amiss, name)).save(folder / f"{name}.amiss") for name in METHODS}


@pytest.fixture(scope="module")
def model_file(model_files: dict[str, Path]) -> Path:
    return model_files["ADACL"]


@pytest.fixture(scope="module")
def original(model_file: Path) -> bytes:
    return model_file.read_bytes()


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, parts: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def manifest_of(parts: Mapping[str, bytes]) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(parts["manifest.json"])
    return manifest


def with_manifest(parts: Mapping[str, bytes], manifest: object) -> dict[str, bytes]:
    return {**parts, "manifest.json": json.dumps(manifest).encode()}


def with_part(parts: Mapping[str, bytes], name: str, content: bytes) -> dict[str, bytes]:
    """A part exchanged by somebody who also corrects its digest."""
    manifest = manifest_of(parts)
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    return with_manifest({**parts, name: content}, manifest)


def assert_refused(path: Path, *words: str, engine: str = "auto") -> None:
    with pytest.raises(ModelFileError) as caught:
        load(path, engine)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    for word in words:
        assert word in message


def refused_or_equal(path: Path, scores: np.ndarray) -> bool:
    """True where the file is refused; what is not refused must not differ in what it says. Anything else raises."""
    try:
        model = load(path)
    except ModelFileError as error:
        if path.name not in str(error):
            raise
        return True
    np.testing.assert_array_equal(model.score(PROBE).scores, scores)
    return False


# -- round trip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_round_trip_gives_equal_results(name: str, model_files: dict[str, Path]) -> None:
    before, after = fitted(getattr(amiss, name)).model_, load(model_files[name])
    expected, found = before.score(task().unseen), after.score(task().unseen)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.p_values, expected.p_values)
    np.testing.assert_array_equal(found.is_anomaly, expected.is_anomaly)
    assert after.settings == before.settings
    assert after.record.splits == before.record.splits
    assert after.record.training == before.record.training
    assert after.decision.explain() == before.decision.explain()
    assert after.map_scale == before.map_scale


def test_a_loaded_model_saves_to_the_same_parts(model_file: Path, tmp_path: Path) -> None:
    again = load(model_file).save(tmp_path / "again.amiss")
    first, second = contents(model_file), contents(again)
    assert set(first) == set(second) == set(PARTS)
    for part in PARTS[1:]:
        assert first[part] == second[part], part
    assert manifest_of(first) == manifest_of(second)


def test_a_file_saved_without_torch_first_scores_the_same(model_file: Path, tmp_path: Path) -> None:
    model = load(model_file, "onnxruntime")
    np.testing.assert_array_equal(
        load(model.save(tmp_path / "b.amiss"), "onnxruntime").score(PROBE).scores, model.score(PROBE).scores
    )


def test_manifest_has_what_the_contract_lists(model_file: Path) -> None:
    manifest = read_manifest(model_file)
    assert manifest["format_version"] == 1
    assert manifest["method"] == "adacl"
    assert manifest["settings"]["false_alarm_rate"] == manifest["false_alarm_rate"] == 0.1
    assert set(manifest["sha256"]) == set(PARTS[1:])
    assert {"torch", "onnxruntime"} <= set(manifest["calibration"])
    assert {"train", "stop", "calibrate"} <= set(manifest["splits"])
    assert {"amiss", "numpy", "torch"} <= set(manifest["versions"])
    assert manifest["training"]["stages"]
    for engine in ("torch", "onnxruntime"):
        assert len(manifest["calibration"][engine]) == manifest["splits"]["calibrate"]["count"]


def test_reference_images_are_a_few_normals_as_uint8(model_file: Path) -> None:
    with np.load(io.BytesIO(contents(model_file)["reference.npz"]), allow_pickle=False) as arrays:
        images = arrays["normal"]
    assert images.dtype == np.uint8
    assert 1 <= len(images) <= 64
    normals = {image.tobytes() for image in task().normal}
    assert all(image.tobytes() in normals for image in images)


def test_unknown_engine_is_bad_usage(model_file: Path) -> None:
    for engine in ("cuda", "nonsense", "", "my-bfloat16"):
        with pytest.raises(UsageError, match="onnxruntime"):
            load(model_file, engine)


# -- whole or not at all -----------------------------------------------------------------------------------------------


def test_a_failing_write_leaves_the_old_file_and_no_partial(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, target = load(model_file), tmp_path / "kept.amiss"
    target.write_bytes(b"the old file")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(AmissError) as caught:
        model.save(target)
    assert "kept.amiss" in str(caught.value)
    assert target.read_bytes() == b"the old file"
    assert names(tmp_path) == ["kept.amiss"]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(kind: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "old.bin"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write(b"half of the new")
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["old.bin"]


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "new.bin") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "new.bin").stat().st_mode & 0o777 == 0o640


def test_saving_where_nothing_can_be_written_is_explained(model_file: Path, tmp_path: Path) -> None:
    model = load(model_file)
    (tmp_path / "folder.amiss").mkdir()
    for target in (tmp_path / "missing" / "x.amiss", tmp_path / "folder.amiss"):
        with pytest.raises(AmissError) as caught:
            model.save(target)
        assert target.name in str(caught.value)
    assert names(tmp_path) == ["folder.amiss"]
    assert not names(tmp_path / "folder.amiss")


# -- files that are not whole ------------------------------------------------------------------------------------------


def test_cut_anywhere_is_refused(original: bytes, tmp_path: Path) -> None:
    path, size = tmp_path / "cut.amiss", len(original)
    lengths = {0, 1, 3, 4, 22, 30, 100, size // 2, size - 1, size - 2, size - 21, size - 22, size - 23, size - 60}
    lengths |= {int(length) for length in np.linspace(0, size - 1, 40)}
    for length in sorted(lengths):
        path.write_bytes(original[:length])
        assert_refused(path)
        with pytest.raises(ModelFileError, match=r"cut\.amiss"):
            read_manifest(path)


def test_a_flipped_byte_in_the_middle_of_any_part_is_refused(model_file: Path, original: bytes, tmp_path: Path) -> None:
    """All but the bits that a deflated stream does not use, which change nothing of what is read."""
    path, scores = tmp_path / "flipped.amiss", load(model_file).score(PROBE).scores
    with zipfile.ZipFile(model_file) as archive:
        infos = archive.infolist()
    for info in infos:
        refused = 0
        begin = info.header_offset + 30 + len(info.filename)
        last = begin + info.compress_size - 1  # which may hold padding
        for place in np.linspace(begin, last - 1, 9).astype(int):
            damaged = bytearray(original)
            damaged[place] ^= 0x10
            path.write_bytes(damaged)
            refused += refused_or_equal(path, scores)
        assert refused >= 7, info.filename


def test_a_flipped_byte_in_the_headers_is_refused_or_harmless(
    model_file: Path, original: bytes, tmp_path: Path
) -> None:
    path, scores = tmp_path / "flipped.amiss", load(model_file).score(PROBE).scores
    with zipfile.ZipFile(model_file) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    places = list(range(directory, len(original)))
    for info in infos:
        places += range(info.header_offset, info.header_offset + 30 + len(info.filename))
    refused, wrong = 0, []
    for place in places:
        for bit in (0x80, 0x08 if place % 2 else 0x01):
            damaged = bytearray(original)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            try:
                refused += refused_or_equal(path, scores)
            except Exception as error:
                wrong.append((place - directory, bit, type(error).__name__, str(error)[:80]))
    assert not wrong, f"{len(wrong)} of {2 * len(places)}: {wrong[:5]}"
    assert refused > len(places) / 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(
    data: st.DataObject, model_file: Path, original: bytes, tmp_path: Path
) -> None:
    damaged = bytearray(original)
    begin = data.draw(st.integers(0, len(original) - 1) | st.integers(len(original) - 600, len(original) - 1))
    new = data.draw(st.binary(min_size=1, max_size=40))
    if data.draw(st.booleans()):
        damaged[begin : begin + len(new)] = new
    else:
        damaged[begin:begin] = new
    path = tmp_path / "damaged.amiss"
    path.write_bytes(damaged)
    refused_or_equal(path, fitted(amiss.ADACL).score(PROBE).scores)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.amiss").touch()
    (tmp_path / "text.amiss").write_text("hello")
    (tmp_path / "folder.amiss").mkdir()
    written(tmp_path / "nothing.amiss", {})
    written(tmp_path / "foreign.amiss", {"word/document.xml": b"<xml/>"})
    written(tmp_path / "other.amiss", {"manifest.json": b'{"name": "a web page"}'})
    for path in sorted(tmp_path.iterdir()):
        assert_refused(path)
        with pytest.raises(ModelFileError, match=path.name):
            read_manifest(path)
    assert_refused(tmp_path / "missing.amiss", "there is no model file")
    assert_refused(tmp_path / "text.amiss" / "below.amiss")
    assert_refused(tmp_path / ("long" * 100))


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(AmissError):
        load("part\0.amiss")


@pytest.mark.parametrize("part", PARTS)
def test_missing_part_is_refused(part: str, model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    del parts[part]
    assert_refused(written(tmp_path / "lacks.amiss", parts), part)


@pytest.mark.parametrize("part", PARTS[1:])
def test_part_of_another_model_is_refused(part: str, model_files: dict[str, Path], tmp_path: Path) -> None:
    parts, others = contents(model_files["ADACL"]), contents(model_files["BCAE1"])
    swapped = others[part] if others[part] != parts[part] else others[part] + b"\0"
    assert_refused(written(tmp_path / "swapped.amiss", {**parts, part: swapped}), part)


def test_parts_swapped_among_each_other_are_refused(model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    parts["graphs/score.onnx"], parts["weights.safetensors"] = parts["weights.safetensors"], parts["graphs/score.onnx"]
    assert_refused(written(tmp_path / "mixed.amiss", parts))


def test_weights_of_another_method_with_their_digest_are_refused(model_files: dict[str, Path], tmp_path: Path) -> None:
    weights = contents(model_files["BCAE1"])["weights.safetensors"]
    parts = with_part(contents(model_files["ADACL"]), "weights.safetensors", weights)
    assert_refused(written(tmp_path / "foreign-weights.amiss", parts))


def test_a_graph_that_is_none_is_refused_with_the_name(model_file: Path, tmp_path: Path) -> None:
    parts = with_part(contents(model_file), "graphs/score.onnx", b"no graph at all")
    assert_refused(written(tmp_path / "no-graph.amiss", parts), engine="onnxruntime")


@pytest.mark.parametrize("version", [3, 99, 10**30])
def test_newer_format_is_refused_with_a_cure(version: int, model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    path = written(tmp_path / "new.amiss", with_manifest(parts, manifest_of(parts) | {"format_version": version}))
    assert_refused(path, str(version), "upgrade amiss")


def test_a_region_is_kept_and_raises_the_version(model_file: Path, tmp_path: Path) -> None:
    """Versions that would look at all of an image refuse the file."""
    model = amiss.KNN(seed=0, false_alarm_rate=0.1, region="0,0,0.5,1").fit(task().normal).model_
    again = load(model.save(tmp_path / "region.amiss"))
    assert again.preprocessing == model.preprocessing
    np.testing.assert_array_equal(again.score(PROBE).scores, model.score(PROBE).scores)
    assert read_manifest(tmp_path / "region.amiss")["format_version"] == 2
    assert "roi" not in manifest_of(contents(model_file))["preprocessing"]


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": [0, 10**30]},
        {"runs": [256, 0]},
        {"runs": [0, -1, 257]},
        {"runs": []},
        {"runs": [0, 255]},
        {"height": 1 << 20, "runs": [0, 16 << 20]},
        {"fill": 256},
    ],
    ids=str,
)
def test_a_region_that_cannot_be_is_refused(changes: dict[str, Any], model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    manifest = manifest_of(parts)
    roi = {"height": 16, "width": 16, "runs": [0, 256], "fill": 0} | changes
    manifest |= {"format_version": 2, "preprocessing": manifest["preprocessing"] | {"roi": roi}}
    assert_refused(written(tmp_path / "roi.amiss", with_manifest(parts, manifest)), "roi")


def test_unknown_method_is_refused_with_the_name(model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    path = written(tmp_path / "future.amiss", with_manifest(parts, manifest_of(parts) | {"method": "panel_of_9"}))
    assert_refused(path, "panel_of_9")


def test_a_part_that_claims_to_be_huge_is_refused_at_once(model_file: Path, tmp_path: Path) -> None:
    """The central directory is changed to claim 4 GB, as a bomb's would."""
    for part in PARTS:
        path = written(tmp_path / "bomb.amiss", contents(model_file))
        with zipfile.ZipFile(path) as archive:
            start = archive.start_dir
        damaged = bytearray(path.read_bytes())
        entry = damaged.index(part.encode(), start) - 46
        damaged[entry + 24 : entry + 28] = (0xFFFF_FFF0).to_bytes(4, "little")
        path.write_bytes(damaged)
        assert_refused(path, part)


def test_a_manifest_bomb_takes_no_memory(model_file: Path, tmp_path: Path) -> None:
    """160 MB of blanks pack to 160 kB; an honest manifest of a million images has 20 MB."""
    import tracemalloc

    parts = contents(model_file)
    path = tmp_path / "blanks.amiss"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (160 << 20))
        for name in PARTS[1:]:
            archive.writestr(name, parts[name])
    tracemalloc.start()
    try:
        assert_refused(path)
        assert tracemalloc.get_traced_memory()[1] < 96 << 20
    finally:
        tracemalloc.stop()


# -- no pickle ---------------------------------------------------------------------------------------------------------


class _Trap:
    """Unpickling this would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._mark,)


def test_pickles_in_reference_are_refused_and_not_run(model_file: Path, tmp_path: Path) -> None:
    mark, buffer = tmp_path / "mark", io.BytesIO()
    np.savez(buffer, normal=np.array([_Trap(mark)], dtype=object))
    parts = with_part(contents(model_file), "reference.npz", buffer.getvalue())
    assert_refused(written(tmp_path / "pickle.amiss", parts))
    assert not mark.exists()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 1, 16, 16), np.float64),
        np.zeros((3, 16, 16), np.uint8),
        np.zeros((3, 1, 8, 8), np.uint8),
        np.zeros((0, 1, 16, 16), np.uint8),
        np.array("text"),
    ],
    ids=["float", "no-channel", "other-size", "none", "text"],
)
def test_reference_of_another_shape_is_refused(images: np.ndarray, model_file: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, normal=images)
    parts = with_part(contents(model_file), "reference.npz", buffer.getvalue())
    assert_refused(written(tmp_path / "reference.amiss", parts))


# -- manifests of the wrong types --------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (None, True, -1, 1.5, float("nan"), "x", "", [], [1], ["x"], {}, {"x": 1})
#: Keys that loading must understand; the others are a record for people.
KEYS = (
    "format",
    "format_version",
    "method",
    "settings",
    "preprocessing",
    "splits",
    "appearance",
    "calibration",
    "false_alarm_rate",
    "map_scale",
    "precision_choice",
    "training",
    "lessons",
    "notes",
    "fitted_on",
    "versions",
    "sha256",
    "graphs",
)


def test_all_keys_of_the_manifest_are_tried(model_file: Path) -> None:
    assert set(manifest_of(contents(model_file))) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_manifest_key_of_a_wrong_type_is_refused(key: str, model_file: Path, tmp_path: Path) -> None:
    parts, wrong = contents(model_file), []
    manifest = manifest_of(parts)
    for value in VALUES:
        same_kind = type(value) is type(manifest[key]) and not isinstance(value, dict | list)
        fits = key in ("map_scale", "notes", "graphs", "lessons") and value in (None, [], ["x"][: key != "lessons"])
        same_kind |= key == "appearance" and value is None  # files of earlier versions have none
        if same_kind or (fits and isinstance(value, type(manifest[key]))):
            continue
        if key in ("versions", "settings") and value in ({}, {"x": 1}):
            continue
        path = written(tmp_path / "typed.amiss", with_manifest(parts, manifest | {key: value}))
        try:
            load(path)
            wrong.append(f"{value!r} is taken")
        except ModelFileError as error:
            if path.name not in str(error):
                wrong.append(f"{value!r}: no file's name in {error}")
        except Exception as error:
            wrong.append(f"{value!r}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key not in ("graphs", "versions", "fitted_on", "lessons", "appearance")]
)
def test_manifest_key_that_is_missing_is_refused(key: str, model_file: Path, tmp_path: Path) -> None:
    parts = contents(model_file)
    manifest = manifest_of(parts)
    del manifest[key]
    assert_refused(written(tmp_path / "lacks.amiss", with_manifest(parts, manifest)))


@pytest.mark.parametrize("manifest", [None, 1, "x", [], [1], {}, {"format": "amiss model"}])
def test_manifest_of_another_kind_is_refused(manifest: object, model_file: Path, tmp_path: Path) -> None:
    assert_refused(written(tmp_path / "kind.amiss", with_manifest(contents(model_file), manifest)))


def test_manifest_that_nests_too_deep_is_refused(model_file: Path, tmp_path: Path) -> None:
    parts = {**contents(model_file), "manifest.json": b"[" * 200_000}
    assert_refused(written(tmp_path / "deep.amiss", parts))


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values below the top; of lists only the first entry."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, below in entries:
        if path:
            yield (*path, key)
        yield from places_in(below, (*path, key))


def use(model: FittedModel, folder: Path) -> None:
    """What a user does with a loaded model; it must not fall over what the manifest holds."""
    from amiss.data.arrays import array_collection
    from amiss.evaluation.evaluate import evaluate_model

    labelled = array_collection(PROBE, "probe", labels=task().anomalous[::20].tolist())
    result = evaluate_model(model, labelled, collect=True, repeats=1)
    assert result.collector is not None
    result.collector.write(folder)


@pytest.mark.parametrize("name", METHODS)
def test_deep_in_the_manifest_wrong_values_are_refused_or_do_no_harm(
    name: str, model_files: dict[str, Path], tmp_path: Path
) -> None:
    from amiss.cli import info

    parts = contents(model_files[name])
    manifest = manifest_of(parts)
    wrong = []
    for number, place in enumerate(places_in(manifest)):
        if place[0] == "sha256" or (name == "BCAE1" and place[0] != "map_scale"):
            continue
        for value in (VALUES[number % len(VALUES)], VALUES[(number + 5) % len(VALUES)]):
            changed = copy.deepcopy(manifest)
            target = changed
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = value
            path = written(tmp_path / "deep.amiss", with_manifest(parts, changed))
            try:
                use(load(path), tmp_path)
                info.info(path)
            except ModelFileError as error:
                if path.name not in str(error):
                    wrong.append(f"{place} = {value!r}: no file's name in: {error}")
            except Exception as error:
                wrong.append(f"{place} = {value!r}: {type(error).__name__}: {error}"[:200])
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)


# -- without the extra 'train' -----------------------------------------------------------------------------------------

ABSENT = ("torch", "lightning_fabric", "lightning", "sklearn", "onnx", "onnxscript", "safetensors")
_WITHOUT = """
import importlib.metadata, sys

class Hides:
    '''Stands before a finder and finds nothing of what is said not to be installed.'''
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)

sys.meta_path[:] = [Hides(finder) for finder in sys.meta_path]
"""


def without(absent: tuple[str, ...], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = f"ABSENT = {absent!r}\n{_WITHOUT}\n{textwrap.dedent(code)}"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize("name", METHODS)
def test_core_install_scores_the_same(name: str, model_files: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "unseen.npy", task().unseen)
    code = """
    import json, numpy as np, amiss
    from amiss.errors import MissingExtraError
    model, images = sys.argv[1:]
    loaded = amiss.load(model)
    result = loaded.score(images)
    problems = {}
    for what, action in {
        "fit": lambda: getattr(amiss, loaded.label)(epochs=1).fit(np.load(images)),
        "torch": lambda: amiss.load(model, "torch"),
    }.items():
        try:
            action()
        except MissingExtraError as error:
            problems[what] = [error.extra, str(error)]
    imported = [name for name in ABSENT if name in sys.modules]
    again = loaded.save(images + ".amiss")
    print(json.dumps([loaded.engine.name, result.scores.tolist(), result.is_anomaly.tolist(), problems, imported]))
    """
    done = without(ABSENT, code, model_files[name], tmp_path / "unseen.npy")
    assert done.returncode == 0, done.stderr
    engine, scores, flags, problems, loaded = json.loads(done.stdout)
    assert engine == "onnxruntime"
    assert loaded == []
    detector = fitted(getattr(amiss, name))
    allowed = allowed_difference(detector.calibration_scores_["torch"])
    assert np.abs(np.array(scores) - detector.score(task().unseen).scores).max() <= allowed
    onnx = load(model_files[name], "onnxruntime").score(task().unseen)
    np.testing.assert_array_equal(np.array(scores, np.float32), onnx.scores)
    assert flags == onnx.is_anomaly.tolist()
    for what in ("fit", "torch"):
        assert problems[what][0] == "train"
        assert "amiss[train]" in problems[what][1]
    assert (
        contents(tmp_path / "unseen.npy.amiss")["graphs/score.onnx"] == contents(model_files[name])["graphs/score.onnx"]
    )


@pytest.mark.parametrize("module", ["torch", "lightning_fabric", "onnxscript", "onnx", "safetensors"])
def test_fit_says_before_it_begins_which_extra_is_missing(module: str) -> None:
    """A package that only saving needs must not be missed after hours of training."""
    code = """
    import numpy as np, amiss
    from amiss.errors import MissingExtraError
    try:
        amiss.ADACL(epochs=1).fit(np.random.default_rng(0).integers(0, 255, (12, 16, 16), dtype=np.uint8))
    except MissingExtraError as error:
        print(error.extra)
    """
    done = without((module,), code)
    assert done.stdout.strip() == "train", done.stderr[-300:] or "fitted without a word"


@pytest.mark.parametrize(
    "code",
    [
        "import amiss, amiss.cli",
        "import amiss.model.archive",
        "from amiss.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_imports_and_help_are_light(code: str) -> None:
    heavy = ("torch", "lightning_fabric", "lightning", "PIL", "onnxruntime", "matplotlib", "sklearn", "jinja2")
    program = (
        f"import sys\nsys.argv = ['amiss', '--help']\n{code}\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
