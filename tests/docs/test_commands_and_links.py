"""What the pages say can be typed and followed: every command line parses, every link leads somewhere."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from mmposter.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOME = "https://github.com/mmposter/mmposter"  # as setup.cfg says
PROGRAM = get_command(app)
COMMANDS = PROGRAM.commands

STAND_INS = ("...", "WEIGHTS")  # words in a command line that stand for some others; docs/performance.md says which

_FENCE = re.compile(r"^(```+|~~~+)(\w*)[^\n]*\n(.*?)^\1[ ]*$", re.M | re.S)
_INDENTED = re.compile(r"(?:^    .*\n?)+", re.M)
_INLINE = re.compile(r"(`+)(.+?)\1", re.S)
_OPTIONAL = re.compile(r"(?<!\S)\[(-[^\]]*)\]")  # as in `[--port N]`
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
_OBJECT = re.compile(r"^::: ([\w.]+)", re.M)
_AT_HOME = re.compile(rf"{HOME}/(?:blob|tree)/main/|https://raw\.githubusercontent\.com/mmposter/mmposter/main/")


def commands_in(text: str) -> Iterator[list[str]]:
    """The words behind each `mmposter` of a page's code; Python and what commands print are left out."""
    codes = [code for _, language, code in _FENCE.findall(text) if language in ("sh", "")]
    prose = _FENCE.sub("", text)
    codes += _INDENTED.findall(prose)
    codes += [" ".join(code.split()) for _, code in _INLINE.findall(_INDENTED.sub("", prose))]
    for code in codes:
        for line in code.replace("\\\n", " ").splitlines():
            yield from _commands_of_line(line)


def _commands_of_line(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(_OPTIONAL.sub(r"\1", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = [word for word in lexer if word not in STAND_INS and not re.fullmatch(r"\$\w+", word)]
    except ValueError:  # an apostrophe: a sentence, no command
        return
    for start, word in enumerate(words):
        if word != "mmposter" or words[start - 1 : start] == ["from"]:
            continue
        rest = words[start + 1 :]
        end = next((index for index, other in enumerate(rest) if other[0] in ";|&<>()"), len(rest))
        if end and re.fullmatch(r"(--)?[a-z]+", rest[0]):
            yield rest[:end]


def fault(words: list[str]) -> str | None:
    """Why a command line cannot be typed so; values may be anything."""
    while words[:1] == ["--plugin"] and len(words) > 1:
        words = words[2:]
    if not words or words == ["COMMAND"]:
        return None
    name, *arguments = words
    if name.startswith("-"):
        known = {option for param in PROGRAM.params for option in param.opts} | {"--help"}
        return None if name in known and not arguments else f"mmposter has no option {name}"
    if name not in COMMANDS:
        return f"mmposter has no command {name}"
    command = COMMANDS[name]
    context = command.context_class(command, info_name=name)
    try:
        _, left, _ = command.make_parser(context).parse_args(list(arguments))
    except Exception as error:
        return f"mmposter {shlex.join(words)}: {getattr(error, 'message', error)}"
    return f"mmposter {shlex.join(words)}: takes no argument {left[0]}" if left else None


def anchors(page: Path) -> set[str]:
    """What `#...` can name on a page: headings, as GitHub spells them, and the objects of a generated page."""
    text = page.read_text(encoding="utf-8")
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found) | set(_OBJECT.findall(text))


def dead_links(page: Path) -> list[str]:
    """Links of a page into the checkout, relative ones and those to its home on the web, that lead nowhere."""
    prose = _INLINE.sub("", _INDENTED.sub("", _FENCE.sub("", page.read_text(encoding="utf-8"))))
    dead = []
    for target in _LINK.findall(prose):
        path, _, anchor = target.partition("#")
        if at_home := _AT_HOME.match(path):
            file = ROOT / path[at_home.end() :]
        elif re.match(r"[a-z]+:", target):
            continue
        else:
            file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_line_can_be_typed(page: Path) -> None:
    assert [found for words in commands_in(page.read_text(encoding="utf-8")) if (found := fault(words))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_into_the_checkout_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_the_readme_needs_no_checkout_around_it() -> None:
    """On a package index there is none: its links and its picture are addresses."""
    links = _LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_the_readme_is_a_screen_and_the_links_say_where_the_project_is() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["url"] == HOME


def test_every_command_stands_on_some_page() -> None:
    """And so the finder of commands finds them: most are named more than once."""
    found = [words[0] for page in PAGES for words in commands_in(page.read_text(encoding="utf-8"))]
    assert set(COMMANDS) <= set(found)


def test_commands_are_found_in_all_kinds_of_code_and_nowhere_else() -> None:
    page = (
        "Say `mmposter runs\nFOLDER` or `from mmposter import train`; mmposter train is prose.\n"
        "`mmposter -> fusion` is an arrow.\n\n"
        "    for mask in none title; do mmposter extract DATA --set ocr.mask=$mask; done   # mmposter nothing\n\n"
        "```sh\nfind . | mmposter predict --top-k 3 > out\nmmposter train data \\\n  --out 'my run'\n```\n"
        "```text\nmmposter 0.1\n```\n```python\nfrom mmposter import train\n```\n"
    )
    assert sorted(commands_in(page)) == [
        ["extract", "DATA", "--set", "ocr.mask=$mask"],
        ["predict", "--top-k", "3"],
        ["runs", "FOLDER"],
        ["train", "data", "--out", "my run"],
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian data", "no command trian"),
        ("--verson", "no option --verson"),
        ("train data --ephocs 3", "--ephocs"),
        ("train data other", "takes no argument other"),
        ("train --out", "--out"),
        ("train data --set loss.name=asl -s x=1 --seeds", "--seeds"),
    ],
)
def test_a_faulty_command_is_found(line: str, message: str) -> None:
    found = fault(line.split())
    assert found is not None
    assert message in found


def test_a_sound_command_has_no_fault() -> None:
    assert fault(["train", "data", "--out", "runs/x", "--set", "loss.name=asl"]) is None


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `two`: three\n\n## Again\n\n## Again\n\n::: fusion.Branch\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-two-three) [c](other.md#again-1) [d](other.md#fusion.Branch) [e](https://x.y)\n"
        f"[k]({HOME}/blob/main/LICENSE) [l]({HOME}/blob/main/nowhere.md)\n"
        "[f](gone.md) [g](other.md#gone) [h](#gone) `[i](code.md)`\n\n    [j](code.md)\n"
    )
    assert dead_links(page) == [f"{HOME}/blob/main/nowhere.md", "gone.md", "other.md#gone", "#gone"]
