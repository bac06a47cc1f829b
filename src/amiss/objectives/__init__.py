"""What is minimised; each file loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import adversarial as adversarial
    from . import continuous_labels as continuous_labels
    from . import corruption as corruption
    from . import forms as forms
    from . import gate as gate
    from . import negative as negative
    from . import reconstruction as reconstruction
    from . import svdd as svdd
