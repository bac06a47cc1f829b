"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

os.environ.setdefault("AMISS_OFFLINE", "1")  # no test fetches a data set
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for every core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def require_data() -> Callable[[str], None]:
    """Skip a test whose data set is not on this machine, or fail it where the set has been promised.

    `AMISS_REQUIRED_DATA` names, with commas, the sets that must be here.
    """

    def require(name: str) -> None:
        from amiss.data import known_sets

        if known_sets()[name].locate() is not None:
            return
        reason = f"the data set {name} is not on this machine; see `amiss data list`"
        if name in os.environ.get("AMISS_REQUIRED_DATA", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)

    return require
