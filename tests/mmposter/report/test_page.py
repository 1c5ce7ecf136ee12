"""A page holds what it was given, loads nothing, and its figures do not get into each other's way."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from mmposter.document import (
    CodeBlock,
    DetailsBlock,
    FigureBlock,
    ListBlock,
    PageSection,
    TableBlock,
    figure_svg,
    render_page,
)
from mmposter.report.plots import plot_training_curves

pytestmark = pytest.mark.figures

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Tags in order, their attributes, the text; and an assertion that every tag is closed where it should be."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def curves(best: float = 0.3) -> Figure:
    rows = [{"epoch": i, "train_loss": 1.0, "val_loss": 0.5 + i, "val_map": best * i, "lr": 0.1} for i in range(4)]
    return plot_training_curves(rows)


def page() -> str:
    table = TableBlock(
        "Numbers < 1",
        ["name", "value"],
        [["a & b", "0.5"], ["c", "90 %"]],
        emphasis={(0, 1): "good", (1, None): "muted"},
    )
    blocks = [
        table,
        FigureBlock("first", curves(), "below", 'what it "shows"'),
        FigureBlock("second", curves(0.2), "below", "the other"),
        ListBlock(["one", "see `x<y`"]),
        DetailsBlock("more", [CodeBlock("a <b>\n  c"), ListBlock(["inside"])]),
    ]
    return render_page(
        "A <title>",
        "lead",
        {"Seed": "0"},
        [PageSection("one", "One", ["text `code`"], blocks), PageSection("two", "Two")],
    )


def test_everything_that_was_given_is_there_and_escaped():
    reader = read(page())
    text = "".join(reader.text)
    for part in ("A <title>", "lead", "Seed", "Numbers < 1", "a & b", "what", "inside", "a <b>\n  c"):
        assert part in text or any(
            part in (value or "") for _, attributes in reader.tags for value in attributes.values()
        )
    assert "<title>A &lt;title&gt;</title>" in page()
    assert 'aria-label="what it &#34;shows&#34;"' in page()
    assert "<code>x&lt;y</code>" in page()
    assert "90\N{NO-BREAK SPACE}%" in text
    assert [tag for tag, _ in reader.tags].count("svg") == 2


def test_contents_lead_to_the_sections_in_order():
    reader = read(page())
    targets = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    assert targets == ["#one", "#two"]
    assert [attributes["id"] for tag, attributes in reader.tags if tag == "section"] == ["one", "two"]


def test_table_has_headings_alignment_and_emphasis():
    reader = read(page())
    cells = [(tag, attributes) for tag, attributes in reader.tags if tag in ("td", "th", "tr")]
    assert [attributes["scope"] for tag, attributes in cells if tag == "th"] == ["col", "col", "row", "row"]
    assert [attributes["class"] for tag, attributes in cells if tag == "td"] == ["r good", "r"]
    assert [attributes.get("class") for tag, attributes in cells if tag == "tr"] == [None, None, "muted"]


def test_nothing_is_loaded_from_anywhere():
    text = page()
    assert not re.search(r"(https?:)?//\w", text)
    assert "@import" not in text
    reader = read(text)
    assert not {"script", "link", "img", "iframe", "object", "image"} & {tag for tag, _ in reader.tags}
    for _, attributes in reader.tags:
        for name in ("src", "href", "data", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith("#")
    policy = [attributes["content"] for tag, attributes in reader.tags if attributes.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_every_reference_has_one():
    reader = read(page())
    ids = [attributes["id"] for _, attributes in reader.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert any(name.startswith("first-") for name in ids)
    assert any(name.startswith("second-") for name in ids)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page()))
    assert used
    assert used <= set(ids)


def test_a_name_used_twice_is_refused():
    figure = FigureBlock("same", curves(), "", "")
    with pytest.raises(ValueError, match="unique in a page, got twice"):
        render_page("t", "l", {}, [PageSection("one", "One", [], [figure, figure])])
    with pytest.raises(ValueError, match=r"got twice: \['one'\]"):
        render_page("t", "l", {}, [PageSection("one", "One"), PageSection("one", "Two")])


def test_the_same_numbers_give_the_same_bytes():
    assert page() == page()


def test_a_figure_scales_and_keeps_its_letters():
    svg = figure_svg(curves(), "letters")
    root = ElementTree.fromstring(svg)  # well-formed, without any namespace
    assert root.tag == "svg"
    assert root.get("width") == "100%"
    assert root.get("height") is None
    _, _, width, height = map(float, root.get("viewBox").split())
    assert width / height == pytest.approx(9 / 5.6, rel=1e-3)
    texts = {"".join(element.itertext()).strip() for element in root.iter("text")}
    assert {"Training", "loss", "mAP", "training", "validation", "epoch"} <= texts
    assert root.find(".//style") is None
    assert root.find(".//metadata") is None


def test_a_curve_ends_where_its_last_number_is():
    """Shortened paths must still draw the same line: the last point of the loss is at its place in the frame."""
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    rows = [i / 499 for i in range(500)]
    axes.plot(rows, [value**2 for value in rows], color="#123456")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    root = ElementTree.fromstring(figure_svg(figure, "long"))
    path = next(element.get("d") for element in root.iter("path") if "#123456" in (element.get("style") or ""))
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    box = axes.get_position()
    assert numbers[0] == pytest.approx(box.x0 * 288, abs=0.2)
    assert numbers[-2] == pytest.approx(box.x1 * 288, abs=0.2)
    assert numbers[-1] == pytest.approx((1 - box.y1) * 216, abs=0.2)
    assert numbers[1::2] == sorted(numbers[1::2], reverse=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableBlock("", ["a", "b"], [["1"]]), "every row must have 2 cells"),
        (lambda: TableBlock("", ["a", "b"], [], align="l"), "align must be 2 letters"),
        (lambda: TableBlock("", ["a"], [["1"]], emphasis={(1, 0): "good"}), "emphasis must name a cell of 1 x 1"),
        (lambda: TableBlock("", ["a"], [["1"]], emphasis={(0, 0): "loud"}), "emphasis must be one of strong, good"),
        (lambda: PageSection("No spaces", "t"), "id must be small letters"),
        (lambda: figure_svg(Figure(), "Bad name"), "name must be small letters"),
    ],
)
def test_mistakes_of_the_calling_code_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_table_that_is_wider_than_a_phone_is_one_of_named_cells():
    header = ["metric", "value", "95 % interval", "constant", "minus the constant", "verdict"]
    rows = [["mAP", "0.776", "0.623–0.845", "0.200", "+0.311 to +0.631", "better"], ["ECE", "0.049", "–", "", "–", "–"]]
    wide = TableBlock("", header, rows, "lrrrrl", {(0, 5): "good"})
    narrow = TableBlock("", ["branch", "A", "B", "B - A"], [["style", "+0.67", "-0.34", "-1.01"]])
    assert wide.stacks
    assert not narrow.stacks
    page = render_page("", "", {}, [PageSection("one", "One", (), [wide, narrow])])
    cells = [attributes for tag, attributes in read(page).tags if tag == "td"]
    assert [cell.get("data-name") for cell in cells[:5]] == header[1:]
    assert cells[4]["class"] == "l good"
    assert [cell["class"] for cell in cells[5:10]] == ["r", "r none", "r none", "r none", "l none"]
    assert all("data-name" not in cell for cell in cells[10:])
    assert page.count('class="scroll stack"') == 1


def test_no_line_parts_an_option_at_its_hyphens():
    page = render_page("", "Type `mmposter prepare my--run --out DATA --duplicate-distance 3`.", {}, [])
    assert "prepare my--run <span>--out</span> DATA <span>--duplicate-distance</span> 3</code>" in page
