"""The command line: `farm NOUN VERB`, one file per noun.

A command's file is imported when it is called: help and `farm status` answer before a person notices.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from farm import __version__
from farm.cli.app import App, default_home
from farm.cli.command import Lazy, LazyGroup, format_option

COMMANDS = {
    "Set up": {
        "init": Lazy("farm.cli.init", "Write a commented farm.toml."),
        "add": Lazy("farm.cli.add", "Make a source from a folder, vault, mailbox or repository."),
        "connectors": Lazy("farm.cli.connectors", "List the kinds of system that can be read."),
        "secrets": Lazy("farm.cli.secrets", "Set, list, test, remove secrets."),
        "completion": Lazy("farm.cli.completion", "Print a completion script for your shell."),
    },
    "Work": {
        "start": Lazy("farm.cli.start", "Start the farm, and stay."),
        "stop": Lazy("farm.cli.stop", "Stop the running farm."),
        "reload": Lazy("farm.cli.reload", "Have the running farm read farm.toml again."),
        "run": Lazy("farm.cli.run", "Read a source now."),
        "sources": Lazy("farm.cli.sources", "List, check, preview, pause, resume, remove sources."),
        "profile": Lazy("farm.cli.profile", "Show and measure what a source's jobs need."),
    },
    "Look": {
        "status": Lazy("farm.cli.status", "Show what the farm is doing."),
        "runs": Lazy("farm.cli.runs", "List the runs."),
        "jobs": Lazy("farm.cli.jobs", "List, show, explain, cancel, retry, pause, resume jobs."),
        "quarantine": Lazy("farm.cli.quarantine", "List, show, retry, discard jobs that wait for you."),
        "search": Lazy("farm.cli.search", "Search everything that was read."),
        "documents": Lazy("farm.cli.documents", "List and show what was read."),
    },
    "Keep": {
        "doctor": Lazy("farm.cli.doctor", "Check that nothing is broken."),
        "backup": Lazy("farm.cli.backup", "Copy ledger, store and settings, while the farm works."),
        "restore": Lazy("farm.cli.restore", "Put a backup in place."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=COMMANDS,
    examples=[
        "farm add ~/Documents",
        "farm start",
        "farm search '\"annual report\"'",
        "farm status --format json",
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), envvar="FARM_HOME", help="The state folder."
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings; farm.toml in the state folder.",
)
@format_option
@click.version_option(__version__, prog_name="farm", message="%(prog)s %(version)s")
@click.pass_context
def farm(ctx: click.Context, home: Path | None, config: Path | None) -> None:
    """A worker farm: pulls your sources in, makes them searchable, loses nothing, hangs on nothing.

    The state folder is --home, else $FARM_HOME, else $XDG_STATE_HOME/farm, else ~/.local/state/farm.
    """
    home = (home or default_home()).expanduser()
    app = ctx.ensure_object(App)
    app.home, app.config = home, (config.expanduser() if config else home / "farm.toml")


def main(args: Sequence[str] | None = None) -> None:
    """The script `farm`. Exits: 0 fine, 1 error in one sentence, 2 usage, 3 quarantined jobs."""
    app = App()
    try:
        code = farm.main(args=args, prog_name="farm", standalone_mode=False, obj=app)
        sys.stdout.flush()
    except click.ClickException as error:
        if _wants_json(app, args):
            from farm.cli.faults import report_json

            code = report_json(error, app.home)
        else:
            error.show()
            code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:
        # The reader had enough, as `head` does: quiet, with the exit code that click has for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:  # noqa: BLE001  # the last edge: a person reads a sentence, the log has the rest
        from farm.cli.faults import report, report_json

        code = (report_json if _wants_json(app, args) else report)(error, app.home)
    sys.exit(code if isinstance(code, int) else 0)


def _wants_json(app: App, args: Sequence[str] | None) -> bool:
    """Also where the command line could not be understood as a whole."""
    words = sys.argv[1:] if args is None else list(args)
    return app.json or "--format=json" in words or ("--format", "json") in itertools.pairwise(words)
