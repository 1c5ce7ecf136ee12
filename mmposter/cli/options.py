"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder that `mmposter prepare` wrote.", show_default=False)]
Branches = Annotated[
    str | None,
    typer.Option(
        "--branches", "-b", help="Comma-separated: cnn, style, yolo, ocr. Default: those of the configuration."
    ),
]
ConfigSource = Annotated[
    str | None, typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe's name or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Override one key, such as cnn.backbone=resnet50; repeatable."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Root = Annotated[
    Path | None, typer.Option(help="Where the posters lie now, if they were moved since `mmposter prepare`.")
]


def prepare_libraries() -> None:
    """Before any library loads: no chatter that says nothing to a user of ours, and no threads that spin."""
    import logging
    import os
    import warnings

    # Threads that wait should sleep: where other work runs, OpenMP's spinning makes reading several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_TQDM", "1")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)


def go_offline(offline: bool) -> None:
    """Tell the libraries below us to stay off the network, before any of them is imported."""
    import os

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"
        os.environ["YOLO_OFFLINE"] = "true"
