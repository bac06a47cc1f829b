"""Reading many images."""

from __future__ import annotations

import numpy as np
import pytest

from amiss.data import Collection, Item, open_images
from amiss.data.preprocessing import Preprocessing
from amiss.data.stack import Stack, digest, load_stack, stream
from amiss.errors import DataError

SPEC = Preprocessing("gray", 8, 8)


def images(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)


def broken() -> np.ndarray:
    raise DataError("broken.png cannot be read: cut short")


def test_stack_holds_every_readable_image_in_order() -> None:
    items = [*open_images(images()), Item("broken.png", broken)]
    stack = load_stack(Collection(items), SPEC)
    np.testing.assert_array_equal(stack.images[:, 0], images())
    assert stack.images.dtype == np.uint8
    assert stack.unreadable == [("broken.png", "broken.png cannot be read: cut short")]
    with pytest.raises(DataError, match="cut short"):
        load_stack(Collection([Item("broken.png", broken)]), SPEC)


def test_deeper_images_after_eight_bit_ones_keep_both() -> None:
    deep = (images(2) / np.float32(255) * 0.999).astype(np.float32)
    stack = load_stack(Collection([*open_images(images(2)), *open_images(deep)]), SPEC)
    assert stack.images.dtype == np.float32
    np.testing.assert_allclose(stack.images[:2, 0], images(2) / 255, atol=1e-6)
    np.testing.assert_allclose(stack.images[2:, 0], deep, atol=1e-6)


def test_digest_follows_content_not_storage() -> None:
    image = images(1)
    assert digest(image) == digest(image / np.float32(255))
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert digest(image) != digest(changed)
    assert digest(image) != digest(image.reshape(1, 4, 16))


def test_stream_reads_a_bounded_number_ahead() -> None:
    read: list[int] = []

    def item(index: int) -> Item:
        def pixels() -> np.ndarray:
            read.append(index)
            return images(1)[0]

        return Item(str(index), pixels)

    rows = stream((item(i) for i in range(500)), SPEC, ahead=8)
    for done, prepared in enumerate(rows, start=1):
        assert prepared.item.name == str(done - 1)
        assert len(read) <= done + 8
    assert sorted(read) == list(range(500))


def test_groups_are_whole_unless_they_are_parts_of_larger_ones() -> None:
    def frames(*groups: str) -> list[Item]:
        return [Item(f"{n}", broken, group=group, video=f"v{n // 2}") for n, group in enumerate(groups)]

    def whole(items: list[Item], groups: list[str | None] | None) -> bool:
        return Stack(np.zeros((4, 1, 1, 1)), items, list("wxyz"), [], groups).groups_are_whole

    assert whole(frames("a", "a", "b", "b"), None)
    assert whole(frames("a", "a", "b", "b"), ["v0", "v0", "v1", "v1"])
    assert not whole(frames("a", "a", "b", "b"), ["v0, block 1", "v0, block 2", "v1", "v1"])
    assert not whole(frames("day", "day", "day", "day"), ["v0", "v0", "v1", "v1"]), "videos of one day"


def test_an_image_that_stands_alone_is_a_group() -> None:
    items = [Item("0", broken, group="a"), Item("1", broken), Item("2", broken, group="a")]
    stack = Stack(np.zeros((3, 1, 1, 1)), items, list("xyz"), [])
    assert stack.groups_of([2, 1, 0]) == ["a", "y", "a"]
