"""The file of a pack: a zip, whose members are compressed by themselves, with ``pack.json`` to say what they are.

Members: ``pack.json``; ``manifest.parquet`` and ``vocabulary.json`` as in a prepared folder; for each field of each
extractor ``EXTRACTOR/FIELD.xz`` (rows of all posters, one poster after another; see `mmposter.packs.codec`) and,
where posters have other than one row, ``EXTRACTOR/FIELD.counts.xz``. Nothing in it is code, and nothing in it is taken
on trust: see `mmposter.packs.facts`.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmposter.data.dataset import MANIFEST, VOCABULARY
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.files.formats import require_format
from mmposter.files.strict_json import mapping, parse_json, shown, whole
from mmposter.files.strict_values import fitting
from mmposter.packs.facts import Facts
from mmposter.shell import command_line

KIND, FORMAT, SUFFIX = "mmposter-pack", 1, ".mmpack"
FACTS = "pack.json"

_MOST_FACTS = 8 * 2**20  # bytes of pack.json
_ENCRYPTED = 1


def write_archive(target: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip atomically; equal members give equal bytes."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # without the date of today
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)


class Archive:
    """A pack that is read.

    Attributes:
        facts: what ``pack.json`` says; its arrays are not larger than a pack of this size may have.

    Raises:
        UserError: it is no pack, is damaged, is of a newer format, or has names or sizes that no pack has.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with self.reading():
            self._size = file.stat().st_size
            said = mapping(parse_json(self._read([FACTS], most=_MOST_FACTS)[FACTS], f"{file}: {FACTS}"), FACTS)
            if said.get("kind") != KIND:
                raise ValueError(f"kind {shown(said.get('kind'))}")
            require_format(file, whole(said.get("format"), "format"), FORMAT)
            self.facts = fitting(Facts, said)
            self.facts.require_size(self._size)

    def members(self) -> dict[str, bytes]:
        """All members by name, their checksums compared; without those that ``pack.json`` does not know.

        Raises:
            UserError: the file is damaged.
        """
        with self.reading():
            return self._read([FACTS, MANIFEST, VOCABULARY, *(f"{path}.xz" for path in self.facts.headers())])

    def _read(self, names: Sequence[str], *, most: int | None = None) -> dict[str, bytes]:
        """The members of these names, as they are stored: no member unpacks to anything here."""
        with zipfile.ZipFile(self.file) as archive:
            entries = archive.infolist()
            here = {entry.filename: entry for entry in entries}
            if len(here) != len(entries):
                raise ValueError("a member is there twice")
            chosen = [here[name] for name in names]
            for entry in chosen:
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
                    raise ValueError(f"the member {entry.filename} is not stored as it is")
                if most is not None and entry.file_size > most:
                    raise ValueError(f"the member {entry.filename} has more than {most:,} bytes")
            # Stored members lie one after another; where they lie on each other, they add up to more than the file.
            if sum(entry.file_size for entry in chosen) > self._size:
                raise ValueError("its members overlap")
            return {entry.filename: archive.read(entry) for entry in chosen}

    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads the pack: what goes wrong is the pack's fault, and said so.

        Raises:
            UserError: in place of what Python and the libraries say of a file that is damaged, or none of ours.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # of a damaged zip, LZMA stream or JSON, anything
            raise UserError(
                f"{self.file} is no pack of mmposter, or is damaged ({type(error).__name__}: {error}).\n"
                f"Get it again, or make one: {command_line('mmposter', 'pack', 'DATA', '--out', f'FILE{SUFFIX}')}"
            ) from error
