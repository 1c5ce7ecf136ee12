"""What comes from outside is shown as text: on the terminal, in pages, in Markdown and in figures."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from mmposter.cli import main
from mmposter.cli.answers import answer_json, answer_path
from mmposter.document.blocks import ListBlock, PageSection, TableBlock
from mmposter.document.markdown import markdown_table
from mmposter.document.page import render_fragment, render_page
from mmposter.evaluation.listing import listing_line
from mmposter.explain.page import CardPage
from mmposter.files.atomic import write_text
from mmposter.inference.task import Prediction
from mmposter.progress import make_console, progress
from mmposter.report.plots.style import figure_style, new_figure
from mmposter.visible import visible, visible_html, visible_json, visible_lines

pytestmark = pytest.mark.figures

NASTY = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\u2066\u2028\x00\x7f\r\udcff"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(thing: object, **how: object) -> str:
    console = make_console()
    console.file = io.StringIO()
    console.print(thing, **how)  # type: ignore[arg-type]
    return console.file.getvalue()


def test_every_character_that_steers_is_its_code_and_others_stay() -> None:
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xDCFF):
        text = visible(f"<{chr(code)}>")
        assert text.isprintable(), hex(code)
        assert text.startswith("<\\"), hex(code)
    for kept in ("Amélie", "千と千尋の神隠し", "فيلم", "🎬", "a b - 'c' [d] \\"):
        assert visible(kept) == visible_lines(kept) == kept
    assert visible("a\nb\tc") == "a\\nb\\tc"
    assert visible_lines("a\nb\tc\r") == "a\nb\tc\\r"


def test_a_console_shows_names_and_obeys_none_of_them() -> None:
    table = Table("poster", "why")
    table.add_row(NASTY, Text(f"{NASTY} and more of it"))
    for thing in (NASTY, Text(NASTY), table):
        text = shown(thing)
        assert not STEERING.search(text), repr(text)
        assert "\\x1b]0;owned" in text


def test_markup_and_emoji_in_a_name_are_letters() -> None:
    name = "[bold]a[/bold] [/] :heart: [link=http://x]y"
    table = Table(name)
    table.add_row(name)
    assert name in shown(name, soft_wrap=True)
    assert shown(table).count(name) == 2


def test_columns_are_as_wide_as_what_they_show() -> None:
    table = Table("poster", "genre")
    table.add_row("\x1b[31mred", "Drama")
    table.add_row("plain", "War")
    widths = {len(line) for line in shown(table).splitlines()}
    assert len(widths) == 1
    assert "\\x1b[31mred" in shown(table)


def test_a_progress_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    console = make_console()
    console.file = io.StringIO()
    monkeypatch.setattr("mmposter.progress.console", console)
    with progress("predict", 1) as ticker:
        ticker.advance(1, f"{NASTY}\nerror: forged")
    said = console.file.getvalue()
    assert len(said.splitlines()) == 1
    assert not STEERING.search(said.replace("\n", ""))


def test_the_error_message_shows_a_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mmposter", "runs", "evil\x1b[2J\x9b\u202e[bold]"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert "evil\\x1b[2J\\x9b\\u202e[bold]" in said
    assert not STEERING.search(said)


def test_a_listing_has_one_line_a_poster() -> None:
    scores = {"Drama\x1b[1m": 0.5}
    for line in (
        listing_line(f"{NASTY}\nforged  War (0.999)", 1999, scores),
        Prediction(f"posters/{NASTY}\nforged.jpg", [], scores).listing(),
        Prediction(f"posters/{NASTY}\nforged.jpg", error=f"broken {NASTY}\nx").listing(),
    ):
        assert len(line.splitlines()) == 1
        assert line.isprintable()


def test_json_means_the_same_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"path": NASTY, "plain": "Amélie", "list": ["\n", "\t", '"']}
    answer_json(value, indent=None)
    line = capsys.readouterr().out
    assert len(line.splitlines()) == 1
    assert json.loads(line) == value
    assert not STEERING.search(line.rstrip("\n"))
    plain = json.dumps({"path": "Amélie 🎬", "n": [1.5, None]}, indent=2, ensure_ascii=False)
    assert visible_json(plain) == plain  # what is ordinary stays as it was, byte by byte


def test_a_path_is_itself_for_a_script_and_readable_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    path = Path("runs/a\udcff\x1b[1m")
    for kind, expected in ((io.TextIOWrapper, b"runs/a\xff\x1b[1m\n"), (Terminal, b"runs/a\\udcff\\x1b[1m\n")):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", kind(out, encoding="utf-8"))
        answer_path(path)
        assert out.getvalue() == expected


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '" onload="x', NASTY])
def test_pages_and_fragments_escape_every_text(text: str, tmp_path: Path) -> None:
    block = TableBlock(text, [text, text], [[text, text]])
    section = PageSection("one", text, [text], [block, ListBlock([text])])
    page = render_page(text, text, {text: text}, [section])
    for made in (page, render_fragment(text, [block], facts={text: text}, text=[text]), visible_html(text)):
        assert "<script>alert" not in made
        assert ' onload="x' not in made
        assert not STEERING.search(made)
    write_text(tmp_path / "page.html", page)
    (tmp_path / "page.html").read_bytes().decode("utf-8")


def test_an_explanation_of_an_unusable_poster_is_escaped_in_a_notebook() -> None:
    from mmposter.explain.result import Explanation

    found = Explanation(path=f"<b>{NASTY}.jpg", error=f"<i>{NASTY}")
    made = found._repr_html_()
    assert "<i>" not in made
    assert "<b><b>" not in made
    assert not STEERING.search(made)


@pytest.mark.parametrize("cell", ["a|b", "a\\|b", "a\nb", "<img src=x>", "\\<img src=x>", NASTY, "</td>"])
def test_a_markdown_cell_stays_one_cell_and_no_tag(cell: str) -> None:
    row = markdown_table(["one", "two"], [[cell, "end"]]).splitlines()
    assert len(row) == 3
    # A bar or a tag counts unless an odd number of backslashes stands before it.
    live = re.findall(r"(?<!\\)(?:\\\\)*(\||<(?=[A-Za-z/!?]))", row[2])
    assert live == ["|"] * 3
    assert not STEERING.search(row[2])


def test_numbers_and_code_in_markdown_stay_as_they_were() -> None:
    assert markdown_table(["p"], [["< 0.001"], ["<0.001"], ["`a`"], ["a -> b"]]).splitlines()[2:] == [
        "| < 0.001 |",
        "| <0.001 |",
        "| `a` |",
        "| a -> b |",
    ]


def test_texts_that_are_no_utf8_are_written_as_codes(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", json.dumps({"path": "a\udcff"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": "a\udcff"}


@pytest.mark.filterwarnings("error")  # such as matplotlib's for a letter that no font has
def test_a_card_and_a_figure_draw_odd_names(tmp_path: Path) -> None:
    page = CardPage(2.0)
    page.text(0.1, 0.1, NASTY)
    page.fitted(0.1, 0.5, f"{NASTY}$x_$", 3.0)
    page.figure.savefig(tmp_path / "card.png")
    from mmposter.report.ablation.plots.canvas import draw_rows, draw_title

    with figure_style():
        figure = new_figure(2.0)
        body = figure.subfigures(1, 1)
        draw_title(body, f"{NASTY} $a_$")
        draw_rows(body.subplots(), [NASTY, "$b^$"], ["1", "2"])
        for kind in ("png", "svg"):
            figure.savefig(tmp_path / f"rows.{kind}")
    assert not STEERING.search((tmp_path / "rows.svg").read_text(encoding="utf-8"))
