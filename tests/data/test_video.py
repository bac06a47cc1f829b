"""Video files as frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from amiss.data import open_images
from amiss.data.clips import Clips, PassingClips, blocks, runs, training_clips
from amiss.data.preprocessing import Preprocessing
from amiss.data.stack import load_stack
from amiss.data.video import VideoFile
from amiss.errors import DataError
from amiss.testing.videos import crossing, write_video


def close(found: np.ndarray, frame: np.ndarray) -> bool:
    """Alike but for what an encoder changes; every frame's bright block is elsewhere."""
    return bool(np.abs(found.astype(int) - frame).mean() < 8)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return crossing(1, 100)


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "libx264")])
def test_frames_come_in_order_and_after_jumps(tmp_path: Path, frames: np.ndarray, ending: str, codec: str) -> None:
    path = write_video(tmp_path / f"a.{ending}", frames, codec)
    items = open_images(path)
    assert len(items) == len(frames)
    assert items[3].name == f"{path.as_posix()}[3]"
    assert items[50].time == pytest.approx(2.0, abs=0.01)
    assert all(close(item.read(), frame) for item, frame in zip(items, frames, strict=True))
    for index in (0, 99, 60, 61, 3, 98, 98):
        assert close(items[index].read(), frames[index]), index


def test_gray_stays_gray_and_colour_colour(tmp_path: Path, frames: np.ndarray) -> None:
    assert open_images(write_video(tmp_path / "a.mp4", frames[:5]))[0].read().shape == (48, 64)
    red = np.zeros((5, 48, 64, 3), np.uint8)
    red[..., 0] = 200
    pixels = open_images(write_video(tmp_path / "b.mp4", red))[0].read()
    assert pixels.shape == (48, 64, 3)
    assert pixels[..., 0].mean() > pixels[..., 1].mean() + 100


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path, frames: np.ndarray) -> None:
    ticks = np.cumsum([4 if index % 3 else 20 for index in range(40)]).tolist()
    items = open_images(write_video(tmp_path / "a.mp4", frames[:40], rate=100, times=ticks))
    assert [item.time for item in items] == pytest.approx([(tick - ticks[0]) / 100 for tick in ticks], abs=0.002)
    assert close(items[30].read(), frames[30])
    assert close(items[2].read(), frames[2])


def test_rotation_is_applied(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mp4", frames[:5])
    data = bytearray(path.read_bytes())
    upright = b"".join(value.to_bytes(4, "big") for value in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(
        (value % 2**32).to_bytes(4, "big") for value in (0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    )
    place = data.find(upright, data.find(b"tkhd"))
    data[place : place + len(turned)] = turned
    path.write_bytes(data)
    pixels = open_images(path)[0].read()
    assert pixels.shape == (64, 48)
    assert close(pixels, np.rot90(frames[0], -1))


def test_what_a_cut_file_still_holds_is_read(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mkv", frames)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    items = open_images(path)
    assert 20 < len(items) < 100
    assert close(items[10].read(), frames[10])
    stack = load_stack(items, Preprocessing("gray", 48, 64))
    assert len(stack.items) > 20


def test_damage_in_the_middle_costs_only_its_frames(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mp4", frames)
    data = bytearray(path.read_bytes())
    start, size = data.find(b"mdat"), len(data)
    for place in range(start + (size - start) // 3, start + (size - start) // 3 + 400):
        data[place] = 0
    path.write_bytes(data)
    stack = load_stack(open_images(path), Preprocessing("gray", 48, 64))
    assert len(stack.items) + len(stack.unreadable) == len(frames)
    assert len(stack.items) > 40
    last = int(stack.items[-1].name.rpartition("[")[2][:-1])
    assert close(stack.images[-1, 0], frames[last])


CODECS = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264", "webm": "libvpx", "flv": "libx264"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for ending, codec in CODECS.items():
        write_video(folder / f"a.{ending}", frames, codec)
    write_video(folder / "start.mp4", frames, options={"movflags": "faststart"})
    write_video(folder / "pieces.mp4", frames, options={"movflags": "frag_keyframe+empty_moov"})
    return folder


@pytest.mark.parametrize("name", [*(f"a.{ending}" for ending in CODECS), "start.mp4", "pieces.mp4"])
def test_a_whole_file_is_not_called_damaged(whole: Path, name: str) -> None:
    assert VideoFile(whole / name).damage is None
    assert len(open_images(whole / name)) == 100


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.ts", "a.webm", "a.flv", "start.mp4", "pieces.mp4"])
def test_a_cut_file_says_so_in_a_row_of_its_own(
    whole: Path, frames: np.ndarray, tmp_path: Path, name: str, share: float
) -> None:
    path = tmp_path / name
    content = (whole / name).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    items = open_images(path)
    if len(items) == 100:
        assert (name, share) == ("a.avi", 0.9), "the index alone is missing, and every frame is there"
        assert close(items[99].read(), frames[99])
        return
    assert (items[-1].name, items[-1].video) == (path.as_posix(), items[0].video)
    with pytest.raises(DataError, match=rf"is cut.* {len(items) - 1} (frames )?that are used"):
        items[-1].read()


def test_how_much_is_missing_is_told(whole: Path, tmp_path: Path) -> None:
    for name in ("a.mkv", "a.avi"):
        path = tmp_path / name
        path.write_bytes((whole / name).read_bytes()[: (whole / name).stat().st_size // 2])
        video = VideoFile(path)
        assert f"about {100 - len(video)} frames are missing behind the {len(video)}" in str(video.damage)


def test_a_frame_that_the_decoder_has_repaired_is_an_error(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mkv", frames)
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 400] = bytes(400)
    path.write_bytes(data)
    items = open_images(path)
    unreadable = [name for name, _ in load_stack(items, Preprocessing("gray", 48, 64)).unreadable]
    assert 1 <= len(unreadable) < 13, "at most up to the next key frame"
    number = int(unreadable[0].rpartition("[")[2][:-1])
    with pytest.raises(DataError, match=f"damaged at frame {number} of {len(items)}"):
        open_images(path)[number].read()  # by a jump, too
    assert close(items[len(items) - 1].read(), frames[99])


def test_events_of_a_cut_video_label_what_is_there(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes((whole / "a.mkv").read_bytes()[: (whole / "a.mkv").stat().st_size // 2])
    (tmp_path / "events.csv").write_text("video,start,end\na.mkv,30,80\n")
    items = open_images(tmp_path, "eval")
    assert [item.anomalous for item in items[28:32]] == [False, False, True, True]
    assert items[-1].name.endswith("a.mkv")


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 4096])
def test_what_is_no_video_is_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4"):
        open_images(path)


def test_an_mp4_without_its_index_is_explained(tmp_path: Path, frames: np.ndarray) -> None:
    path = write_video(tmp_path / "a.mp4", frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="may be cut"):
        VideoFile(path)


def test_a_bad_file_leaves_the_others(tmp_path: Path, frames: np.ndarray) -> None:
    write_video(tmp_path / "a.mp4", frames[:30])
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    write_video(tmp_path / "c.mp4", frames[:20])
    stack = load_stack(open_images(tmp_path), Preprocessing("gray", 48, 64))
    assert len(stack.items) == 50
    assert len(stack.unreadable) == 1
    assert "b.mp4" in stack.unreadable[0][1]


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    with pytest.raises(DataError, match="no video stream"):
        open_images(path)


def test_labels_of_folders_hold_for_all_frames(tmp_path: Path, frames: np.ndarray) -> None:
    write_video(tmp_path / "good" / "a.mp4", frames[:10])
    write_video(tmp_path / "fall" / "b.mp4", frames[:12])
    items = open_images(tmp_path, "eval")
    assert [item.anomalous for item in items] == [True] * 12 + [False] * 10
    assert {item.video for item in items} == {f"{tmp_path.as_posix()}/good/a.mp4", f"{tmp_path.as_posix()}/fall/b.mp4"}
    assert len(open_images(tmp_path, "fit")) == 10


def test_clips_never_span_two_videos() -> None:
    items = open_images(np.zeros((6, 8, 8), np.uint8))
    frames = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    firsts = runs(list(items), ["a", "a", "a", "b", "b", "b"])
    whole = training_clips(frames, firsts, np.arange(6), 2, strides=(1, 2))
    assert whole[:][:, :, 0, 0, 0].tolist() == [[0, 1], [1, 2], [3, 4], [4, 5], [0, 2], [3, 5]]
    with pytest.raises(DataError, match="4 consecutive frames"):
        training_clips(frames, firsts, np.arange(6), 4)
    passing = PassingClips(3)
    given = [passing.push("a" if index < 3 else "b", frame) for index, frame in enumerate(frames)]
    everything = Clips(frames, firsts, 3, np.arange(6))
    np.testing.assert_array_equal(np.stack(given), everything[:])


def test_clips_are_chosen_by_a_tensor_of_any_length() -> None:
    frames = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    clips = Clips(frames, np.zeros(6, np.int64), 2, np.arange(6))
    for chosen in ([3], [3, 5], []):
        expected = clips[np.array(chosen, dtype=np.int64)]
        assert expected.shape == (len(chosen), 2, 1, 1, 1)
        np.testing.assert_array_equal(clips[torch.tensor(chosen, dtype=torch.long)], expected)


def test_few_videos_are_cut_into_blocks() -> None:
    names = ["a"] * 200 + ["b"] * 40
    found = blocks(names)
    assert len(set(found)) == 7
    assert all(block.split(",")[0] == name for block, name in zip(found, names, strict=True))
    many = [f"video {index // 5}" for index in range(100)]
    assert blocks(many) == many


def test_arrays_of_videos() -> None:
    gray = open_images(np.zeros((2, 5, 16, 24), np.uint8))
    assert [item.name for item in gray][4:6] == ["array[0][4]", "array[1][0]"]
    assert {item.video for item in gray} == {"array[0]", "array[1]"}
    assert open_images(np.zeros((2, 3, 16, 24, 3), np.uint8))[0].read().shape == (16, 24, 3)
    with pytest.raises(DataError):
        open_images(np.zeros((0, 5, 16, 24), np.uint8))
