"""Words that were read as one."""

from __future__ import annotations

import pytest

from detectors.glued_words import split_glued


@pytest.mark.parametrize(
    ("read", "split"),
    [
        ("MANTROUBLE", "MAN TROUBLE"),
        ("LIFE IN AWALK", "LIFE IN A WALK"),
        ("ROCKYIV", "ROCKY IV"),
        ("BLOODFISTIII", "BLOODFIST III"),
        ("HOLLOWMAN", "HOLLOW MAN"),
        ("YouAgain", "You Again"),
        ("The last dropzone, again", "The last drop zone, again"),
        ("THELAST of us", "THE LAST of us"),
    ],
)
def test_glued_words_are_split_and_keep_their_case(read, split):
    assert split_glued(read) == split


@pytest.mark.parametrize(
    "read",
    [
        "SOMETHING beginning",  # words
        "SCHWARZENEGGER Gyllenhaal DiCaprio McConaughey",  # names
        "Zwischenfall überallhin naïveté",  # other languages, and letters beside A to Z
        "始まりの物語 ПРИВЕТМИР",
        "2001 THX1138 R2D2",  # numbers
        "LMAPHATIEEE",  # read wrongly
        "  two  gaps ",
        "",
    ],
)
def test_what_is_unsure_is_left_alone(read):
    assert split_glued(read) == read
