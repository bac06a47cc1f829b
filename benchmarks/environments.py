"""How much an installed environment takes, and how long it takes to start; what results/default.md says of it.

    python benchmarks/environments.py NAME PYTHON --import 'from amiss import Panel' [--command amiss]

PYTHON is the interpreter of a virtual environment in which nothing else is installed. Its entry in
results/environments.json is written anew. Seconds are the processor's, the fewest of three starts after one that fills
the caches: other work on the machine does not lengthen them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

from amiss.environment import machine

FILE = Path(__file__).parent.parent / "results" / "environments.json"
_REPEATS = 3


def megabytes(folder: Path) -> int:
    """Of all files below the folder, as they lie on the disk (du -s)."""
    files = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    return round(sum(512 * file.lstat().st_blocks for file in files) / 1e6)


def seconds(*command: str | Path) -> float:
    """The fewest seconds of the processor that the command takes."""
    taken = []
    for _ in range(_REPEATS + 1):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return round(min(taken[1:]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("python", type=Path)
    parser.add_argument("--import", dest="statement", required=True, help="the statement that a script begins with")
    parser.add_argument("--command", help="the command line program, whose --help is timed")
    given = parser.parse_args()
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    known[given.name] = {
        "mb": megabytes(given.python.parent.parent),
        "import": given.statement,
        "import_seconds": seconds(given.python, "-c", given.statement),
        "help_seconds": seconds(given.python.parent / given.command, "--help") if given.command else None,
        "cpu": machine.cpu_name(),
    }
    FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
