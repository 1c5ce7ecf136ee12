"""What a notebook shows of a result: the tables and the notes of its report, one function a result.

`mmposter.document.shown` loads this module when a notebook first asks.
"""

from __future__ import annotations

from mmposter.document import Block, DetailsBlock, ListBlock, render_fragment
from mmposter.document.shown import fragment
from mmposter.evaluation.ablation import AblationResult
from mmposter.evaluation.comparison import Comparison
from mmposter.evaluation.evaluate import Evaluation
from mmposter.evaluation.examination import Examination
from mmposter.report import comparison_text, evaluation_text
from mmposter.report.ablation.findings import findings
from mmposter.report.ablation.outline import summary
from mmposter.report.ablation.sections import groups
from mmposter.report.ablation.tables import cells_table
from mmposter.report.comparison import difference_tables
from mmposter.report.evaluation import evaluation_blocks, evaluation_facts


@fragment.register
def evaluation(result: Evaluation) -> str:
    """The tables and the notes."""
    return render_fragment(evaluation_text.title(result), evaluation_blocks(result))


@fragment.register
def examination(result: Examination) -> str:
    """As an evaluation, with what was measured, and the calibration."""
    source, note = result.scored.source, evaluation_text.calibration_note(result)
    blocks, facts = evaluation_blocks(result.evaluation), evaluation_facts(result)
    if result.parts:
        blocks.append(DetailsBlock("Parts", evaluation_text.parts_tables(result)))
    return render_fragment(f"{source.run} on {source.data}", blocks, facts=facts, text=[note])


@fragment.register
def comparison(result: Comparison) -> str:
    """The rows, the differences and the notes."""
    differences = DetailsBlock(f"Differences to {result.rows[0].name}", difference_tables(result))
    notes = ListBlock(comparison_text.notes(result))
    return render_fragment(comparison_text.title(result), [comparison_text.runs_table(result), differences, notes])


@fragment.register
def ablation(result: AblationResult) -> str:
    """What was found, and the table of the first group, without a figure."""
    blocks: list[Block] = [ListBlock(findings(result))]
    for first in groups(result)[:1]:
        table = cells_table(result, first)
        blocks += [table, ListBlock([table.note])]
    return render_fragment(f"Ablation on {result.provenance.data}", blocks, text=[summary(result)])
