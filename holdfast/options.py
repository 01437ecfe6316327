"""Options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LaneName = Annotated[
    str,
    typer.Option("--lane", envvar="LANE", help="DRIVER/PROFILE, such as kind/fast (fast node timers) or kind/default."),
]
AllowDisruption = Annotated[
    str,
    typer.Option(
        "--allow-disruption",
        metavar="CONTEXT",
        help="With --lane attached: faults may be injected into this cluster of your own, named once more; you are asked before each, and the "
        "cluster undoes it by itself.",
    ),
]
TreePath = Annotated[
    Path | None,
    typer.Option(
        "--tree",
        envvar="TREE",
        help="The GitOps tree: a Git checkout with a Flux entry. Without it: the folder with a .holdfast.toml that you are in, else the "
        "reference tree.",
    ),
]
EntryName = Annotated[
    str, typer.Option("--entry", help="The folder of the Flux entry, where the tree has more than one.")
]
FetchCharts = Annotated[
    bool,
    typer.Option(
        "--fetch",
        help="Fetch the charts that releases name from where source-controller would, and render them; without it nothing is fetched.",
    ),
]
ChartsPath = Annotated[
    Path | None,
    typer.Option(
        "--charts", metavar="FOLDER", help="Charts that are rendered: NAME/, NAME-VERSION/ or NAME-VERSION.tgz in it."
    ),
]
