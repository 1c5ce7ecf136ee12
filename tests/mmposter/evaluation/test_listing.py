"""The lines of the listing: the published form, and what a table may lack."""

from __future__ import annotations

import pytest

from mmposter.evaluation.listing import listing_line
from mmposter.inference.task import Prediction

SCORES = {"War": 0.2341, "Drama": 0.1, "Family": 0.7359, "Adult": 0.385, "Crime": 0.1}


def test_the_published_form():
    line = listing_line("Gladiator", 2000, SCORES)
    assert line == "Gladiator (2000)  Family (0.736), Adult (0.385), War (0.234)"
    assert listing_line("Gladiator", None, SCORES, k=1) == "Gladiator  Family (0.736)"
    assert listing_line("Two\n lines", 1, SCORES, k=4).endswith(
        "War (0.234), Drama (0.100)"
    )  # equal ones in their order
    assert listing_line("Two\n lines", 1, {}, k=4) == "Two lines (1)  "
    with pytest.raises(ValueError, match="k must be 1 or more, got 0"):
        listing_line("Gladiator", 2000, SCORES, k=0)


def test_a_prediction_is_listed_by_its_title_or_file():
    found = Prediction("posters/tt0172495.v2.jpg", ["Family"], SCORES)
    assert found.listing("Gladiator", 2000) == listing_line("Gladiator", 2000, SCORES)
    assert found.listing(k=2) == "tt0172495.v2  Family (0.736), Adult (0.385)"
    assert Prediction(None, ["War"], {"War": 1.0}).listing() == "untitled  War (1.000)"
    failed = Prediction("a.jpg", error="truncated: cut\noff")
    assert failed.listing(year=1999) == "a (1999)  truncated: cut off"
