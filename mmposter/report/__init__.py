"""How results are shown: pages, tables, figures and sentences of evaluations, comparisons and ablations.

Results are plain values of `mmposter.evaluation`; each has a file here that says what is shown of it. What a page is
made of, and how one looks, is `mmposter.document`'s.
"""

from __future__ import annotations
