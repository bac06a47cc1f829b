"""The papers' visual checks as functions: each looks at a fitted model and returns a matplotlib figure.

    amiss.visual_checks.reconstructions(detector, "parts/new").savefig("reconstructions.png")

A detector stands for the model that it has learnt. Needs the extras `train` and `plots`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "attention_maps": "autoencoders",
        "auroc_by_epoch": "scores",
        "codes_of": "autoencoders",
        "embeddings": "autoencoders",
        "first_layer_activations": "autoencoders",
        "generated": "generators",
        "generated_by_epoch": "generators",
        "reconstructions": "autoencoders",
        "score_histograms": "scores",
        "svdd_ablation": "autoencoders",
        "svdd_grid": "autoencoders",
    },
)

if TYPE_CHECKING:  # for type checkers alone
    from .autoencoders import attention_maps as attention_maps
    from .autoencoders import codes_of as codes_of
    from .autoencoders import embeddings as embeddings
    from .autoencoders import first_layer_activations as first_layer_activations
    from .autoencoders import reconstructions as reconstructions
    from .autoencoders import svdd_ablation as svdd_ablation
    from .autoencoders import svdd_grid as svdd_grid
    from .generators import generated as generated
    from .generators import generated_by_epoch as generated_by_epoch
    from .scores import auroc_by_epoch as auroc_by_epoch
    from .scores import score_histograms as score_histograms
