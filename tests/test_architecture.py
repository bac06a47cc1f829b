"""Lower rooms never import higher ones, and importing amiss stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import amiss

SOURCE = Path(amiss.__file__).parent
#: From the ground up; a room may import its own floor and those below.
FLOORS = (
    ("errors", "progress", "machine", "files", "manifest", "maps"),
    ("versions", "calibration", "timeline", "metrics", "data", "networks", "objectives", "anomalies"),
    ("training",),
    ("engines", "export"),
    ("detectors", "scoring", "model_file", "explain"),  # a detector saves and explains itself
    ("results", "report"),
    ("evaluation", "teaching", "visual_checks", "demo", "testing", "watching"),
    ("cli",),
)
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}


def imported_rooms(path: Path) -> set[str]:
    """First names below `amiss` that a file imports anywhere, except for type checking only."""
    rooms = set()
    package = path.relative_to(SOURCE).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only or not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = package[: len(package) - (node.level - 1)]
            full = [*base, *(node.module.split(".") if node.module else [])]
            rooms.update([full[0]] if full else [alias.name for alias in node.names])
        elif node.module and node.module.startswith("amiss."):
            rooms.add(node.module.split(".")[1])
    return rooms


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_room_imports_a_higher_one(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    assert room in LEVEL, f"{room} has no floor; add it to FLOORS"
    for other in imported_rooms(path):
        if other in LEVEL and other != room:
            assert LEVEL[other] <= LEVEL[room], f"{room} imports {other}, which stands higher"


def test_importing_is_light() -> None:
    heavy = ("torch", "pytorch_lightning", "PIL", "onnxruntime", "matplotlib", "sklearn", "jinja2", "numpy")
    code = f"import sys, amiss; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    assert {"ADACL", "BCAE1", "load", "Detector", "AmissError"} <= set(dir(amiss))
    for name in dir(amiss):
        assert getattr(amiss, name) is not None
    with pytest.raises(AttributeError, match="NoSuchMethod"):
        amiss.NoSuchMethod  # noqa: B018
