"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
Base = Annotated[
    Path | None,
    typer.Option("--path-base", metavar="FOLDER", help="The worker's folder; default: PATH_BASE."),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as the API and 'jobs' show it.")]
