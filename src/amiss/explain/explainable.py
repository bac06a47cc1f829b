"""What explainers ask of a fitted model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from ..calibration import Decision
from ..data.appearance import UsualAppearance
from ..data.collection import Item
from ..data.preprocessing import Preprocessing
from ..data.stack import Prepared
from ..engines import Engine

if TYPE_CHECKING:
    from torch import nn


class Explainable(Protocol):
    """A fitted model as explainers see it; `amiss.model.FittedModel` says what each part is."""

    @property
    def label(self) -> str: ...
    @property
    def gives_map(self) -> bool: ...
    @property
    def clip_length(self) -> int: ...
    @property
    def sees_whole_images(self) -> bool: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def reference(self) -> NDArray[Any]: ...
    @property
    def usual(self) -> UsualAppearance | None: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def batch_size(self) -> int: ...

    def inputs(self, items: Iterable[Item], ahead: int = 16, picture: int | None = None) -> Iterator[Prepared]: ...
    def torch_scorer(self) -> nn.Module: ...
    def with_scorer(self, scorer: nn.Module) -> Explainable: ...
