"""Detectors that reconstruct: one description by slots, of which every method is a set of defaults.

input gate -> encoder -> code -> decoder; terms that are minimised; stages one after the other; a path that is scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import networks, objectives, training
from ..data import Images, open_images
from ..data.preprocessing import to_float
from ..data.stack import load_stack
from ..environment import versions
from ..errors import DataError, UsageError
from ..lazy import torch
from ..model import FittedModel
from ..networks.parts import CODES, CONVOLUTIONS, GATES, NETWORKS, POSTS
from ..objectives.forms import NEGATIVES
from ..settings import WholeNumbers, narrowed, setting
from .detector import Detector

#: Images that a monitor scores at once.
_PART = 256
#: An error within so much of the mean image's is no better than painting the mean image.
_NO_BETTER = 0.98
#: A code with a number for fewer numbers of the image than these lets all images through.
_TOO_WIDE = 8
#: Normal images may become so many times worse in a negative phase before it counts as an explosion.
_EXPLODED = 2.0
#: Distance between embeddings, relative to their centre's length, below which they have collapsed onto it.
_COLLAPSED = 1e-2
#: Learning rate of repeated negative steps, relative to the others: alone, Adam makes small gradients into full steps,
#: and nothing holds it back.
_REPEATED = 0.1
#: An adversary has won where its path's error is so many times the normal path's.
_WON = 10.0


@dataclass(kw_only=True, eq=False)
class Reconstructor(Detector["networks.autoencoder.ReconstructionScorer"]):
    """An autoencoder learns to reconstruct normal images; what it reconstructs badly is anomalous.

    Every part is a slot, and any combination works: `gate` (input attention), `conv` (kind of convolution), `post`
    (channel attention), `code` (what happens between the halves), `loss`, `negative` (learning from labelled
    anomalies), `svdd` (fine-tuning of the encoder), `corruption` (of the input, in training), `score` (which path's
    error counts).

    Adam at 1e-3, times 0.75 after four epochs without a better error on the stop part, stopped after eight without a
    better one (RAVI 4.4.1).
    """

    family: ClassVar[str] = "reconstructs"
    has_map: ClassVar[bool] = True

    network: str = setting("bcae1", "layers of the autoencoder", choices=NETWORKS)
    filters: tuple[int, ...] = setting(
        (64, 64, 64, 96, 96),
        "of the encoder's layers, with commas; the last is the code's channels at most",
        kind=WholeNumbers(least=2),
    )
    compression: float = setting(
        32.0,
        "numbers of the image for each number of the code: the code has fewer channels for small images; 0: as many as "
        "filters say",
        low=0.0,
        before=0.0,
    )
    gate: str | None = setting(None, "soft attention on the input: sigmoid (sa) or softmax (ssa)", choices=GATES)
    conv: str = setting("plain", "kind of convolutions; asymmetric = strengthened kernels", choices=CONVOLUTIONS)
    post: str | None = setting(None, "behind every activation; se = squeeze-excitation", choices=POSTS)
    code: str = setting("plain", "what happens to the code before it is decoded", choices=CODES)
    loss: str = setting("mse", "what is minimised, and the score", choices=("mse", "mse+ssim"))
    negative: str | None = setting(
        None, "term that spoils the reconstruction of labelled anomalies", choices=(None, *NEGATIVES)
    )
    svdd: str | None = setting(None, "fine-tuning of the encoder", choices=(None, "one-class", "soft-boundary"))
    corruption: str | None = setting(None, "of the input in training", choices=(None, "noise", "mask"))
    score_path: str = setting(
        "normal", "path whose error counts", choices=("normal", "perturbed", "mean"), name="score"
    )

    eta: float = setting(0.5, "share of the squared error in mse+ssim", low=0.0, high=1.0)
    fuse: bool = setting(True, "strengthened kernels are fused into plain ones when training ends")
    gate_penalty: float = setting(1e-6, "weight of the norm of the gate's map (gate=sa)", low=0.0)
    strength: float = setting(0.5, "longest noise or distortion, in lengths of the code", low=0.0)
    distorter_every: int = setting(3, "the distorter moves in every n-th epoch", low=1)
    distorter_weight: float = setting(
        0.1, "of the distorter's loss, set against the autoencoder's 1 by way of its learning rate", low=0.0
    )
    distorter_decays: bool = setting(
        True, "the distorter's learning rate falls with the autoencoder's, so that their ratio stays", before=False
    )
    normal_weight: float = setting(1.0, "of the normal path's error beside the perturbed one (code=distorter)", low=0.0)
    memory_items: int = setting(100, "that the memory holds", low=2)
    entropy_weight: float = setting(2e-4, "of the entropy of the memory's addressing", low=0.0)
    corruption_level: float = setting(0.2, "noise's deviation, or the mask's share of the image", low=0.0, high=1.0)
    negative_weight: float = setting(10.0, "of the weighted negative term", low=0.0)
    negative_unit: float = setting(1.0, "of errors in the bounded term; smaller lets go of anomalies earlier", low=1e-9)
    negative_moves: int = setting(3, "negative steps for each positive one (negative=repeated)", low=1)
    negative_phase: str = setting("after", "after learning normals alone, or mixed in", choices=("after", "mixed"))
    negative_epochs: int = setting(10, "of the negative phase", low=1)
    svdd_scope: str = setting(
        "last", "what fine-tuning changes: the last encoder layer, the encoder, or all with the error beside",
        choices=("last", "encoder", "joint"),
    )  # fmt: skip
    svdd_learning_rate: float = setting(5e-7, "of fine-tuning", low=0.0)
    svdd_epochs: int = setting(10, "of fine-tuning", low=1)
    svdd_nu: float = setting(0.1, "share of normals that may lie outside the soft boundary", low=1e-3, high=1.0)

    epochs: int = setting(300, "most passes through the training images", low=1)
    patience: int = setting(8, "epochs without a better error before training stops", low=1)
    plateau_patience: int = setting(4, "epochs without a better error before the learning rate falls", low=0)
    plateau_factor: float = setting(0.75, "what the learning rate is then multiplied by", low=0.01, high=0.99)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"filters": narrowed(cls().filters)}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "fewest_steps": 2, "negative_epochs": 1, "svdd_epochs": 1}

    # -- what it is made of --------------------------------------------------------------------------------------------

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.autoencoder.ReconstructionScorer:
        network = networks.autoencoder.Autoencoder(
            shape,
            network=self.network,  # type: ignore[arg-type]  # `check` allows the literals only
            filters=self.filters,
            conv=self.conv,  # type: ignore[arg-type]  # as above
            post=self.post,
            gate=self.gate,
            code=self.code,
            strength=self.strength,
            items=self.memory_items,
            compression=self.compression,
        )
        scaled = self.code == "distorter"
        return networks.autoencoder.ReconstructionScorer(network, self.loss, self.eta, self.score_path, scaled=scaled)

    def finish(self, scorer: torch.nn.Module) -> torch.nn.Module:
        return networks.asymmetric.fuse(scorer) if self.conv == "asymmetric" and self.fuse else scorer

    def learns_from_anomalies(self) -> bool:
        return self.negative is not None

    # -- how it learns -------------------------------------------------------------------------------------------------

    def stages(
        self, scorer: networks.autoencoder.ReconstructionScorer
    ) -> Sequence[training.stage.Stage | training.stage.Computation]:
        mixed = self.negative is not None and self.negative_phase == "mixed"
        discriminator = self._discriminator(scorer)
        stages: list[training.stage.Stage | training.stage.Computation] = [
            self._fit_stage(scorer, discriminator, mixed)
        ]
        if self.negative is not None and not mixed:
            stages.append(self.negative_stage(scorer, discriminator))
        if self.svdd is not None:
            stages += self._svdd_stages(scorer)
        if self.code == "distorter":
            stages.append(self._scaling(scorer))
        return stages

    def _discriminator(
        self, scorer: networks.autoencoder.ReconstructionScorer
    ) -> networks.discriminator.CodeDiscriminator | None:
        """Of codes, where they are pushed towards a prior; the negative phase goes on with it."""
        channels, height, width = scorer.network.code_shape
        if self.code != "prior":
            return None
        return networks.discriminator.CodeDiscriminator(channels * height * width)

    def _fit_stage(
        self,
        scorer: networks.autoencoder.ReconstructionScorer,
        discriminator: networks.discriminator.CodeDiscriminator | None,
        negative: bool,
    ) -> training.stage.Stage:
        players = self._players(scorer, discriminator, None if negative else self._plateau(), negative)
        return training.stage.Stage(
            "fit",
            players,
            self.epochs,
            self._monitor(scorer),
            patience=None if negative else self.patience,
            fewest_steps=self.fewest_steps,
            keep="last" if negative else "best",  # as in the negative stage
            beside={} if discriminator is None else {"discriminator": discriminator},
            measure=lambda images: self._measures(scorer, images),
            diagnose=lambda figures: [*self._diagnose_code(scorer.network), *self._diagnose_fit(figures)],
        )

    def negative_stage(
        self,
        scorer: networks.autoencoder.ReconstructionScorer,
        discriminator: networks.discriminator.CodeDiscriminator | None = None,
    ) -> training.stage.Stage:
        """Normals and labelled anomalies together, from what the normals alone have taught (ADNL 4.3)."""
        discriminator = self._discriminator(scorer) if discriminator is None else discriminator
        players = self._players(scorer, discriminator, None, negative=True)
        return training.stage.Stage(
            "negative",
            players,
            self.negative_epochs,
            self._monitor(scorer),
            fewest_steps=self.fewest_steps,
            keep="last",  # the error on normals alone would choose the epoch that has learnt least from anomalies
            needs_anomalies=True,
            frozen=True,  # batches of both kinds have other statistics than the normals that will be scored
            measure=lambda images: self._measures(scorer, images),
            beside={} if discriminator is None else {"discriminator": discriminator},
            diagnose=_diagnose_negative,
        )

    def _plateau(self) -> training.stage.Schedule:
        def make(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self.plateau_factor, patience=self.plateau_patience
            )

        return training.stage.Schedule(make, "plateau")

    def _players(
        self,
        scorer: networks.autoencoder.ReconstructionScorer,
        discriminator: networks.discriminator.CodeDiscriminator | None,
        schedule: training.stage.Schedule | None,
        negative: bool,
    ) -> list[training.stage.Player]:
        network, learning_rate = scorer.network, self.learning_rate
        own = list(network.own_parameters())
        repeated = self.negative == "repeated"
        adam = torch.optim.Adam

        def given(batch: training.stage.Batch) -> training.stage.Batch:
            return batch if negative else _without_anomalies(batch)

        def both(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            terms = self._terms(scorer, given(batch))
            if repeated:
                terms.pop("negative term", None)
            return terms

        def anomalies_alone(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            terms = self._terms(scorer, batch)
            return {name: term for name, term in terms.items() if name == "negative term"}

        players = [training.stage.Player("autoencoder", own, both, learning_rate, schedule, optimizer=adam)]
        if negative and repeated:
            players.append(
                training.stage.Player(
                    "negative",
                    own,
                    anomalies_alone,
                    _REPEATED * learning_rate,
                    moves=self.negative_moves,
                    optimizer=adam,
                )
            )
        if self.code == "distorter":
            players.append(
                training.stage.Player(
                    "distorter",
                    list(network.code.adversary()),
                    lambda batch: self._distortion(scorer, given(batch)),
                    self.distorter_weight * learning_rate,  # Adam divides a weight of the loss out again
                    schedule if self.distorter_decays else None,
                    every_epochs=self.distorter_every,
                    optimizer=adam,
                )
            )
        return (
            players if discriminator is None else players + _prior_players(network, discriminator, learning_rate, given)
        )

    def _distortion(
        self, scorer: networks.autoencoder.ReconstructionScorer, batch: training.stage.Batch
    ) -> dict[str, torch.Tensor]:
        """The distorter maximises the error that the autoencoder minimises (ALPS III-C)."""
        network = scorer.network
        with torch.no_grad():
            gated = network.gate(_both_kinds(batch.images, batch))
            code = network.encoder(gated)
        reconstruction = network.decoder(network.code.perturbed(code, gated))[: len(batch.images)]
        return {"distortion": -scorer.error(batch.images, reconstruction).mean()}

    def _terms(
        self, scorer: networks.autoencoder.ReconstructionScorer, batch: training.stage.Batch
    ) -> dict[str, torch.Tensor]:
        """What the autoencoder minimises; labelled anomalies pass through it beside the normal images."""
        network, images, count = scorer.network, batch.images, len(batch.images)
        given = _both_kinds(self._corrupted(images, batch.generator), batch)
        terms = {}
        if self.gate == "sa" and self.gate_penalty:  # most of a step's time is the map's: once must do
            assert isinstance(network.gate, networks.gates.SoftAttention)
            attention_map = network.gate.attention_map(given)
            gated = given * attention_map
            terms["gate penalty"] = self.gate_penalty * objectives.gate.map_penalty(attention_map[:count])
        else:
            gated = network.gate(given)
        code = network.encoder(gated)
        reconstruction = network.decoder(network.code.held(code, gated))
        terms["reconstruction error"] = scorer.error(images, reconstruction[:count]).mean()
        if self.code == "distorter" and self.normal_weight:
            terms["normal error"] = self.normal_weight * scorer.error(images, network.decoder(code)[:count]).mean()
        if self.code == "memory" and self.entropy_weight:
            assert isinstance(network.code, networks.codes.MemorisedCode)
            addressing = network.code.memory.addressing(code[:count])
            terms["memory entropy"] = self.entropy_weight * networks.memory.addressing_entropy(addressing)
        if batch.anomalies is not None and self.negative is not None:
            errors = scorer.error(batch.anomalies, reconstruction[count:]).mean(dim=(1, 2))
            terms["negative term"] = objectives.negative.negative_term(
                self.negative, errors, self.negative_weight, self.negative_unit
            )
        return terms

    def _corrupted(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.corruption == "noise":
            return objectives.corruption.noisy(images, self.corruption_level, generator)
        if self.corruption == "mask":
            return objectives.corruption.masked(images, self.corruption_level, generator)
        return images

    def _monitor(self, scorer: networks.autoencoder.ReconstructionScorer) -> Callable[[training.stage.Held], float]:
        path = "perturbed" if self.code == "distorter" else "normal"

        def monitor(held: training.stage.Held) -> float:
            return _mean_error(scorer, held.images, path)

        return monitor

    def _measures(self, scorer: networks.autoencoder.ReconstructionScorer, images: torch.Tensor) -> dict[str, float]:
        """What the diagnosis needs: the error of painting the mean image, and of the normal path."""
        mean_image = images.mean(dim=0, keepdim=True).expand(len(images), -1, -1, -1)
        figures = {"error of the mean image": float(scorer.error(images, mean_image).mean())}
        if self.code == "distorter":
            figures["error of the normal path"] = _mean_error(scorer, images, "normal")
        return figures

    def _diagnose_code(self, network: networks.autoencoder.Autoencoder) -> list[str]:
        """A memory holds back what the code lets through; a single channel cannot become fewer."""
        if network.compression >= _TOO_WIDE or self.code == "memory" or network.code_shape[0] == 1:
            return []
        return [
            f"the code holds a number for every {network.compression:.2g} of the image, so the autoencoder may copy "
            "anomalies as well; set compression=32, or a smaller last number of filters"
        ]

    def _diagnose_fit(self, figures: Sequence[Mapping[str, float]]) -> list[str]:
        best = min(figures, key=lambda each: each["stop"])
        if self.code == "distorter":
            normal = best.get("error of the normal path", best["stop"])
            if best["stop"] >= _NO_BETTER * best["error of the mean image"] or best["stop"] > _WON * normal:
                return [
                    f"the distorter wins: perturbed codes are reconstructed with an error of {best['stop']:.4f}, the "
                    f"mean image has {best['error of the mean image']:.4f}; lower strength, or raise distorter_every"
                ]
        elif best["stop"] >= _NO_BETTER * best["error of the mean image"]:
            return [
                f"the autoencoder paints held-out normal images no better ({best['stop']:.4f}) than their mean image "
                f"does ({best['error of the mean image']:.4f}); raise epochs or fewest_steps, or give more images"
            ]
        return []

    # -- SVDD regularisation (RAVI 3.6) --------------------------------------------------------------------------------

    def _svdd_stages(
        self, scorer: networks.autoencoder.ReconstructionScorer
    ) -> list[training.stage.Stage | training.stage.Computation]:
        network = scorer.network
        channels, height, width = network.code_shape
        sphere = networks.sphere.Sphere(channels * height * width)

        def centre(context: training.stage.StageContext) -> dict[str, float]:
            embeddings = (network.encode(part).flatten(1) for part in context.train.batches(_PART))
            return sphere.fit_centre(embeddings, self.svdd_nu)

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            embeddings = network.encode(batch.images).flatten(1)
            regular = {"svdd": sphere.loss(embeddings, self.svdd == "soft-boundary", self.svdd_nu)}
            if self.svdd_scope == "joint":
                regular |= self._terms(scorer, _without_anomalies(batch))
            return regular

        changed: dict[str, list[torch.nn.Parameter]] = {
            "last": list(network.last_encoder_layer().parameters()),
            "encoder": list(network.encoder.parameters()),
            "joint": list(network.own_parameters()),
        }
        player = training.stage.Player(
            "encoder", changed[self.svdd_scope], terms, self.svdd_learning_rate, optimizer=torch.optim.Adam
        )
        return [
            training.stage.Computation("centre", centre),
            training.stage.Stage(
                "svdd",
                [player],
                self.svdd_epochs,
                self._monitor(scorer),
                keep="last",
                beside={"sphere": sphere},
                frozen=True,
                measure=lambda images: {"spread": sphere.spread(network.encode(images).flatten(1))},
                diagnose=diagnose_svdd,
            ),
        ]

    # -- scores --------------------------------------------------------------------------------------------------------

    def _scaling(self, scorer: networks.autoencoder.ReconstructionScorer) -> training.stage.Computation:
        """Scores from 0 to 1 on held-out normals (ALPS III-D); on the stop part, which calibration never sees."""

        def scale(context: training.stage.StageContext) -> dict[str, float]:
            parts = [scorer.errors(part, self.score_path).mean(dim=(1, 2)) for part in context.stop.batches(_PART)]
            scores = torch.cat(parts)
            scorer.set_scale(scores)
            return {"lowest": float(scores.min()), "highest": float(scores.max())}

        return training.stage.Computation("scale", scale)

    def path_scores(self, x: Images) -> dict[str, NDArray[np.float32]]:
        """See the function `path_scores`. Raises `NotFittedError` before `fit`."""
        return path_scores(self.require_fitted(), x)


def path_scores(model: FittedModel, x: Images) -> dict[str, NDArray[np.float32]]:
    """The three scores of ALPS (III-D) for images: `normal`, `perturbed` and `mean`, each (n,), unscaled.

    Args:
        model: of an autoencoder; fitted or loaded.
        x: images, as `score` takes them.

    Raises:
        UsageError: a model of another method, or one that scores patches or features.
        MissingExtraError: torch is not installed.
        DataError: an image cannot be read.
    """
    if not model.sees_whole_images:
        raise UsageError("scores of every path need whole images; fit with patch=none and features=none")
    versions.require("train", "scores of every path", "torch")
    scorer = model.torch_scorer()
    if not isinstance(scorer, networks.autoencoder.ReconstructionScorer):
        raise UsageError(f"{model.label} has no paths through a code; an autoencoder has, such as ALPS")
    stack = load_stack(open_images(x, "score"), model.preprocessing)
    if stack.unreadable:
        raise DataError(stack.unreadable[0][1])
    found: dict[str, list[NDArray[np.float32]]] = {"normal": [], "perturbed": [], "mean": []}
    with torch.inference_mode():
        for begin in range(0, len(stack.images), model.batch_size):
            part = torch.from_numpy(to_float(stack.images[begin : begin + model.batch_size]))
            for path, scores in found.items():
                scores.append(scorer.errors(part, path).mean(dim=(1, 2)).numpy())
    return {path: np.concatenate(scores) for path, scores in found.items()}


def _both_kinds(images: torch.Tensor, batch: training.stage.Batch) -> torch.Tensor:
    """Normal `images` and the labelled anomalies behind them, if any.

    In one batch, because batch normalisation would learn from batches of one kind what holds for neither.
    """
    return images if batch.anomalies is None else torch.cat([images, batch.anomalies])


def _without_anomalies(batch: training.stage.Batch) -> training.stage.Batch:
    return dataclasses.replace(batch, anomalies=None)


def _mean_error(scorer: networks.autoencoder.ReconstructionScorer, images: torch.Tensor, path: str) -> float:
    parts = torch.split(images, _PART)
    return sum(float(scorer.errors(part, path).mean(dim=(1, 2)).sum()) for part in parts) / len(images)


def _prior_players(
    network: networks.autoencoder.Autoencoder,
    discriminator: networks.discriminator.CodeDiscriminator,
    learning_rate: float,
    given: Callable[[training.stage.Batch], training.stage.Batch],
) -> list[training.stage.Player]:
    """The discriminator, which tells codes from Gaussian draws, and the encoder, which passes its codes off as such."""

    def codes_of_normals(batch: training.stage.Batch) -> torch.Tensor:
        return network.encode(_both_kinds(batch.images, given(batch)))[: len(batch.images)].flatten(1)

    def discriminator_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            codes = codes_of_normals(batch)
        drawn = torch.randn(codes.shape, generator=batch.generator).to(codes)
        loss = objectives.adversarial.discriminator_loss(discriminator(drawn), discriminator(codes))
        return {"discriminator loss": loss}

    def encoder_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
        return {"generator loss": objectives.adversarial.generator_loss(discriminator(codes_of_normals(batch)))}

    return [
        training.stage.Player(name, list(part.parameters()), terms, learning_rate, optimizer=torch.optim.Adam)
        for name, part, terms in (
            ("discriminator", discriminator, discriminator_terms),
            ("encoder", network.encoder, encoder_terms),
        )
    ]


def _diagnose_negative(figures: Sequence[Mapping[str, float]]) -> list[str]:
    best, last = min(each["stop"] for each in figures), figures[-1]["stop"]
    mean_image = figures[-1]["error of the mean image"]
    if last <= _EXPLODED * best and last < mean_image:
        return []
    return [
        f"the negative term drowns the normal images: their error has grown to {last:.4f}, and their mean image has "
        f"{mean_image:.4f}; set negative=bounded, or lower negative_weight, negative_moves or negative_epochs"
    ]


def diagnose_svdd(figures: Sequence[Mapping[str, float]]) -> list[str]:
    """Warns where all embeddings have fallen onto their centre."""
    spread = figures[-1]["spread"]
    if spread > _COLLAPSED:
        return []
    return [
        f"the embeddings have collapsed: they lie within {spread:.1e} of their centre's length; lower the SVDD "
        "learning rate, or use fewer epochs"
    ]
