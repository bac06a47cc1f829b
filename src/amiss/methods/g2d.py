"""G2D: generate to detect anomalies (Pourreza et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from .. import networks, objectives, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import WholeNumbers, narrowed, setting

Phase = Literal["far", "boundary", "converged"]

#: Epochs that a generator's loss is compared across (section 3.3: h = 5).
_AHEAD = 5
#: Falls of the loss across these epochs, as shares of its whole range: eps1 >> eps2 >> eps3 in the paper's rule.
_FAR, _BOUNDARY = 0.2, 0.02
#: Weight of the gradient penalty (Gulrajani et al. 2017).
_PENALTY = 10.0
#: Share of the irregular samples that chooses the detector's epoch.
_HELD_OUT = 0.1


def phases(losses: Sequence[float]) -> list[Phase]:
    """What each epoch's generator is good for, from the losses L of all epochs alone (section 3.3, Fig. 4).

    With fall(i) = L(i) - L(i + 5), as a share of the range of L: `far` above 0.2 (the loss still falls steeply, samples
    are far from normal), `boundary` above 0.02, else `converged`. The paper's table of cases is lost, and its epsilons
    with it: rule and thresholds are ours. An epoch before a `far` one is `far`, one before a `boundary` one at least
    `boundary`: a loss that rises for a while has not converged. The last epochs are what the last comparable one is.

    >>> phases([10, 8, 6, 4, 2, 1, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4])[3:7]
    ['far', 'boundary', 'boundary', 'converged']
    """
    span = (max(losses) - min(losses)) or 1.0
    ahead = min(_AHEAD, max(1, len(losses) - 1))
    falls = [(now - later) / span for now, later in zip(losses, losses[ahead:], strict=False)] or [0.0]
    falls += [falls[-1]] * (len(losses) - len(falls))
    found: list[Phase] = []
    worst = 0.0
    for fall in reversed(falls):
        worst = max(worst, fall)
        found.append("far" if worst > _FAR else "boundary" if worst > _BOUNDARY else "converged")
    return found[::-1]


@dataclass(kw_only=True, eq=False)
class G2D(Detector["networks.wgan.ClassifierScorer"]):
    """A network learns to tell normal images from what half-trained generators make of them.

    A Wasserstein GAN with gradient penalty learns to generate normal images, and the generator is kept after every
    epoch. Its loss tells which epochs are far from converged, near the boundary, or converged (`phases`); far and
    boundary ones make as many irregular images as there are normal ones. A classifier learns to tell them apart, and is
    all that is saved. Labelled anomalies, where given, join the irregular images.

    Adam at 1e-4 with betas 0.5 and 0.999 and batches of 64 for the GAN; SGD at 0.01 with momentum 0.9 and batches of 32
    for the detector (section 4.1). Loss of an epoch: the Wasserstein estimate of eq. 3 on held-out normals, as a
    critic's scores are known up to a constant only. Score: log-odds of anomalous; the paper's D(x) is the probability
    of normal, and its decision at 0.5 is a score of 0.

    >>> G2D().get_params()["filters"]
    (1024, 512, 256)
    """

    title: ClassVar[str] = "Generate to detect anomalies"
    paper: ClassVar[str] = "Pourreza et al. 2021"
    family: ClassVar[str] = "tells created anomalies apart"
    good_for: ClassVar[str] = "small pictures of one kind of object; slow to fit, fast to score; gives no map"

    epochs: int = setting(50, "of the generator; each is kept", low=1)
    filters: tuple[int, ...] = setting(
        (1024, 512, 256), "of the generator, with commas; a quarter is enough for small images", kind=WholeNumbers()
    )
    learning_rate: float = setting(1e-4, "of generator and critic", low=0.0)
    noise: int = setting(100, "length of the generator's input", low=1)
    generators: int = setting(10, "kept epochs that make irregular images, k in the paper", low=1)
    augment: bool = setting(False, "images of converged generators join the normal ones")
    detector_epochs: int = setting(20, "most passes of the detector", low=1)
    detector_learning_rate: float = setting(0.01, "of the detector", low=0.0)
    patience: int = setting(5, "detector epochs without a better loss before training stops", low=1)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"filters": narrowed(cls().filters), "fewest_steps": 10, "detector_epochs": 6}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "fewest_steps": 2, "detector_epochs": 1}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.wgan.ClassifierScorer:
        return networks.wgan.ClassifierScorer(networks.wgan.Classifier(shape))

    def learns_from_anomalies(self) -> bool:
        return True

    def stages(
        self, scorer: networks.wgan.ClassifierScorer
    ) -> Sequence[training.stage.Stage | training.stage.Computation]:
        shape = scorer.network.shape
        generator = networks.wgan.Generator(shape, self.filters, self.noise)
        critic = networks.wgan.Critic(shape, self.filters[::-1])
        samples = Samples(generator)
        return [
            self._gan_stage(generator, critic),
            training.stage.Computation("generate", lambda context: self._generate(samples, context), _diagnose_phases),
            self._detector_stage(scorer, samples),
        ]

    # -- irregularity generators ---------------------------------------------------------------------------------------

    def _gan_stage(self, generator: networks.wgan.Generator, critic: networks.wgan.Critic) -> training.stage.Stage:
        def drawn(count: int, source: torch.Generator, like: torch.Tensor) -> torch.Tensor:
            return torch.randn(count, self.noise, generator=source).to(like)

        def critic_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                fake = generator(drawn(len(batch.images), batch.generator, batch.images))
            penalty = objectives.adversarial.gradient_penalty(critic, batch.images, fake, batch.generator)
            loss = objectives.adversarial.critic_loss(critic(batch.images), critic(fake))
            return {"critic loss": loss, "gradient penalty": _PENALTY * penalty}

        def generator_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            fake = generator(drawn(len(batch.images), batch.generator, batch.images))
            return {"generator loss": objectives.adversarial.wasserstein_generator_loss(critic(fake))}

        def measure(images: torch.Tensor) -> dict[str, float]:
            noise = drawn(256, torch.Generator().manual_seed(self.seed), images)
            real = torch.cat([critic(part) for part in torch.split(images, 256)])
            return {"wasserstein": float(real.mean() - critic(generator(noise)).mean())}

        def keep(epoch: int, folder: Path) -> None:
            state = {name: value.detach().cpu().half() for name, value in generator.state_dict().items()}
            torch.save(state, kept_path(folder, epoch))

        adam = functools.partial(torch.optim.Adam, betas=(0.5, 0.999))
        players = [
            training.stage.Player(name, list(network.parameters()), terms, self.learning_rate, optimizer=adam)
            for name, network, terms in (("critic", critic, critic_terms), ("generator", generator, generator_terms))
        ]
        return training.stage.Stage(
            "generator",
            players,
            self.epochs,
            monitor=None,
            fewest_steps=self.fewest_steps,
            beside={"generator": generator, "critic": critic},
            measure=measure,
            after_epoch=keep,
        )

    def _generate(self, samples: Samples, context: training.stage.StageContext) -> dict[str, float]:
        """Irregular images from far and boundary generators, as many as normal ones; and converged ones to augment."""
        history = next(record.figures for record in context.records if record.stage == "generator")
        found = phases([figures["wasserstein"] for figures in history])
        irregular = [epoch for epoch, phase in enumerate(found) if phase != "converged"] or list(range(len(found)))
        chosen = _spread(irregular, self.generators)
        samples.make(context, "irregular", chosen, len(context.train))
        converged = [epoch for epoch, phase in enumerate(found) if phase == "converged"]
        if self.augment and converged:
            samples.make(context, "regular", _spread(converged, self.generators), len(context.train))
        counts: dict[str, float] = {phase: float(found.count(phase)) for phase in ("far", "boundary", "converged")}
        return counts | {"generators used": float(len(chosen))}

    # -- detector ------------------------------------------------------------------------------------------------------

    def _detector_stage(self, scorer: networks.wgan.ClassifierScorer, samples: Samples) -> training.stage.Stage:
        network = scorer.network

        def loss(normal: torch.Tensor, anomalous: torch.Tensor) -> torch.Tensor:
            images = torch.cat([normal, anomalous]).contiguous(memory_format=torch.channels_last)
            labels = (torch.arange(len(images)) >= len(normal)).long().to(images.device)
            return torch.nn.functional.nll_loss(network(images), labels)

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            normal, count = batch.images, len(batch.images)
            anomalous = samples.draw("irregular", count, batch.generator, normal)
            if batch.anomalies is not None:
                anomalous = torch.cat([anomalous, batch.anomalies])
            if self.augment and samples.has("regular"):
                normal = torch.cat([normal, samples.draw("regular", count, batch.generator, normal)])
            return {"negative log-likelihood": loss(normal, anomalous)}

        def monitor(held: training.stage.Held) -> float:
            return float(loss(held.images, samples.held_out(held.images)))

        sgd = functools.partial(torch.optim.SGD, momentum=0.9)
        player = training.stage.Player(
            "detector", list(network.parameters()), terms, self.detector_learning_rate, optimizer=sgd
        )
        return training.stage.Stage(
            "detector",
            [player],
            self.detector_epochs,
            monitor,
            patience=self.patience,
            fewest_steps=self.fewest_steps,
            batch_size=32,
        )


class Samples:
    """Images that kept generators have made."""

    def __init__(self, generator: networks.wgan.Generator) -> None:
        self._generator = generator
        self._images: dict[str, torch.Tensor] = {}

    def make(self, context: training.stage.StageContext, name: str, epochs: Sequence[int], count: int) -> None:
        """`count` images (c, h, w) uint8 by the generators of `epochs`, in equal shares and shuffled."""
        device = next(self._generator.parameters()).device
        parts = []
        for number, epoch in enumerate(epochs):
            load_kept(self._generator, context.folder, epoch)
            share = count * (number + 1) // len(epochs) - count * number // len(epochs)
            noise = torch.randn(share, self._generator.noise, generator=context.generator).to(device)
            images = [self._generator.eval()(part) for part in torch.split(noise, 256)] if share else []
            parts += [(part * 255).round().byte().cpu() for part in images]
        made = torch.cat(parts)
        self._images[name] = made[torch.randperm(len(made), generator=context.generator)]

    def has(self, name: str) -> bool:
        return name in self._images

    def _trained_on(self, name: str) -> torch.Tensor:
        images = self._images[name]
        return images[: min(round(len(images) * (1 - _HELD_OUT)), len(images) - 1) or 1]

    def draw(self, name: str, count: int, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
        """`count` of them at random, as float32 in [0, 1] beside `like`."""
        images = self._trained_on(name)
        return images[torch.randint(len(images), (count,), generator=generator)].to(like) / 255

    def held_out(self, like: torch.Tensor) -> torch.Tensor:
        """Irregular images that the detector does not learn from; of a single one, that one."""
        irregular = self._images["irregular"]
        return irregular[min(len(self._trained_on("irregular")), len(irregular) - 1) :].to(like) / 255


def kept_path(folder: Path, epoch: int) -> Path:
    """Where the generator of an epoch (from 0) is kept; a new fit clears it away with the other files of stages."""
    return folder / f"stage-generator-{epoch:04d}.pt"


def load_kept(generator: networks.wgan.Generator, folder: Path, epoch: int) -> None:
    """Fill `generator` with the weights that it had in an epoch (from 0)."""
    state = torch.load(kept_path(folder, epoch), map_location="cpu", weights_only=True)
    generator.load_state_dict({name: value.float() for name, value in state.items()})


def _spread(epochs: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, the last among them."""
    count = min(most, len(epochs))
    return [epochs[len(epochs) - 1 - number * len(epochs) // count] for number in range(count)][::-1]


def _diagnose_phases(figures: Sequence[Mapping[str, float]]) -> list[str]:
    counts = figures[-1]
    if counts["converged"]:
        return []
    return [
        "the generator never converged: its loss still falls in the last epochs, so none of its images lie near the "
        "boundary for certain; raise epochs, or learning_rate"
    ]
