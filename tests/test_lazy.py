"""What loads when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from amiss import anomalies, lazy, networks


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_file_loads_with_its_name_and_not_with_its_package() -> None:
    code = """
import sys
from amiss import networks
before = "amiss.networks.gates" in sys.modules
networks.gates
print(before, "amiss.networks.gates" in sys.modules, "amiss.networks.wgan" in sys.modules)
"""
    assert printed(code) == "False True False"


def test_torch_loads_with_its_first_attribute() -> None:
    code = """
import sys
from amiss.lazy import torch
before = "torch" in sys.modules
torch.nn
print(before, "torch" in sys.modules)
"""
    assert printed(code) == "False True"


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"amiss\.networks.*no_such_file"):
        networks.no_such_file  # noqa: B018
    with pytest.raises(AttributeError, match="__wrapped__"):
        lazy.torch.__wrapped__  # noqa: B018
    assert not hasattr(lazy.torch, "no_such_name")


def test_a_package_tells_its_files() -> None:
    assert {"created", "kinds", "local", "motion", "variation"} == set(dir(anomalies))
