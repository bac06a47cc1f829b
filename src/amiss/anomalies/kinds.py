"""The names of created anomalies, of their edges, of how normal images vary, and of transformations that a network can
learn to tell apart; without torch, so that settings can list them."""

from __future__ import annotations

#: Anomalies of the whole image, made by `created`.
WHOLE = ("cut_paste", "puzzle", "rotation", "mix_up")
#: Local anomalies, made by `local`: what fills the changed region.
LOCAL = ("paste", "scar", "light", "texture")
#: How a local anomaly meets the image around it.
EDGES = ("hard", "soft", "poisson")
#: Anomalies of motion, made by `motion`: the same region seen at a higher speed, or something moving, enlarged.
MOTION = ("speed", "size")
#: How normal images may vary, made by `variation`.
VARIATIONS = ("rotate", "shift", "flip", "light")
#: Transformations of the whole image that a classifier can learn to tell apart, made by
#: `networks.transformation_classifier`.
TRANSFORMATIONS = ("rotate", "shift", "flip", "shear")


def whole_kinds(vary: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Kinds of anomalies of the whole image; where images lie any way round, a turned one is none.

    >>> whole_kinds(("rotate",))
    ('cut_paste', 'puzzle')
    """
    turned = ("rotation", "mix_up")
    return tuple(kind for kind in WHOLE if "rotate" not in vary or kind not in turned)


def telling_transformations(vary: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Transformations by which normal images can be told apart; those by which they vary already tell nothing.

    >>> telling_transformations(("flip",)), telling_transformations(("rotate", "shift"))
    (('rotate', 'shift'), ('shear',))
    """
    return tuple(kind for kind in ("rotate", "shift") if kind not in vary) or ("shear",)
