"""The `memfabric` command."""

import typer

from . import doctor as _doctor

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def memfabric() -> None:
    """A memory fabric: processes contribute memory and use it as one."""


@app.command()
def doctor() -> None:
    """Shows what this machine and this environment offer the fabric, and what to change."""
    raise typer.Exit(_doctor.report())


def main() -> None:
    """The console script."""
    app()
