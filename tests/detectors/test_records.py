from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from detectors import Detections, TextLines

NAMES = ("person", "dog")
BOX = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
SCORE = np.array([0.5], np.float32)
LABEL = np.array([1], np.int64)
QUAD = np.array([[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]], np.float32)


def test_good_records_know_their_length():
    assert len(Detections(BOX, SCORE, LABEL, NAMES)) == 1
    assert len(TextLines(QUAD, ("The End",), SCORE)) == 1


def test_nothing_found_is_a_valid_record():
    found = Detections.empty(NAMES)
    assert (len(found), found.boxes.shape, found.class_names) == (0, (0, 4), NAMES)
    read = TextLines.empty()
    assert (len(read), read.quads.shape, read.texts) == (0, (0, 4, 2), ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": BOX[0]}, r"boxes must have shape \(1, 4\); got \(4,\)"),
        ({"boxes": np.zeros((2, 4), np.float32)}, r"boxes must have shape \(1, 4\); got \(2, 4\)"),
        ({"scores": SCORE[None]}, r"scores must have shape \(1,\); got \(1, 1\)"),
        ({"labels": np.array([0, 1])}, r"labels must have shape \(1,\); got \(2,\)"),
        ({"labels": np.array([2])}, r"labels must index the 2 class names; got \[2\]"),
        ({"labels": np.array([-1])}, r"labels must index the 2 class names; got \[-1\]"),
        ({"boxes": BOX + 0.7}, r"boxes must lie in 0-1 of the poster; got 0\.8.* to 1\.1"),
        ({"boxes": BOX - 0.2}, r"boxes must lie in 0-1 of the poster; got -0\.1"),
        ({"boxes": BOX * np.nan}, "boxes must lie in 0-1 of the poster; got nan"),
    ],
)
def test_detections_refuse(change, message):
    good = {"boxes": BOX, "scores": SCORE, "labels": LABEL, "class_names": NAMES}
    with pytest.raises(ValueError, match=message):
        Detections(**{**good, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quads": QUAD[0]}, r"quads must have shape \(1, 4, 2\); got \(4, 2\)"),
        ({"texts": ("a", "b")}, r"quads must have shape \(2, 4, 2\); got \(1, 4, 2\)"),
        ({"confidences": np.zeros(2, np.float32)}, r"confidences must have shape \(1,\); got \(2,\)"),
        ({"quads": QUAD * 300}, r"quads must lie in 0-1 of the poster; got 0\.0 to 300\.0"),
    ],
)
def test_lines_refuse(change, message):
    good = {"quads": QUAD, "texts": ("a",), "confidences": SCORE}
    with pytest.raises(ValueError, match=message):
        TextLines(**{**good, **change})


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        Detections.empty(NAMES).scores = SCORE


def test_importing_detectors_loads_no_heavy_library():
    """Nor does asking for the files of English, which every command does."""
    program = (
        "import sys, detectors; assert detectors.reader_files(('en',)) == ('craft_mlt_25k.pth', 'english_g2.pth');"
        "print([name for name in ('ultralytics', 'easyocr', 'torch', 'cv2') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
