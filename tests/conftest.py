"""Fixtures that several tests share."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("amiss", deadline=None)  # the time of one example tells of the machine
hypothesis.settings.load_profile("amiss")
os.environ.setdefault("AMISS_OFFLINE", "1")  # no test fetches a data set
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for every core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


#: Tests that stand alone: each is long, and shares nothing with the others of its file. The longest go first.
_ALONE = ("test_what_a_page_shows_works", "test_every_pair_of_parts_fits_and_scores")


#: A folder whose files share fits that take long.
_FITTED = "tests/model/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: (_ALONE[0] not in item.name, item.get_closest_marker("slow") is None))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker runs the common checks of a method, which share a fit, and the tests of a file, which share fixtures.

    pytest-xdist's own groups (`--dist loadgroup`) do nothing with pytest 9, as of pytest-xdist 3.8.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            checked = re.search(r"::test_common_check\[\w+-(\w+)\]$", nodeid)
            if checked:
                return f"common checks of {checked[1]}"
            if any(name in nodeid for name in _ALONE):
                return nodeid
            file = nodeid.partition("::")[0]
            return _FITTED if file.startswith(_FITTED) else file

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def torchlib_is_read_once() -> Iterator[None]:
    """Every ONNX export reads the sources of all of torch's operators anew, which takes longer than a small export."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):  # it is torch's own affair: another version may do without
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(read)))
        yield


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
