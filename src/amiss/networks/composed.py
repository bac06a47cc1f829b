"""A scorer made of parts and a plain function, for methods that define their scorer in their own file."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .neighbours import GrowingBuffers


class ComposedScorer(GrowingBuffers):
    """Scorer: a plain function of the images and of named parts.

    No class has to derive from `nn.Module`, so a file that defines such a function does not import torch by itself.

    Args:
        forward: called as `forward(image, **parts)`, with images (n, c, h, w); gives `score` (n,) and perhaps `map`
            (n, h, w).
        parts: modules, which become submodules, and tensors, which become buffers: both are part of the state, under
            their names. Buffers may change size: see `set_buffers`; loading a state makes room.

    Shape: (n, c, h, w) to `score` (n,) and perhaps `map` (n, h, w).

    >>> import torch
    >>> def distance(image: Tensor, mean: Tensor) -> dict[str, Tensor]:
    ...     return {"score": (image - mean).square().mean(dim=(1, 2, 3))}
    >>> scorer = ComposedScorer(distance, mean=torch.zeros(1, 2, 2))
    >>> scorer.set_buffers(mean=torch.ones(1, 2, 2))
    >>> scorer(torch.zeros(3, 1, 2, 2))["score"]
    tensor([1., 1., 1.])
    """

    def __init__(self, forward: Callable[..., dict[str, Tensor]], /, **parts: nn.Module | Tensor) -> None:
        super().__init__(*(name for name, part in parts.items() if isinstance(part, Tensor)))
        self._function = forward
        self._names = tuple(parts)
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                self.add_module(name, part)

    def set_buffers(self, **values: Tensor) -> None:
        """Set buffers by name, to tensors of any shape.

        Raises:
            AttributeError: the scorer has no such buffer.
        """
        for name in values:
            self.get_buffer(name)
        super().set_buffers(**values)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self._function(image, **{name: getattr(self, name) for name in self._names})
