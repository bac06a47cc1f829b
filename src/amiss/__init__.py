"""amiss: show it images of what is normal, and it tells what is amiss, how sure it is, and where.

    import amiss
    detector = amiss.ADACL(seed=0).fit("parts/good")
    result = detector.score("parts/new")        # names, scores, p_values, is_anomaly
    detector.save("part.amiss")
    model = amiss.load("part.amiss")            # scores, decides and explains as the detector does

Names are loaded when they are first used: importing amiss takes no time and pulls in no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load": "amiss.registry",
    "open_images": "amiss.data",
    "Collection": "amiss.data",
    "Detector": "amiss.detectors.detector",
    "FittedModel": "amiss.model",
    "Scores": "amiss.model",
    "AmissError": "amiss.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name[:1].isupper():  # a method's class: ADACL lives in methods/adacl.py
        registry = importlib.import_module("amiss.registry")
        for method in registry.method_names():
            if method.replace("_", "") == name.lower() and registry.get_method(method).__name__ == name:
                return registry.get_method(method)
    raise AttributeError(f"module 'amiss' has no attribute {name!r}")


def __dir__() -> list[str]:
    registry = importlib.import_module("amiss.registry")
    methods = (registry.get_method(method).__name__ for method in registry.method_names())
    return sorted([*globals(), *_HOMES, *methods])
