"""The report of an ablation: sentences, tables, figures, one HTML page, and the same for programs.

`write_report` writes all of it. matplotlib and jinja2 load only when a figure is drawn and a page is made.
"""

from __future__ import annotations

from mmposter.report.ablation.findings import findings
from mmposter.report.ablation.plain import to_csv, to_json
from mmposter.report.ablation.write import write_report

__all__ = ["findings", "to_csv", "to_json", "write_report"]
