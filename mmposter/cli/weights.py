"""`mmposter weights`."""

from __future__ import annotations

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json
from mmposter.cli.summary import Summary
from mmposter.document.blocks import Emphasis, TableBlock


def weights_command(json_output: opt.Json = False) -> None:
    """List all pretrained files: what uses them, where they are or how to get them, size, licence. No network access.

    Example:

      mmposter weights
    """
    from mmposter.pretrained.inventory import list_weights

    known = list_weights()
    if json_output:
        answer_json([entry.to_json() for entry in known])
        return
    rows = []
    colours: dict[tuple[int, int | None], Emphasis] = {}
    for at, entry in enumerate(known):
        size = "–" if entry.megabytes is None else f"{entry.megabytes:.0f}"
        here, licence = entry.folder is not None, entry.source.licence.partition(";")[0]
        rows.append([entry.source.name, entry.used_by, size, "yes" if here else "no", entry.how, licence])
        if here:
            colours[at, 3] = "good"
    header = ["file", "used by", "MB", "here", "where, or how to get it", "licence"]
    Summary().answer(TableBlock("", header, rows, "llrlll", colours), *(f"- {note}" for note in _NOTES))


_NOTES = (
    "The image networks, or those they were distilled from, were trained on ImageNet, whose terms are for research.",
    "timm/NAME and hf/NAME backbones bring files of their own.",
    "Looked in, in this order: the folder MMPOSTER_WEIGHTS, Python packages, the libraries' caches; then a download.",
)
