"""Drift over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from .answers import OF_MODEL, found
from .drifting import DriftFacts, DriftWatch
from .keeping import Keeping
from .models import ServedModels


def drift_router(models: ServedModels, watch: DriftWatch, keeping: Keeping) -> APIRouter:
    """The routes below `/models/NAME/drift`."""
    router = APIRouter(prefix="/models", tags=["Drift"])

    @router.get("/{name}/drift", responses=OF_MODEL)
    async def drift(name: str) -> DriftFacts:
        """Have the pictures changed? May be asked however often: looking does not make false alarms more likely."""
        return await keeping.ask(watch.facts, found(models, name))

    @router.post("/{name}/drift/begin-anew", responses=OF_MODEL)
    async def begin_anew(name: str) -> DriftFacts:
        """Take the pictures as they are now for unchanged, after a new lamp, say."""
        served = found(models, name)
        await keeping.ask(watch.begin_anew, served)
        return await keeping.ask(watch.facts, served)

    return router
