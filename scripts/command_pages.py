"""The part of each page in docs/commands that is made from a command's own help, so that the two cannot differ.

python scripts/command_pages.py            writes it anew, in every page; what people wrote below it stays
python scripts/command_pages.py --check    exit code 1, and the names of pages, where one is out of date
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from mmposter.cli import app

PAGES = Path(__file__).resolve().parents[1] / "docs" / "commands"
START = "<!-- From the command's help, by scripts/command_pages.py: write below the end mark, not here. -->"
END = "<!-- End of the help. -->"
_KINDS = {"int": "N", "float": "X", "Path": "PATH", "str": "TEXT"}


def pages() -> dict[Path, str]:
    """Every page with the text that it should have."""
    commands: dict[str, Any] = get_command(app).commands
    found = {PAGES / f"{name}.md": command for name, command in commands.items()}
    return {page: page_text(command, page) for page, command in found.items()}


def page_text(command: Any, page: Path) -> str:
    """A command's page: its help between the marks, and behind them what stands there already."""
    written = page.read_text(encoding="utf-8") if page.is_file() else ""
    below = written.partition(END)[2].strip("\n")
    parts = [f"# mmposter {command.name}", START, help_text(command), END, below]
    return "\n\n".join(part for part in parts if part) + "\n"


def help_text(command: Any) -> str:
    """What `--help` says, as Markdown: usage, text, examples, and a table of arguments and options."""
    text, *examples = re.split(r"^Examples?:$", inspect.cleandoc(command.help), maxsplit=1, flags=re.M)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["mmposter", command.name, *(_usage(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"```text\n{usage}\n```", text.strip()]
    for example in examples:
        lines.append("```sh\n" + "\n".join(line.strip() for line in example.splitlines() if line.strip()) + "\n```")
    rows = [
        *(f"| `{_name(a)}` | {_cell(a.help)} | {_default(a)} |" for a in arguments),
        *(f"| {_option(o)} | {_cell(o.help)} | {_default(o)} |" for o in options),
    ]
    if rows:
        lines.append("\n".join(["| argument or option | meaning | default |", "|---|---|---|", *rows]))
    return "\n\n".join(lines)


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _usage(argument: Any) -> str:
    name = _name(argument)
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*reversed(option.opts), *option.secondary_opts))
    if option.is_flag:
        return names
    kind = option.type_descriptor.annotation
    value = option.metavar or _KINDS.get(getattr(kind, "__name__", ""), "VALUE")
    return f"{names} `{value}`".replace("|", "\\|")


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default is None or default is False or default == () or default == [] or not parameter.show_default:
        return ""
    return f"`{default}`"


def _cell(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()


def main() -> None:
    """Write the pages, or with --check only say which are out of date."""
    stale = {page: text for page, text in pages().items() if not page.is_file() or page.read_text("utf-8") != text}
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"out of date: docs/commands/{page.name}" for page in stale) or 0)
    PAGES.mkdir(exist_ok=True)
    for page, text in stale.items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
