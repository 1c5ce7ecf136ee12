"""All files of a report."""

from __future__ import annotations

from pathlib import Path

from mmposter.document.latex import tables_latex
from mmposter.document.markdown import document_markdown
from mmposter.document.page import render_page
from mmposter.evaluation.ablation import AblationResult
from mmposter.files.atomic import write_json, write_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import ABLATION
from mmposter.report.ablation.outline import outline
from mmposter.report.ablation.plain import to_csv, to_json
from mmposter.report.ablation.sections import groups
from mmposter.report.ablation.tables import all_tables


def write_report(result: AblationResult, out: Path) -> list[Path]:
    """Write the report of an ablation, finished or not, into the folder `out`; what lies there is replaced.

    `ablation.html` is the whole report in one file, `ablation.md` the same as Markdown with its figures in `plots/`,
    `ablation.tex` the tables for a paper, `ablation.csv` every number in a long table, `ablation.json` the result.

    Args:
        result: what to report.
        out: a folder; made if it is not there. Each file is there whole or not at all.

    Returns:
        the files written, the page first.
    """
    from mmposter.report.plots.style import save_png

    report = outline(result)
    texts = {
        "ablation.html": render_page(report.title, report.lead, report.facts, report.sections),
        "ablation.md": document_markdown(report),
        "ablation.csv": to_csv(result),
        "ablation.tex": tables_latex(all_tables(result, groups(result)), "ablation"),
    }
    with claim(out, ABLATION, go_on=True):
        # The first one says that this folder is ours, see `mmposter.outputs`.
        write_json(out / "ablation.json", to_json(result))
        for name, text in texts.items():
            write_text(out / name, text)
        files = [*(out / name for name in texts), out / "ablation.json"]
        for picture in report.figures:
            path = out / "plots" / f"{picture.name}.png"
            save_png(picture.figure, path)
            files.append(path)
    return files
