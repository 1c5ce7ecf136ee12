"""`mmposter weights`."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.progress import make_console


def weights_command(json_output: opt.Json = False) -> None:
    """List every pretrained file: what uses it, where it is or how to get it, size and licence. Asks no network.

    Example:

      mmposter weights
    """
    from mmposter.pretrained.inventory import list_weights

    known = list_weights()
    if json_output:
        answer_json([entry.to_json() for entry in known])
        return
    table = Table("file", "used by", "MB", "here", "where, or how to get it", "licence")
    for column in table.columns:
        column.overflow = "fold"  # a path that is cut is no path
    for entry in known:
        size = "–" if entry.megabytes is None else f"{entry.megabytes:.0f}"
        here = Text("yes", style="green") if entry.folder is not None else "no"
        licence = entry.source.licence.partition(";")[0]
        table.add_row(entry.source.name, entry.used_by, size, here, entry.how, licence)
    console = make_console()
    console.print(table)
    for note in _NOTES:
        console.print(f"- {note}", style="dim")


_NOTES = (
    "The image networks, or those they were distilled from, were trained on ImageNet, whose terms are for research.",
    "timm/NAME and hf/NAME backbones bring files of their own.",
    "Looked in, in this order: the folder MMPOSTER_WEIGHTS, Python packages, the libraries' caches; then a download.",
)
