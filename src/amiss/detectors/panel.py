"""Several detectors that see different things, fused into one: the default."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.preprocessing import Preprocessing, to_float
from ..data.splits import Splits
from ..data.stack import Stack
from ..errors import UsageError
from ..files import make_folder
from ..progress import Progress
from . import get_method, method_names
from .adacl import ADACL
from .base import Detector
from .labelled import Labelled
from .method import Trained
from .settings import parse_settings, setting, settings_of

if TYPE_CHECKING:
    from torch import Tensor, nn


#: Created anomalies of each sort by which members are weighed; few stop images are used several times.
_FEWEST_PROBES, _MOST_PROBES = 200, 500
#: What members are told of the panel's own settings.
_SHARED = ("seed", "size", "aspect", "features", "patch", "patch_score", "patch_top", "device", "precision")


@dataclass(kw_only=True, eq=False)
class Panel(Detector):
    """Fits several methods on the same images and adds up their scores, scaled and weighed on the stop part.

    A member's score counts in deviations from its mean on normal images that nobody has learnt from, times its weight:
    how well it tells such images from anomalies created out of them, whole ones as in ADACL and local ones. With A the
    mean of both AUROCs above chance, from 0 to 1, the weight is proportional to A squared. No real anomaly is seen. The
    calibration part sees the sum alone, so the promise holds for it as for any other score.

    >>> Panel(members="knn,pca").get_params()["members"]
    'knn,pca'
    """

    title: ClassVar[str] = "A panel of complementary methods"
    paper: ClassVar[str] = "amiss's own"
    family: ClassVar[str] = "several together"
    good_for: ClassVar[str] = "images of which you do not know yet what will be amiss; the default of amiss fit"
    has_map: ClassVar[bool] = True

    members: str = setting("located_adacl,adacl,pca,knn", "methods that are fitted, with commas between")
    epochs: int = setting(0, "most epochs of every member; 0 leaves each its own", low=0)
    vary: str = setting(
        "none",
        "how normal images vary, for members that take it: rotate, shift, flip, light, with commas between; or none",
    )
    told: str = setting("none", "settings of single members, METHOD.KEY=VALUE with semicolons between; or none")

    def check(self) -> None:
        super().check()
        names = self._names()
        unknown = [name for name in names if name not in method_names() or name == "panel"]
        if unknown:
            raise UsageError(f"members knows no method {unknown[0]!r}; see: amiss methods")
        if len(set(names)) < len(names):
            raise UsageError(f"members names a method twice: {self.members}")
        for member in self._members().values():
            member.check()

    def learns_from_anomalies(self) -> bool:
        return any(member.learns_from_anomalies() for member in self._members().values())

    @property
    def gives_map(self) -> bool:
        return any(member.gives_map for member in self._members().values())

    def member_facts(self) -> list[dict[str, Any]]:
        """Of each member its `name`, the `seconds` its training took, its `weight`, and its `share` in the fused score.

        Raises `NotFittedError` where nothing has been learnt.
        """
        self.require_fitted()
        *stages, fused = self.training_["stages"]
        return [
            {
                "name": name,
                "seconds": round(
                    sum(stage["seconds"] for stage in stages if stage["stage"].startswith(f"{name}: ")), 1
                ),
                "weight": fused["figures"][0][f"weight of {name}"],
                "share": fused["figures"][0][f"share of {name}"],
            }
            for name in self._names()
        ]

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.panel import PanelScorer

        scorers = {}
        for name, member in self._members().items():
            member.features_ = self.features_
            scorers[name] = member._over_patches(member.finish(member.build(member._patch_shape(shape))), shape)
        return PanelScorer(scorers)

    def _patch_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape  # members cut patches themselves

    def _over_patches(self, inner: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
        return inner

    def _train(
        self,
        preprocessing: Preprocessing,
        stack: Stack,
        splits: Splits,
        labelled: Labelled,
        work_dir: Path | None,
        resume: bool,
        progress: Progress,
    ) -> Trained:
        from ..networks.panel import PanelScorer

        scorers: dict[str, nn.Module] = {}
        records: list[dict[str, Any]] = []
        found: list[str] = []
        for name, member in self._members().items():
            member.backbone_graph_, member.features_ = self.backbone_graph_, self.features_
            known = labelled if member.learns_from_anomalies() else dataclasses.replace(labelled, anomalies=None)
            folder = None if work_dir is None else work_dir / name
            if folder is not None:
                make_folder(folder)
            trained = member._train(preprocessing, stack, splits, known, folder, resume, _named(progress, name))
            scorer: Any = trained.scorer
            scorers[name] = scorer if self.features_ is None else scorer.inner
            records.append(trained.record | {"member": name})
            found += [f"{name}: {sentence}" for sentence in trained.warnings]
        panel = PanelScorer(scorers).eval()
        start = time.perf_counter()
        figures = self._fuse(panel, stack.images[splits.stop])
        stages = [
            stage | {"stage": f"{record['member']}: {stage['stage']}"}
            for record in records
            for stage in record["stages"]
        ]
        fusing = {
            "stage": "fuse",
            "epochs": 1,
            "chosen_epoch": 1,
            "chosen_by": "no choice",
            "better": "min",
            "steps_per_epoch": 1,
            "seconds": round(time.perf_counter() - start, 1),
            "figures": [{"epoch": 1, **{name: round(value, 3) for name, value in figures.items()}}],
        }
        record = {
            "device": records[0]["device"],
            "precision": ", ".join(sorted({record["precision"] for record in records})),
            "stages": [*stages, fusing],
        }
        return Trained(self._whole(panel, preprocessing.shape), record, found)

    def _fuse(self, panel: Any, images: NDArray[Any]) -> dict[str, float]:
        """Scale and weigh the members on stop images; their weights, and shares in how much the sum varies there."""
        import torch

        normal = self._answers(panel, images)
        panel.settle(normal)
        found = torch.tensor([_told_apart(normal, self._answers(panel, probes)) for probes in self._probes(images)])
        panel.weigh(found.mean(dim=0).square())
        scaled = panel.scaled(normal, "score").double()
        fused = scaled.sum(dim=0)
        together = ((scaled - scaled.mean(dim=1, keepdim=True)) * (fused - fused.mean())).mean(dim=1)
        shares = together / together.sum().clamp(min=1e-12)
        names = list(panel.members)
        weighed = {f"weight of {name}": float(each) for name, each in zip(names, panel.weight, strict=True)}
        return weighed | {f"share of {name}": float(each) for name, each in zip(names, shares, strict=True)}

    def _probes(self, images: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Created anomalies of both sorts: of the whole image (as in ADACL), and local ones."""
        import torch

        from ..anomalies.created import create_anomalies
        from ..anomalies.local import KINDS, LocalAnomalies

        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.arange(max(_FEWEST_PROBES, min(len(images), _MOST_PROBES))) % len(images)
        repeated = torch.from_numpy(to_float(images[chosen.numpy()]))
        whole = create_anomalies(repeated, generator, self._whole_kinds())
        local, changed = LocalAnomalies(KINDS, ["hard", "soft"]).create(repeated, generator)
        visible = changed.flatten(1).any(dim=1)
        return [part.numpy() for part in (whole, local[visible]) if len(part)]

    def _answers(self, panel: Any, images: NDArray[Any]) -> list[dict[str, Tensor]]:
        import torch

        seen = to_float(images) if self.features_ is None else self._seen(images)
        with torch.no_grad():
            parts = [panel.answers(torch.from_numpy(seen[begin : begin + 32])) for begin in range(0, len(seen), 32)]
        return [
            {what: torch.cat([part[number][what] for part in parts]) for what in parts[0][number]}
            for number in range(len(panel.members))
        ]

    def _whole_kinds(self) -> list[str]:
        """Kinds of ADACL's created anomalies; where images lie any way round, a turned one is none."""
        turned = ["rotation", "mix_up"]
        kinds = ADACL().anomalies.split(",")
        return [kind for kind in kinds if "rotate" not in self.vary or kind not in turned]

    def _names(self) -> list[str]:
        return [name.strip() for name in self.members.split(",")]

    def _members(self) -> dict[str, Detector]:
        """The members, unfitted, with the panel's settings and what they are told beside."""
        told: dict[str, list[str]] = {name: [] for name in self._names()}
        for pair in [] if self.told == "none" else self.told.split(";"):
            name, dot, rest = pair.strip().partition(".")
            if not dot or name not in told:
                raise UsageError(f"told={pair.strip()} is not understood; write METHOD.KEY=VALUE, of: {self.members}")
            told[name].append(rest)
        members = {}
        for name, pairs in told.items():
            kind = get_method(name)
            shared = {each: getattr(self, each) for each in _SHARED}
            shared |= {"epochs": self.epochs} if self.epochs else {}
            shared |= {"vary": self.vary} if "vary" in settings_of(kind) else {}
            shared |= {"anomalies": ",".join(self._whole_kinds())} if name == "adacl" else {}
            shared |= parse_settings(kind, pairs)
            members[name] = kind(**shared)
        return members


def _told_apart(normal: list[dict[str, Tensor]], created: list[dict[str, Tensor]]) -> list[float]:
    """Of each member how far its AUROC of created anomalies against normal images is above chance, from 0 to 1."""
    from ..metrics import Ranking

    found = []
    for good, bad in zip(normal, created, strict=True):
        scores = np.concatenate([good["score"].numpy(), bad["score"].numpy()])
        labels = np.arange(len(scores)) >= len(good["score"])
        found.append(max(0.0, 2 * float(Ranking(scores, labels).auroc()) - 1))
    return found


def _named(progress: Progress, name: str) -> Progress:
    def named(task: str, done: int, total: int, detail: str) -> None:
        progress(f"{name}: {task}", done, total, detail)

    return named
