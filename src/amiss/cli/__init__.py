"""The command line: one file a verb, found by its file; what verbs import at their top loads when they first use it."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import pkgutil
import sys
import warnings

import typer

from .. import __version__, lazy
from ..errors import AmissError, UsageError
from .termination import TERMINATED, Termination

__getattr__, __dir__ = lazy.attach(__name__)

_NOT_VERBS = ("console", "termination")
_INTERRUPTED = 130
_EPILOG = """\b
Start with:
  amiss demo
  amiss fit parts/good --out part.amiss
  amiss score part.amiss parts/new
"""


def make_app() -> typer.Typer:
    """The command line with every verb of this folder."""
    app = typer.Typer(
        name="amiss",
        help="Learn what is normal from images, find what is amiss, with a decision to trust.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def _version(version: bool = typer.Option(False, "--version", help="Show the version and leave.")) -> None:
        if version:
            print(__version__)
            raise typer.Exit

    verbs = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
             if found.name not in _NOT_VERBS]  # fmt: skip
    for verb in sorted(verbs, key=lambda module: module.ORDER):
        verb.register(app)
    return app


def quiet_libraries() -> None:
    """Say nothing of what decoders think of damaged files: amiss says in one sentence which it cannot read, and why."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def main() -> None:
    """Entry point of the `amiss` command: exits 0, 1 on failure, 2 on bad usage, 143 where SIGTERM ended it."""
    with Termination() as termination:
        try:
            _main()
        except BaseException as error:
            if not (termination.asked or (isinstance(error, SystemExit) and error.code == TERMINATED)):
                raise
            # Whatever the interruption has become on its way here: work has been put down, and what Python still does
            # at its end may take longer than there is time.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            os._exit(TERMINATED)


def _main() -> None:
    quiet_libraries()
    try:
        make_app()(prog_name="amiss")
    except AmissError as error:
        print(f"amiss: {error}", file=sys.stderr)
        if "--json" in sys.argv and not error.told:
            print(json.dumps({"error": str(error)}))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        print(f"amiss: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as left:
        if left.code == _INTERRUPTED:  # typer's own answer to Ctrl-C
            print("amiss: stopped", file=sys.stderr)
            sys.exit(1)
        raise
    except KeyboardInterrupt:
        print("amiss: stopped", file=sys.stderr)
        sys.exit(1)
