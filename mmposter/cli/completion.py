"""What the shell proposes when Tab is pressed. Answers come from names and folders: torch is never loaded here.

Where nothing is proposed, the shell completes the names of files.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from mmposter.cli.answers import answer_line

_BASH = "complete_bash"
VARIABLE = "_MMPOSTER_COMPLETE"
"""By this the shell asks for proposals; Typer answers."""

_RUN = "model.json"
# Zsh evaluates what it is answered: a folder that somebody named after a command is not proposed.
_PLAIN = re.compile(r"[\w./+@%=,-]+")
_MOST = 200  # run folders that are looked for: a shell waits for the answer
_SWITCHES = ("true", "false")


def answer(run: Callable[[], None]) -> None:
    """Run the command line, which answers the shell where that asked.

    Bash cuts ``fusion.head=ga`` into three words, and replaces the last one alone: so the words are put together for
    the answer, and what stands before the last ``=`` is cut from it.
    """
    if os.environ.get(VARIABLE) != _BASH or "=" not in os.environ.get("COMP_WORDS", ""):
        run()
        return
    sign = "\n" if "\n" in os.environ["COMP_WORDS"] else " "
    words, before = join_words(os.environ["COMP_WORDS"].split(sign), int(os.environ.get("COMP_CWORD", "0")))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = sign.join(words), str(len(words) - 1)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            run()
    finally:
        for line in said.getvalue().splitlines():
            answer_line(line.removeprefix(before))


def join_words(words: Sequence[str], place: int) -> tuple[list[str], str]:
    """Words up to the one at `place` without Bash's cuts at ``=``, and what stands before the last cut of the last one.

    >>> join_words(["mmposter", "train", "--set", "fusion.head", "=", "ga"], 5)
    (['mmposter', 'train', '--set', 'fusion.head=ga'], 'fusion.head=')
    """
    found: list[str] = []
    before = ""
    for number in range(place + 1):
        word = words[number] if number < len(words) else ""
        if word == "=" and found:
            found[-1] = before = f"{found[-1]}="
        elif number and words[number - 1] == "=":
            found[-1] += word
        else:
            found.append(word)
            before = ""
    return found, before


def models(incomplete: str) -> list[str]:
    """The models that travel with mmposter, and the run folders below ``runs`` or where the word begins to lead."""
    from mmposter.shipped import shipped_models

    place = Path(incomplete if incomplete.endswith("/") else os.path.dirname(incomplete) or "runs")
    folders = [name for folder in _run_folders(place) if _PLAIN.fullmatch(name := str(folder))]
    return _beginning(incomplete, [*shipped_models(), *folders])


def _run_folders(place: Path) -> list[Path]:
    found: list[Path] = []
    for pattern in (f"*/{_RUN}", f"*/*/{_RUN}"):
        for model in place.glob(pattern):
            found.append(model.parent)
            if len(found) == _MOST:
                break
    return sorted(found)


def branches(incomplete: str) -> list[str]:
    """The branches that a comma-separated list does not name yet."""
    from mmposter.branches import branch_names

    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [before + comma + name for name in _beginning(last, branch_names()) if name not in named]


def recipes(incomplete: str) -> list[str]:
    """The recipes that travel with mmposter."""
    from mmposter.files.recipes import recipe_names

    return _beginning(incomplete, recipe_names())


def formats(incomplete: str) -> list[str]:
    """The formats of `mmposter prepare`."""
    from mmposter.data.sources import AUTO, source_formats

    return _beginning(incomplete, [AUTO, *source_formats()])


def vocabularies(incomplete: str) -> list[str]:
    """The vocabularies that travel with mmposter."""
    from mmposter.data.vocabulary import builtin_vocabularies

    return _beginning(incomplete, builtin_vocabularies())


def overrides(incomplete: str) -> list[str]:
    """Keys for ``--set``; of a key that is whole, or the only one, its values: those allowed, or the default."""
    keys = configuration_keys()
    key, equals, _ = incomplete.partition("=")
    fitting = [key] if equals else _beginning(key, keys)
    if len(fitting) != 1:
        return [f"{one}=" for one in fitting]
    if fitting[0] not in keys:
        return []
    return _beginning(incomplete, [f"{fitting[0]}={value}" for value in keys[fitting[0]]])


def one_of(*names: str) -> Callable[[str], list[str]]:
    """A completion with the given names alone."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, names)

    return complete


def configuration_keys() -> dict[str, tuple[str, ...]]:
    """Every dotted key of the configuration with the values that it takes; the default alone where they are many."""
    from mmposter.branches.named import HEADS, LOSSES
    from mmposter.config import Config

    options = HEADS.usual_options() | LOSSES.usual_options()
    return _keys(Config(), "") | {key: (_text(value),) for key, value in options.items()}


def _keys(section: Any, prefix: str) -> dict[str, tuple[str, ...]]:
    from pydantic import BaseModel

    from mmposter.branches.named import Registered

    found: dict[str, tuple[str, ...]] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= _keys(value, f"{prefix}{name}.")
        elif not isinstance(value, dict):
            registered = [name for one in field.metadata if isinstance(one, Registered) for name in one.own]
            allowed = registered or (_SWITCHES if isinstance(value, bool) else list(_literals(field.annotation)))
            found[prefix + name] = tuple(allowed) or (_text(value),)
    return found


def _literals(annotation: Any) -> Iterator[str]:
    """The texts that a type allows by name."""
    for one in get_args(annotation):
        if isinstance(one, str):
            yield one
        else:
            yield from _literals(one)


def _text(value: Any) -> str:
    """A value as ``--set`` takes it, without blanks, at which a shell would cut."""
    import json

    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
