"""Tables on a terminal: whatever the width, every number is there in one piece."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import mmposter
from mmposter.document.blocks import TableBlock
from mmposter.document.terminal import print_table

ROOT = Path(mmposter.__file__).parent
WIDTHS = (120, 80, 60, 40)


def printed(block: TableBlock, width: int, *, colours: bool = False) -> str:
    console = Console(
        width=width, file=io.StringIO(), color_system="standard" if colours else None, force_terminal=colours
    )
    print_table(console, block)
    return console.file.getvalue()


def test_no_table_is_printed_in_any_other_way():
    """So that what is tested here holds for every table of the product."""
    users = []
    for path in ROOT.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if "rich.table" in source else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            users += [path.relative_to(ROOT).as_posix() for name in names if name.startswith("rich.table")]
    assert users == ["document/terminal.py"]


numbers = st.sampled_from(
    ["0.321", "–", "", "+0.060 (-0.030 to +0.154)", "0.704–0.997", "12,000", "0.776\n0.623 to 0.845"]
)
words = st.sampled_from(["Drama", "Science Fiction", "a poster of which much is said", "cnn,style,ocr", "W" * 90, ""])


@st.composite
def tables(draw: st.DrawFn) -> TableBlock:
    align = "l" + draw(st.text("lr", min_size=1, max_size=9))
    cell = {"l": words, "r": numbers}
    rows = draw(st.lists(st.tuples(*(cell[letter] for letter in align)), min_size=1, max_size=6))
    header = [f"column {number}" if number % 2 else "" for number in range(len(align))]
    keys = draw(st.integers(1, len(align) - 1))
    return TableBlock("a caption", header, rows, align, keys=keys)


@given(tables(), st.sampled_from(WIDTHS))
def test_every_number_of_any_table_is_there_in_one_piece(block: TableBlock, width: int):
    text = printed(block, width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if "W" * 90 not in line) <= width
    for row in block.rows:
        for letter, cell in list(zip(block.alignment, row, strict=True))[block.keys :]:
            for line in cell.split("\n") if letter == "r" else ():
                assert line in text


def of_genres(count: int) -> TableBlock:
    rows = [[f"Genre-{row}", *(f"{row}.{column:03}" for column in range(1, 9))] for row in range(count)]
    return TableBlock("By genre", ["genre", *(f"number {column}" for column in range(1, 9))], rows)


def test_columns_of_numbers_move_below_and_name_the_rows_again():
    text = printed(of_genres(3), 60)
    assert [text.count(f"Genre-{row}") for row in range(3)] == [2, 2, 2]
    assert text.count("By genre") == 1
    assert "3.008" not in text
    assert "2.008" in text
    assert printed(of_genres(3), 120).count("Genre-0") == 1


def test_a_table_that_is_mostly_words_becomes_lines():
    block = TableBlock(
        "", ["file", "used by", "where to get it", "MB"],
        [["yolo11n.pt", "the branch of objects, of every recipe", "downloaded at first use from its owner", "5.6"],
         ["", "the same", "", "98.3"]], "lllr",
    )  # fmt: skip
    text = printed(block, 34)
    assert text.splitlines()[0] == "yolo11n.pt"
    assert "  MB: 5.6" in text
    assert text.splitlines().count("yolo11n.pt") == 2  # an empty name is that of the row above
    assert printed(block, 80).startswith("┏")


def test_a_long_path_is_folded_and_never_cut():
    path = "/somewhere/with/a/very/long/path/to/weights/" + "x" * 60 + ".safetensors"
    text = printed(TableBlock("", ["file", "MB"], [[path, "12"]], "lr"), 60)
    assert path in re.sub(r"[^\w/.]", "", text.replace("file", "").replace("MB", "").replace("12", ""))
    rows = [["a", "many words that take room", "others that take room", path]]
    assert f"  where: {path}\n" in printed(TableBlock("", ["file", "use", "what", "where"], rows, "llll"), 40)


@pytest.mark.parametrize("width", [120, 60])
def test_colours_stay_with_their_cells(width: int):
    block = TableBlock(
        "",
        ["metric", "verdict"],
        [["mAP", "better"], ["OR", "cannot be beaten"]],
        "ll",
        {(0, 1): "good", (1, 1): "muted"},
    )
    text = printed(block, width, colours=True)
    assert re.search(r"\x1b\[32mbetter", text)
    assert re.search(r"\x1b\[2mcannot be beaten", text)
    assert "\x1b[1;31m" not in text
