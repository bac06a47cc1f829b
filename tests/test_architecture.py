"""One floor a room, and lower rooms never import higher ones; imports stand at the top; importing amiss stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import amiss
from amiss.detectors.detector import Detector

SOURCE = Path(amiss.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
#: From the ground up: a room imports itself and those before it, for type checkers too.
ROOMS = (
    "errors", "progress", "lazy", "environment", "settings", "data", "events", "metrics", "calibration",
    "anomalies", "objectives", "networks", "training", "engines", "export", "explain", "model",
    "recipe", "fitting", "detectors", "registry", "methods",
    "report", "evaluation", "bench", "service", "visual_checks", "testing", "cli",
)  # fmt: skip
#: What is imported inside functions: libraries of extras, which the core install does not have.
EXTRAS = {
    "av", "captum", "cv2", "imagecodecs", "kornia", "lzma", "matplotlib", "onnx", "paho", "pillow_heif", "pyarrow",
    "rich", "safetensors", "scipy", "skimage", "sklearn", "tifffile",
}  # fmt: skip
LAZY = ("anomalies", "networks", "objectives", "training")


def module_of(path: Path) -> list[str]:
    """`amiss.data.clips` as its parts; of a package, that of the package."""
    parts = ["amiss", *path.relative_to(SOURCE).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Full names of what the import statements among some nodes name: modules, and names that may be modules."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else []
            full = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield full
            yield from (f"{full}.{alias.name}" for alias in node.names)


def for_type_checkers(tree: ast.AST) -> set[int]:
    """Ids of the nodes below `if TYPE_CHECKING:`."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    return {id(node) for block in blocks for part in block.body for node in ast.walk(part)}


def inside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return (node for function in functions for node in ast.walk(function))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_room_imports_a_higher_one(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    assert room in ROOMS, f"{room} has no floor; add it to ROOMS"
    for name in imported(path, ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
        _, _, rest = name.partition("amiss.") if name.startswith("amiss.") else ("", "", "")
        other = rest.partition(".")[0]
        if other in ROOMS:
            assert ROOMS.index(other) <= ROOMS.index(room), f"{room} imports {other}, which stands higher"


def test_no_file_is_imported_by_what_it_imports() -> None:
    modules = {".".join(module_of(path)): path for path in FILES}
    needs: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = path.name == "__init__.py"  # a lazy one names its own files to type checkers, and imports none
        skipped = for_type_checkers(tree) if package else set()
        found = imported(path, (node for node in ast.walk(tree) if id(node) not in skipped))
        needs[name] = {each for each in found if each in modules and each != name and not name.startswith(f"{each}.")}
    done: set[str] = set()
    while ready := {name for name, needed in needs.items() if name not in done and needed <= done}:
        done |= ready
    assert not sorted(set(needs) - done), "these files stand in a circle, or import what does"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_stand_at_the_top(path: Path) -> None:
    found = set(imported(path, inside_functions(ast.parse(path.read_text(encoding="utf-8")))))
    assert not sorted(name for name in found if name.partition(".")[0] not in EXTRAS)


def test_methods_are_all_that_is_in_their_folder() -> None:
    for path in sorted((SOURCE / "methods").glob("[!_]*.py")):
        module = importlib.import_module(f"amiss.methods.{path.stem}")
        own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
        assert [each.__name__.lower() for each in own if issubclass(each, Detector)] == [path.stem.replace("_", "")]


@pytest.mark.parametrize("room", LAZY)
def test_type_checkers_know_every_file_of_a_lazy_package(room: str) -> None:
    tree = ast.parse((SOURCE / room / "__init__.py").read_text(encoding="utf-8"))
    known = for_type_checkers(tree)
    names = {
        alias.name
        for node in ast.walk(tree)
        if id(node) in known and isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == {path.stem for path in (SOURCE / room).glob("[!_]*.py")}


def test_importing_is_light() -> None:
    heavy = ("torch", "lightning_fabric", "PIL", "onnxruntime", "matplotlib", "sklearn", "jinja2", "numpy")
    code = f"import sys, amiss; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_is_light() -> None:
    heavy = ("torch", "lightning_fabric", "PIL", "onnxruntime", "matplotlib", "sklearn", "jinja2", "numpy", "pydantic")
    code = f"import sys, amiss.cli; amiss.cli.make_app(); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_listing_the_methods_loads_no_torch() -> None:
    code = (
        "import sys; from amiss.registry import get_method, method_names; "
        "[get_method(name)().facts() for name in method_names()]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names() -> None:
    assert {"ADACL", "BCAE1", "load", "Detector", "FittedModel", "AmissError"} <= set(dir(amiss))
    for name in dir(amiss):
        assert getattr(amiss, name) is not None
    with pytest.raises(AttributeError, match="NoSuchMethod"):
        amiss.NoSuchMethod  # noqa: B018
