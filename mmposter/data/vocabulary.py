"""Genre names and their order: what a column of the label matrix, and a logit of the model, stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mmposter.data.genre_names import KnownNames, strict_name
from mmposter.errors import UserError
from mmposter.files.paths import file_here
from mmposter.files.strict_json import parse_json, read_text, shown
from mmposter.files.strict_yaml import LIMIT, parse_yaml
from mmposter.suggest import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Vocabulary", "builtin_vocabularies"]

Labels = Literal["all", "first"]

NO_GENRE = "N/A"
"""The raw name by which lists say that a movie has no genre."""

_FILE_SUFFIXES = (".yaml", ".yml", ".json")
_KEYS = ("name", "genres", "mapping", "labels")

# Far above what anybody has: a list of more is a damaged or a hostile file.
_MOST_GENRES, _MOST_NAMES, _LONGEST = 10_000, 100_000, 200
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of genres and the raw names that lead to them. G stands for the number of genres.

    A raw name is looked up as it is written, without regard to case and to blanks around it; then without regard to
    hyphens and other usual differences, and under the other names that people have for a genre (``Science Fiction``,
    see `mmposter.data.genre_names`). A poster without any raw name counts as ``N/A`` where the vocabulary knows that
    name, and one whose names all say no genre too.

    Args:
        name: how configs and reports call it.
        genres: G names; the order is the order of label columns and logits.
        mapping: raw name -> genre, or None for a name that is known and dropped. A genre's own name needs no entry.
        labels: ``all``: a poster has every genre that its raw names lead to. ``first``: it has one, that of its first
            raw name in alphabetical order. Names that are unknown or dropped are passed over, and ``N/A`` counts only
            where no other name does, so a poster has its one genre whenever it would have any.

    Raises:
        UserError: no genre, an empty or repeated name, a mapping that contradicts the list, or other `labels`; all
            problems at once.

    >>> small = Vocabulary("small", ("Drama", "Music"), {"Musical": "Music", "N/A": None})
    >>> small.encode(["Musical"]).tolist()
    [0.0, 1.0]
    >>> small.map(["Drama", "musical", "N/A", "Noir"])
    (['Drama', 'Music'], ['Noir'])
    >>> Vocabulary("mine", ("Sci-Fi", "Sport")).map(["science fiction", "Sports", "TV Movie"])
    (['Sci-Fi', 'Sport'], [])
    >>> Vocabulary("one", ("Drama", "Action"), labels="first").map(["Drama", "Action"])
    (['Action'], [])
    """

    name: str
    genres: tuple[str, ...]
    mapping: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    labels: Labels = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "genres", tuple(self.genres))
        object.__setattr__(self, "mapping", dict(self.mapping))
        problems = list(islice(_problems(self.genres, self.mapping), _MOST_PROBLEMS))
        if self.labels not in get_args(Labels):
            problems.append(f"labels must be {' or '.join(get_args(Labels))}, got {shown(self.labels)}")
        if problems:
            raise UserError(
                f"vocabulary {shown(self.name)} cannot be used:\n  " + "\n  ".join(problems) + "\nGenres are a list of "
                "different names; the mapping leads raw names to names of that list or to null. Mend its file."
            )

    @classmethod
    def load(cls, name_or_file: str | Path) -> Vocabulary:
        """Read a built-in vocabulary by its name, or a YAML or JSON file by its path.

        Raises:
            UserError: neither a built-in name nor a readable vocabulary file.
        """
        text = str(name_or_file)
        if text.endswith(_FILE_SUFFIXES) or file_here(text) is not None:
            mend = (
                "give the path of a YAML file with name, genres and mapping, or a built-in name: "
                f"{', '.join(builtin_vocabularies())}"
            )
            return cls.from_json(_parse(read_text(text, limit=LIMIT, mend=mend), text), where=text)
        if text not in builtin_vocabularies():
            known = builtin_vocabularies()
            raise UserError(
                f"there is no vocabulary {text!r}{did_you_mean(text, known)}.\nBuilt in: {', '.join(known)}.\n"
                "Choose one of them with --vocabulary NAME, or give the path of your own file: --vocabulary mine.yaml"
            )
        resource = resources.files("mmposter.configs") / "vocabularies" / f"{text}.yaml"
        return cls.from_json(_parse(resource.read_text(encoding="utf-8"), text), where=text)

    @classmethod
    def from_json(cls, value: Any, *, where: str = "vocabulary") -> Vocabulary:
        """Build it from the dict that `to_json` gives; `where` names the file in an error.

        Raises:
            UserError: keys or types are not those of a vocabulary.
        """
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: a vocabulary is a mapping with name, genres and mapping, not {shown(value)}.")
        unknown = sorted(str(key) for key in set(value) - set(_KEYS))
        genres, mapping = value.get("genres"), value.get("mapping") or {}
        problems = [f"unknown key {shown(key)} (allowed: {', '.join(_KEYS)})" for key in unknown[:5]]
        if not isinstance(value.get("name"), str):
            problems.append(f"name must be a text, got {shown(value.get('name'))}")
        if not isinstance(genres, list | tuple) or not all(isinstance(genre, str) for genre in genres):
            problems.append(f"genres must be a list of texts, got {shown(genres)}")
        targets_are_texts = isinstance(mapping, Mapping) and all(
            isinstance(raw, str) and isinstance(genre, str | None) for raw, genre in mapping.items()
        )
        if not targets_are_texts:
            problems.append(f"mapping must lead texts to texts or null, got {shown(mapping)}")
        if problems:
            raise UserError(
                f"{where} is no vocabulary:\n  " + "\n  ".join(problems) + "\nMend these lines of the file."
            )
        # Files from before the key was there mean all.
        return cls(value["name"], tuple(genres or ()), mapping, value.get("labels", "all"))

    def to_json(self) -> dict[str, Any]:
        """A dict of plain lists and texts, for a checkpoint or `vocabulary.json`."""
        plain = {"name": self.name, "genres": list(self.genres), "mapping": dict(self.mapping)}
        return plain if self.labels == "all" else {**plain, "labels": self.labels}

    def __len__(self) -> int:
        return len(self.genres)

    @cached_property
    def _lookup(self) -> dict[str, str | None]:
        return {strict_name(name): genre for name, genre in self._names.items()}

    @cached_property
    def _names(self) -> dict[str, str | None]:
        """Every name that is known, as written, and its genre; a genre's own name wins."""
        return {**self.mapping, **{genre: genre for genre in self.genres}}

    @cached_property
    def _known(self) -> KnownNames:
        return KnownNames(self._names)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {genre: index for index, genre in enumerate(self.genres)}

    def map(self, raw: Iterable[str]) -> tuple[list[str], list[str]]:
        """Lead the raw names of one poster to its genres; what comes out is led to itself.

        Returns:
            The genres, each once, in the vocabulary's order, one at most where `labels` is ``first``; and the raw names
            that it does not know, as written, or of a joined name (``Action/Zombie``) the parts.
        """
        keys: dict[str, None] = {}
        unknown: list[str] = []
        for name in raw:
            found, unfound = self._known.find(name)
            keys |= dict.fromkeys(found)
            unknown += unfound
        if not keys and not unknown:
            keys = {strict_name(NO_GENRE): None}
        # From key to genre, without the names that lead nowhere.
        led = {key: genre for key in keys if (genre := self._lookup.get(key)) is not None}
        if self.labels == "first" and led:
            return [led[min(led, key=lambda key: (key == strict_name(NO_GENRE), key))]], unknown
        return sorted(set(led.values()), key=self._index.__getitem__), unknown

    def nearest(self, name: str) -> str | None:
        """The known name that an unknown one may have been meant to be; None where none is near."""
        return self._known.nearest(name)

    def encode(self, names: Iterable[str]) -> NDArray[np.float32]:
        """Multi-hot row of G float32 for raw names or genres.

        Raises:
            UserError: a name that neither the genres nor the mapping know.
        """
        genres, unknown = self.map(names)
        if unknown:
            raise UserError(
                f"vocabulary {self.name!r} does not know {', '.join(map(repr, unknown))}.\n"
                f"Its genres: {', '.join(self.genres)}.\nPrepare the data with a vocabulary that has these names."
            )
        import numpy as np

        row = np.zeros(len(self.genres), dtype=np.float32)
        row[[self._index[genre] for genre in genres]] = 1.0
        return row

    def encode_all(self, rows: Iterable[Iterable[str]]) -> NDArray[np.float32]:
        """Multi-hot matrix N x G float32; also right for no rows at all (0 x G)."""
        import numpy as np

        encoded = [self.encode(names) for names in rows]
        return np.array(encoded, np.float32).reshape(len(encoded), len(self.genres))

    def decode(self, multi_hot: ArrayLike) -> list[str]:
        """Genres of a row of G values, those that are not 0, in the vocabulary's order.

        Raises:
            ValueError: the row has not G values.
        """
        import numpy as np

        row = np.asarray(multi_hot)
        if row.shape != (len(self.genres),):
            raise ValueError(f"multi_hot must have shape ({len(self.genres)},), got {row.shape}")
        return [self.genres[index] for index in np.flatnonzero(row)]

    def same_labels(self, other: Vocabulary) -> bool:
        """Whether a label column means the same here and there; the raw mapping and the name may differ."""
        return (self.genres, self.labels) == (other.genres, other.labels)

    def require_same(self, other: Vocabulary, *, mine: str = "the checkpoint", theirs: str = "the data set") -> None:
        """Refuse to go on when the label columns of two sides mean different things.

        Genres, their order and `labels` are compared: they say what a logit means. The raw mapping and the name may
        differ.

        Raises:
            UserError: naming the genres that only one side has, or the first place where the order differs, or the
                labels where only these differ.
        """
        if self.same_labels(other):
            return
        if self.genres == other.genres:
            raise UserError(
                f"{mine} (vocabulary {self.name!r}) has labels {self.labels}, {theirs} (vocabulary {other.name!r}) "
                f"has labels {other.labels}: with first a poster has one genre, with all it may have several.\n"
                "Prepare the data again with the other vocabulary: "
                "mmposter prepare SOURCE --out DATA --vocabulary NAME_OR_FILE"
            )
        lines = [f"{mine} (vocabulary {self.name!r}) and {theirs} (vocabulary {other.name!r}) differ in their genres:"]
        for side, ours, others in ((mine, self, other), (theirs, other, self)):
            only = [genre for genre in ours.genres if genre not in others._index]
            if only:
                lines.append(f"  only {side} has: {', '.join(only)}")
        if set(self.genres) == set(other.genres):
            place = next(i for i, (a, b) in enumerate(zip(self.genres, other.genres, strict=True)) if a != b)
            lines.append(
                f"  same genres, other order: number {place + 1} is {self.genres[place]!r} in {mine} and "
                f"{other.genres[place]!r} in {theirs}"
            )
        lines.append(
            "Both must have the same genres in the same order. Prepare the data again with the other vocabulary: "
            "mmposter prepare SOURCE --out DATA --vocabulary NAME_OR_FILE"
        )
        raise UserError("\n".join(lines))


def builtin_vocabularies() -> list[str]:
    """Names that `Vocabulary.load` knows without a file, sorted."""
    folder = resources.files("mmposter.configs") / "vocabularies"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _problems(genres: Sequence[str], mapping: Mapping[str, str | None]) -> Iterable[str]:
    if not genres:
        yield "the list of genres is empty"
    if len(genres) > _MOST_GENRES or len(mapping) > _MOST_NAMES:
        yield f"it has {len(genres)} genres and {len(mapping)} raw names; {_MOST_GENRES} and {_MOST_NAMES} are allowed"
        return
    if longest := [name for name in (*genres, *mapping) if len(name) > _LONGEST]:
        yield f"names have {_LONGEST} letters at most, got {shown(longest[0])}"
    known = set(genres)
    seen: dict[str, str] = {}
    for genre in genres:
        if not genre.strip():
            yield "a genre has an empty name"
        elif strict_name(genre) in seen:
            yield f"genre {genre!r} is there twice" + (
                f" (as {seen[strict_name(genre)]!r})" if seen[strict_name(genre)] != genre else ""
            )
        seen.setdefault(strict_name(genre), genre)
    raw_seen: dict[str, str] = {}
    for raw, target in mapping.items():
        if strict_name(raw) in raw_seen:
            yield f"raw name {shown(raw)} is mapped twice (as {shown(raw_seen[strict_name(raw)])})"
        raw_seen.setdefault(strict_name(raw), raw)
        if target is not None and target not in known:
            yield f"{shown(raw)} is mapped to {shown(target)}, which is no genre of the list"
        elif strict_name(raw) in seen and seen[strict_name(raw)] != target:
            yield f"{shown(raw)} is a genre of the list and is mapped to {shown(target)}"


def _parse(text: str, where: str) -> Any:
    """YAML or JSON text as plain lists and dicts; a key given twice is an error in YAML."""
    if where.endswith(".json"):
        return parse_json(text, where, mend="mend the file at that place")
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{where} is not valid YAML ({error}). Mend the file at that place.") from error
