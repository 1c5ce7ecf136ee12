"""The benchmark of the readers, over drawn posters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "readers.py"


@pytest.mark.slow
def test_titles_of_drawn_posters_are_found(tmp_path):
    posters = tmp_path / "posters"
    posters.mkdir()
    rows = ["id,title,genres,image"]
    for number, title in enumerate(("RISING SUN", "MANTROUBLE")):
        picture = Image.new("RGB", (400, 300 + number), (20, 30, 60))
        ImageDraw.Draw(picture).text((20, 100), title, fill="white", font=ImageFont.load_default(34))
        picture.save(posters / f"{number}.png")
        rows.append(f"{number},{'Man Trouble' if number else 'Rising Sun'},Drama,posters/{number}.png")
    (tmp_path / "films.csv").write_text("\n".join(rows))
    here = tmp_path / "data"
    for command in (
        ["-m", "mmposter", "prepare", str(tmp_path / "films.csv"), "--format", "csv", "--out", str(here)],
        [str(SCRIPT), str(here), "--only", "ppocr"],
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *command], capture_output=True, text=True, env=os.environ, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "| ppocr | 50.0 % of 4 | 33.3 % of 3 |" in done.stdout
    assert "| ppocr, split | 100.0 % of 4 | 0.0 % of 4 |" in done.stdout
