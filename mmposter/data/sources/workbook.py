"""Tables as Excel keeps them (.xlsx): the first sheet, each cell as the text that a person sees.

A workbook is a zip archive of XML, so a small file may unpack to more than the memory holds: what its entries say they
unpack to is added up first, and `zipfile` reads no more of an entry than that. Entities that multiply are refused by
expat itself (2.4.1 and later).
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import Any

from mmposter.data.sources.base import Issue
from mmposter.errors import UserError
from mmposter.visible import visible

ZIP, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_UNPACKED, _ENTRIES = 128 * 2**20, 5_000
_ROWS, _COLUMNS = 200_000, 100
_ZEROS, _DECIMALS, _YEAR = re.compile(r"0+"), re.compile(r"(?:#,##)?0\.(0{1,15})"), re.compile(r"yyyy(;@)?", re.I)
_SAVE = "Open it and save it as CSV (UTF-8), then give that file."


def workbook_rows(data: bytes, source: Path, issues: list[Issue]) -> Iterator[tuple[int, list[str]]]:
    """The rows of the first sheet that are not empty, each with its number; columns end with the first row's last name.

    Text is as it stands; 1999.0 is 1999; a number with leading zeros or fixed decimals has them; a date is written
    1999-12-31, a cell with an error or a formula that nobody has computed is empty.

    Args:
        issues: gets an ``ignored_sheet`` for each further sheet.

    Raises:
        UserError: it is no workbook, is damaged, or unpacks to too much.
    """
    width = count = 0
    empty: tuple[Any, ...] = ()
    for number, row in enumerate(_cells(data, source, issues), 1):
        if row is empty:  # openpyxl has one for all the rows between two far ones
            continue
        texts = [_text(cell).strip() for cell in row]
        filled = max((place for place, text in enumerate(texts, 1) if text), default=0)
        if not filled:
            empty = row
            continue
        width = width or filled
        count += 1
        if count > _ROWS:
            raise UserError(f"{source} has more than {_ROWS:,} rows.\n{_SAVE}")
        yield number, texts[: max(width, filled)] + [""] * (width - len(texts))


def _cells(data: bytes, source: Path, issues: list[Issue]) -> Iterator[tuple[Any, ...]]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UserError(f"{source} is an Excel table, which needs openpyxl; run: pip install openpyxl") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > _UNPACKED or len(entries) > _ENTRIES:
            raise UserError(
                f"{source} unpacks to {unpacked / 2**20:,.0f} MiB; a table may have {_UNPACKED // 2**20} MiB.\n{_SAVE}"
            )
        if not any(entry.filename == "xl/workbook.xml" for entry in entries):
            raise UserError(f"{source} is a zip archive, and no table of Excel (.xlsx).\n{_SAVE}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that a table does not need
            book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            first, *others = book.worksheets
            issues += [Issue("ignored_sheet", sheet.title, f"only {first.title!r} was read") for sheet in others]
            first.reset_dimensions()  # what the file says of its size need not be true
            yield from islice(first.iter_rows(max_col=_COLUMNS), 2**20)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # openpyxl has no class for a damaged file: KeyError, ValueError, ParseError, ...
        reason = visible(str(error))[:200]
        raise UserError(f"{source} cannot be read as a table of Excel ({reason}).\n{_SAVE}") from error


def _text(cell: Any) -> str:
    """What a person sees in a cell."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    form = str(cell.number_format)
    if isinstance(value, datetime | date):
        if _YEAR.fullmatch(form):
            return str(value.year)
        bare = isinstance(value, datetime) and value.time() == time()
        return str(value.date() if isinstance(value, datetime) and bare else value)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        if decimals := _DECIMALS.fullmatch(form):
            return f"{value:.{len(decimals[1])}f}"
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        if isinstance(value, int):
            return str(value).zfill(len(form) if _ZEROS.fullmatch(form) else 0)
        return f"{value:.15g}"
    return str(value)
