"""The report of data that were balanced by crops: report.md, and the genres before and after as a figure."""

from __future__ import annotations

from mmposter.data.crops import split_warning
from mmposter.data.dataset import Dataset
from mmposter.data.splitting import SPLITS
from mmposter.document.markdown import markdown_table
from mmposter.files.atomic import write_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import PREPARED
from mmposter.report.plots.balance import plot_genre_balance
from mmposter.report.plots.style import save_png

REPORT, FIGURE = "report.md", "plots/genres.png"


def genre_balance(crops: Dataset) -> dict[str, tuple[int, int]]:
    """By genre, the posters that have it and their crops."""
    pairs = crops.table[["path", "genres"]].explode("genres")
    posters, rows = pairs.groupby("genres")["path"].nunique(), pairs["genres"].value_counts()
    return {genre: (int(posters.get(genre, 0)), int(rows.get(genre, 0))) for genre in crops.vocabulary.genres}


def write_balance(crops: Dataset) -> None:
    """Write report.md and plots/genres.png into the folder of data that `balance_by_crops` made.

    Raises:
        UserError: another process is writing there.
        OSError: the folder cannot be written.
    """
    counts, options = genre_balance(crops), crops.info["options"]
    made = (
        f"{crops.table['path'].nunique()} posters, {len(crops)} crops of {options['size']}x{options['size']} pixels, "
    )
    made += f"wanted: {options['target']} a genre; {options['order']}, seed {options['seed']}."
    sides = [(side, str(int((crops.table["split"] == side).sum()))) for side in SPLITS]
    genres = [(genre, str(before), str(after)) for genre, (before, after) in counts.items()]
    parts = ["# Posters balanced by crops", made, *filter(None, [split_warning(crops)])]
    parts += ["## Split", markdown_table(("split", "crops"), sides, "lr")]
    parts += ["## Genres before and after", markdown_table(("genre", "posters before", "crops after"), genres, "lrr")]
    parts.append(f"![Genres before and after]({FIGURE})")
    with claim(crops.folder, PREPARED, go_on=True):
        save_png(plot_genre_balance(counts), crops.folder / FIGURE)
        write_text(crops.folder / REPORT, "\n\n".join(parts) + "\n")
