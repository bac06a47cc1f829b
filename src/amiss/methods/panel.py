"""Several detectors that see different things, fused into one: the default."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import anomalies, networks, registry, training
from ..anomalies.kinds import LOCAL, MOTION, VARIATIONS, whole_kinds
from ..data.clips import Clips, training_clips
from ..data.inputs import stacked_inputs
from ..data.preprocessing import to_float
from ..data.splits import FEWEST_CROSSED, clusters, split_folds
from ..detectors.detector import Detector
from ..engines import Output
from ..errors import UsageError
from ..fitting.cross import with_calibration
from ..fitting.near_copies import near_copies
from ..lazy import torch
from ..metrics import Ranking
from ..recipe.context import FitContext, Trained
from ..recipe.recipe import AUTO, Recipe
from ..settings import Words, as_text, parse_settings, preset, setting, settings_before

if TYPE_CHECKING:
    from ..data.stack import Stack
    from ..networks.backbone import Features
    from ..networks.fusion import FusedScorer

#: Created anomalies of each sort by which members are weighed; few stop images are used several times. Folds, in which
#: every image is one of the normal ones, share so many.
_FEWEST_PROBES, _MOST_PROBES, _PROBES_OF_FOLDS = 200, 500, 120
#: Kinds of normal images, of so many images each on average, among so many images at most.
_KINDS, _FEWEST_OF_A_KIND, _MOST_OF_KINDS = 5, 4, 300
#: Images that the members see at once.
_TOGETHER = 32
#: How many times too fast created anomalies of motion are at most.
_FASTEST = 4
#: What members are given of the panel's own settings.
_SHARED = ("seed", "size", "aspect", "patch", "foreground", "patch_score", "patch_top", "device", "precision")
#: Members of each effort; none named are the default ones. What each buys: results/default.md.
EFFORTS: dict[str, tuple[str, ...]] = {
    "quick": ("patch_memory", "dfm"),
    "normal": (),
    "best": ("patch_memory", "dfm", "pca", "knn", "located_adacl"),
}
#: What members are told unless something else is said: a large PCA is no better, and makes large files.
_TOLD = ("pca.small=32",)
#: Outputs of the members, each `score` (n,) and perhaps `map` (n, h, w).
Outputs = list[dict[str, "torch.Tensor"]]


@dataclass(kw_only=True, eq=False)
class Panel(Detector["FusedScorer"]):
    """Fits several methods on the same images and adds up their scores, scaled and weighed on the stop part.

    A member's score counts in deviations from its mean on normal images that nobody has learnt from, times its weight:
    how well it tells such images from what stands in for anomalies. Those are anomalies created out of normal images,
    whole ones as in ADACL and local ones; and normal images of a kind that was held out, where pretrained features tell
    kinds apart and a member fits in seconds (others get nothing for kinds). Of clips, they are what moves too fast and
    what is too large. With A the mean of these AUROCs above chance, from 0 to 1, the weight is proportional to A cubed.
    No real anomaly is seen. The calibration part sees the sum alone, so the promise holds for it as for any score.

    Members see images, or clips, all of them. Those that need fewer frames than others see the last ones.

    >>> Panel(members="knn,pca").get_params()["members"]
    ('knn', 'pca')
    """

    title: ClassVar[str] = "A panel of complementary methods"
    paper: ClassVar[str] = "amiss's own"
    family: ClassVar[str] = "several together"
    good_for: ClassVar[str] = "images of which you do not know yet what will be amiss; the default of amiss fit"
    has_map: ClassVar[bool] = True
    takes_backbone: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    members: tuple[str, ...] = setting(
        ("patch_memory", "dfm", "pca", "knn"), "methods that are fitted, with commas between", kind=Words(least=1)
    )
    features: str | None = preset(Recipe, "features", AUTO)
    epochs: int = setting(0, "most epochs of every member; 0 leaves each its own", low=0)
    vary: tuple[str, ...] = setting(
        (),
        "how normal images vary, for members that take it: rotate, shift, flip, light, with commas between; or none",
        kind=Words(VARIATIONS),
    )
    told: tuple[str, ...] = setting(
        _TOLD,
        "settings of single members, METHOD.KEY=VALUE with semicolons between; or none",
        kind=Words(divider=";"),
    )

    @classmethod
    def effort_settings(cls, effort: str) -> dict[str, Any]:
        """What is set for an effort of `EFFORTS`. Raises `UsageError` for another word."""
        if effort not in EFFORTS:
            raise UsageError(f"effort is one of {', '.join(EFFORTS)}, not {effort!r}")
        return {} if not EFFORTS[effort] else {"members": EFFORTS[effort]}

    def settings_as_text(self) -> dict[str, Any]:
        """With what members are set to where earlier versions did otherwise: a model file says it of them, too."""
        members = self.member_recipes()
        return super().settings_as_text() | _also_told(
            self.told,
            {
                name: {key: member.get_params()[key] for key in settings_before(type(member))}
                for name, member in members.items()
            },
        )

    @classmethod
    def completed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = super().completed(settings)
        panel = cls(**found)
        before = {name: settings_before(registry.get_method(name)) for name in panel.members}
        return found | _also_told(panel.told, before)

    def shortest_settings(self) -> dict[str, Any]:
        told = [
            f"{name}.{key}={value}"
            for name, member in self.member_recipes().items()
            for key, value in as_text(type(member), member.shortest_settings()).items()
            if key != "epochs"  # the panel's own
        ]
        return {"epochs": 1, "told": (*self.told, *told)}

    def check(self) -> None:
        super().check()
        unknown = [name for name in self.members if name not in registry.method_names() or name == "panel"]
        if unknown:
            raise UsageError(f"members knows no method {unknown[0]!r}; see: amiss methods")
        if len(set(self.members)) < len(self.members):
            raise UsageError(f"members names a method twice: {','.join(self.members)}")
        members = self.member_recipes()
        for member in members.values():
            member.check()
        clips = {member.clip_length > 1: name for name, member in members.items()}
        if len(clips) > 1:
            raise UsageError(
                f"members see clips, as {clips[True]}, or single images, as {clips[False]}, not both; leave some out"
            )
        if True in clips and self.features not in (None, AUTO):
            raise UsageError(f"members that see clips, as {clips[True]}, see them as they are; set features=none")

    def learns_from_anomalies(self) -> bool:
        return any(member.learns_from_anomalies() for member in self.member_recipes().values())

    def fits_in_seconds(self) -> bool:
        return all(member.fits_in_seconds() for member in self.member_recipes().values())

    @property
    def clip_length(self) -> int:
        return max(member.clip_length for member in self.member_recipes().values())

    def wanted_features(self) -> frozenset[str]:
        members = self.member_recipes().values()
        return frozenset().union(*(member.wanted_features() for member in members if member.takes_backbone))

    @property
    def backbone(self) -> str | None:
        takers = any(registry.get_method(name).takes_backbone for name in self.members)
        return super().backbone if takers else None

    @property
    def gives_map(self) -> bool:
        return any(member.gives_map for member in self.member_recipes().values())

    def member_facts(self) -> list[dict[str, Any]]:
        """See `TrainingRecord.members`. Raises `NotFittedError` where nothing has been learnt."""
        return self.require_fitted().record.training.members()

    def member_recipes(self) -> dict[str, Detector[Any]]:
        """The members, unfitted, with the panel's settings and their own.

        Raises:
            UsageError: a part of `told` that is not understood.
        """
        told: dict[str, list[str]] = {name: [] for name in self.members}
        for pair in self.told:
            name, dot, rest = pair.partition(".")
            if pair in _TOLD and name not in told:
                continue  # nobody said so
            if not dot or name not in told:
                known = ",".join(self.members)
                raise UsageError(f"told={pair} is not understood; write METHOD.KEY=VALUE, of: {known}")
            told[name].append(rest)
        members = {}
        for name, pairs in told.items():
            kind = registry.get_method(name)
            shared = {each: getattr(self, each) for each in _SHARED} | kind.varied_settings(self.vary)
            shared |= {"features": self.features} if kind.takes_backbone else {}  # the others see the image itself
            shared |= {"epochs": self.epochs} if self.epochs else {}
            members[name] = kind(**shared | parse_settings(kind, pairs))
        return members

    # -- the scorer ----------------------------------------------------------------------------------------------------

    def build(self, shape: tuple[int, int, int], backbone: Features | None = None) -> FusedScorer:
        heads = {
            name: member.head(shape, backbone if member.takes_backbone else None)
            for name, member in self.member_recipes().items()
        }
        return self._fused(heads, backbone)

    def _fused(self, heads: Mapping[str, torch.nn.Module], backbone: Features | None) -> FusedScorer:
        """Members that take no backbone see the image beside its features; those of shorter clips, the last frames."""
        members, longest = self.member_recipes(), self.clip_length

        def seeing(head: torch.nn.Module, member: Detector[Any]) -> torch.nn.Module:
            if member.clip_length < longest:
                return networks.fusion.LastFrames(head, member.clip_length)
            return head if backbone is None or member.takes_backbone else networks.fusion.OnImage(head)

        return networks.fusion.FusedScorer({name: seeing(head, members[name]) for name, head in heads.items()})

    def built_for(
        self, shape: tuple[int, int, int], backbone: Features | None
    ) -> tuple[tuple[int, int, int], Features | None]:
        return shape, backbone  # members cut patches themselves

    def over_patches(self, inner: torch.nn.Module, shape: tuple[int, int, int]) -> torch.nn.Module:
        return inner  # as above

    # -- training ------------------------------------------------------------------------------------------------------

    def train(self, context: FitContext) -> Trained:
        fused, trained = self._train_members(context)
        start = time.perf_counter()
        stop = context.splits.stop
        images = stacked_inputs(context.stack, stop, self.clip_length)
        normal = _outputs(fused, images, context.backbone)
        fused.fit_scale(normal)
        count = max(_FEWEST_PROBES, min(len(images), _MOST_PROBES))
        if isinstance(images, Clips):
            probes = self._moving_probes(context.stack, stop, count)
        else:
            probes = self._probes(images, self.seed, count)
        created = [_scores(_outputs(fused, each, context.backbone)) for each in probes.values()]
        skills = [_skill(normal, each) for each in created]
        if context.backbone is not None:
            some = context.only(_spread(context.splits.train, _MOST_OF_KINDS))
            skills.append(self._skill_of_kinds(some, self._held_out(some, self._parts(some), "part")))
        figures = self._weigh(fused, normal, skills)
        return _with_stage(trained, "fuse", time.perf_counter() - start, figures)

    def train_across(self, context: FitContext) -> Trained:
        start = time.perf_counter()
        normal: list[Outputs] = []
        created: list[dict[str, Outputs]] = []
        for number, held in enumerate(context.folds):
            fold = f"fold {number + 1} of {len(context.folds)}"
            fused, _ = self._train_members(context.without(held).within(f"fold-{number}", fold))
            images = context.stack.images[held]
            seen = None if context.stored is None else context.stored.maps[held]
            normal.append(_outputs(fused, images, context.backbone, seen))
            probes = self._probes(images, self.seed + number, -(-_PROBES_OF_FOLDS // len(context.folds)))
            created.append({sort: _scores(_outputs(fused, each, context.backbone)) for sort, each in probes.items()})
        seconds = time.perf_counter() - start
        fused, trained = self._train_members(context)
        every = _joined(normal)
        fused.fit_scale(every)
        skills = [_skill(every, each) for each in _by_sort(created)]
        if context.backbone is not None:
            order = np.argsort(np.concatenate(context.folds))
            skills.append(
                self._skill_of_kinds(
                    context,
                    {name: output["score"].numpy()[order] for name, output in zip(fused.members, every, strict=True)},
                )
            )
        figures = self._weigh(fused, every, skills)
        found = {name: values.numpy() for name, values in fused.fuse(every, context.preprocessing.shape[1:]).items()}
        trained = _with_stage(trained, "fuse", 0.0, figures)
        return with_calibration(trained, context, Output(found["score"], found.get("map")), seconds)

    def _skill_of_kinds(self, context: FitContext, normal: Mapping[str, NDArray[np.float32]]) -> list[float]:
        """How each member tells kinds of the images that it has not seen from kinds that it has; 0 where its fit takes
        long.

        Kinds are clusters of the features' means over all places. They tell a member that knows what an image is of.

        Args:
            context: with stored features of all its images.
            normal: by member, scores (n,) of the images by fits that had seen others of their kind.
        """
        assert context.stored is not None
        means = context.stored.means
        directions = means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
        count = min(_KINDS, len(means) // _FEWEST_OF_A_KIND, len(np.unique(directions, axis=0)))
        if count < 2 or not normal:
            return [0.0] * len(self.members)
        from sklearn.cluster import KMeans

        kinds = KMeans(count, n_init=4, random_state=self.seed).fit_predict(directions)
        held_out = self._held_out(context, [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)], "kind")
        return [_above_chance(normal[name], held_out[name]) if name in held_out else 0.0 for name in self.members]

    def _parts(self, context: FitContext) -> list[NDArray[np.int64]]:
        """All images of the context in random parts that divide nothing that belongs together; none where all does."""
        assert context.stored is not None
        stack = context.stack
        groups = stack.groups or [item.group for item in stack.items]
        if len(clusters(groups, stack.digests)) < 2 or len(stack.digests) < FEWEST_CROSSED:
            return []
        return split_folds(groups, stack.digests, self.seed, near_copies(context.stored.means).tolist())

    def _held_out(
        self, context: FitContext, parts: Sequence[NDArray[np.int64]], title: str
    ) -> dict[str, NDArray[np.float32]]:
        """By each member that fits in seconds, the scores (n,) of all images, each part's by a fit on the others."""
        assert context.stored is not None
        fast = [name for name, member in self.member_recipes().items() if member.fits_in_seconds()]
        if not fast or not parts:
            return {}
        scores = {name: np.empty(len(context.stack.images), dtype=np.float32) for name in fast}
        for number, held in enumerate(parts):
            some = context.without(held).within(f"{title}-{number}", f"{title} {number + 1} of {len(parts)}")
            fused, _ = self._train_members(some, fast)
            outputs = _outputs(fused, context.stack.images[held], context.backbone, context.stored.maps[held])
            for name, output in zip(fast, outputs, strict=True):
                scores[name][held] = output["score"].numpy()
        return scores

    def _train_members(self, context: FitContext, names: Sequence[str] | None = None) -> tuple[FusedScorer, Trained]:
        """The members, or those of some names, trained one after the other, and not yet scaled and weighed."""
        heads: dict[str, torch.nn.Module] = {}
        stages: list[training.record.StageRecord] = []
        trained: list[Trained] = []
        for name, member in self.member_recipes().items():
            if names is not None and name not in names:
                continue
            found = member.train(_for_member(member, context.within(name)))
            trained.append(found)
            heads[name] = found.head
            stages += [stage.model_copy(update={"stage": f"{name}: {stage.stage}"}) for stage in found.record.stages]
        fused = self._fused(heads, context.backbone).eval()
        record = training.record.TrainingRecord(
            device=trained[0].record.device,
            precision=", ".join(sorted({each.record.precision for each in trained})),
            stages=stages,
        )
        named = zip(heads, trained, strict=True)
        told: dict[str, list[str]] = {}
        for name, each in named:
            for sentence in each.warnings:
                told.setdefault(sentence, []).append(name)
        warnings = [f"{', '.join(names)}: {sentence}" for sentence, names in told.items()]
        return fused, Trained(fused, record, warnings)

    def _weigh(self, fused: FusedScorer, normal: Outputs, skills: Sequence[Sequence[float]]) -> dict[str, float]:
        """Weigh the members by their skills with all that stands in for anomalies; their weights, and shares in how
        much the sum varies for normal images."""
        fused.set_weights(torch.tensor(skills).mean(dim=0) ** 3)
        scaled = fused.scaled(normal, "score").double()
        total = scaled.sum(dim=0)
        together = ((scaled - scaled.mean(dim=1, keepdim=True)) * (total - total.mean())).mean(dim=1)
        shares = together / together.sum().clamp(min=1e-12)
        weights = {
            f"weight of {name}": float(each)
            for name, each in zip(fused.members, fused.get_buffer("weight"), strict=True)
        }
        shared = {f"share of {name}": float(each) for name, each in zip(fused.members, shares, strict=True)}
        return {name: round(value, 3) for name, value in (weights | shared).items()}

    def _probes(self, images: NDArray[Any], seed: int, count: int) -> dict[str, NDArray[np.float32]]:
        """So many created anomalies by sort: of the whole image (as in ADACL), and local ones, where any shows."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.arange(count) % len(images)
        repeated = torch.from_numpy(to_float(images[chosen.numpy()]))
        whole = anomalies.created.create_anomalies(repeated, generator, whole_kinds(self.vary))
        local, changed = anomalies.local.LocalAnomalies(LOCAL, ("hard", "soft")).create(repeated, generator)
        visible = changed.flatten(1).any(dim=1)
        return {name: part.numpy() for name, part in (("whole", whole), ("local", local[visible])) if len(part)}

    def _moving_probes(self, stack: Stack, stop: NDArray[np.int64], count: int) -> dict[str, NDArray[np.float32]]:
        """So many clips (k, t, c, h, w) with created anomalies by sort, of those in which any shows."""
        assert stack.firsts is not None  # frames of videos always have them
        generator = torch.Generator().manual_seed(self.seed)
        length = self.clip_length
        needed = anomalies.motion.MotionAnomalies.length(length, _FASTEST)
        clips = training_clips(stack.images, stack.firsts, stop, needed)
        chosen = np.linspace(0, len(clips) - 1, count).round().astype(int)
        probes: dict[str, list[torch.Tensor]] = {sort: [] for sort in MOTION}
        for begin in range(0, count, _TOGETHER):
            part = torch.from_numpy(to_float(clips[chosen[begin : begin + _TOGETHER]]))
            for sort, found in probes.items():
                created, changed = anomalies.motion.MotionAnomalies([sort], length, _FASTEST).create(part, generator)
                found.append(created[changed.flatten(1).any(dim=1)])
        joined = {sort: torch.cat(found).numpy() for sort, found in probes.items()}
        return {sort: found for sort, found in joined.items() if len(found)}


def _also_told(told: tuple[str, ...], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The setting `told` as text, with `settings` of members that it does not name yet."""
    named = {pair.partition("=")[0] for pair in told}
    added = [
        f"{name}.{key}={value}"
        for name, given in settings.items()
        for key, value in as_text(registry.get_method(name), given).items()
        if f"{name}.{key}" not in named
    ]
    return {"told": Words(divider=";").text((*told, *added))}


def _with_stage(trained: Trained, name: str, seconds: float, figures: dict[str, float]) -> Trained:
    stage = training.record.StageRecord.of_computation(name, seconds, figures)
    record = trained.record.model_copy(update={"stages": [*trained.record.stages, stage]})
    return dataclasses.replace(trained, record=record)


def _by_sort(created: Sequence[Mapping[str, Outputs]]) -> list[Outputs]:
    """Each sort of created anomalies, of the folds in which any shows."""
    sorts = dict.fromkeys(sort for fold in created for sort in fold)
    return [_joined([fold[sort] for fold in created if sort in fold]) for sort in sorts]


def _scores(outputs: Outputs) -> Outputs:
    """Without the maps, which take much memory."""
    return [{"score": output["score"]} for output in outputs]


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several folds as one."""
    return [
        {what: torch.cat([part[number][what] for part in parts]) for what in parts[0][number]}
        for number in range(len(parts[0]))
    ]


def _for_member(member: Detector[Any], context: FitContext) -> FitContext:
    """Labelled anomalies are for those who can learn from them, and the backbone for those who take it."""
    if not member.takes_backbone:
        context = dataclasses.replace(context, backbone=None, stored=None)
    if member.learns_from_anomalies():
        return context
    return dataclasses.replace(context, labelled=dataclasses.replace(context.labelled, anomalies=None))


def _outputs(
    fused: FusedScorer,
    images: NDArray[Any] | Clips,
    backbone: Features | None,
    features: NDArray[np.float32] | None = None,
) -> Outputs:
    """What each member makes of prepared images (n, c, h, w), whose `features` may be known, or of clips."""
    parts = []
    with torch.no_grad():
        for begin in range(0, len(images), _TOGETHER):
            some = slice(begin, begin + _TOGETHER)
            part = torch.from_numpy(to_float(images[some]))
            if features is not None:
                given = torch.from_numpy(features[some])
            else:
                given = part if backbone is None else backbone(part)
            parts.append(fused.member_outputs(given, part))
    return _joined(parts)


def _skill(normal: Sequence[dict[str, torch.Tensor]], created: Sequence[dict[str, torch.Tensor]]) -> list[float]:
    """How far each member's AUROC of created anomalies against normal images is above chance, from 0 to 1."""
    return [
        _above_chance(good["score"].numpy(), bad["score"].numpy()) for good, bad in zip(normal, created, strict=True)
    ]


def _above_chance(normal: NDArray[np.float32], anomalous: NDArray[np.float32]) -> float:
    """How far the AUROC of scores of anomalies against those of normal images is above chance, from 0 to 1."""
    scores = np.concatenate([normal, anomalous])
    return max(0.0, 2 * float(Ranking(scores, np.arange(len(scores)) >= len(normal)).auroc()) - 1)


def _spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """All of them, or so many, evenly."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]
