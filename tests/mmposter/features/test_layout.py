"""Tables on disk: the same inputs as without them, in any order, mapped or by windows; damage is told."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mmposter.errors import UserError
from mmposter.features import layout, windowed
from mmposter.features.columns import Column, ColumnWriter
from mmposter.features.layout import TABLES, find_table, lay_out, pack
from mmposter.features.ragged import batch_of, take
from mmposter.features.windowed import Windowed, order_on_disk, window_order

DIGEST = "ab" * 32
POSTERS = 90


@pytest.fixture(scope="module")
def inputs():
    """90 posters with 0 to 6 lines each, padded."""
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 7, (POSTERS,), generator=generator)
    mask = torch.arange(6)[None] < counts[:, None]
    return {
        "cnn.pooled": torch.rand(POSTERS, 40, generator=generator),
        "style.gram": torch.rand(POSTERS, 4, 4, generator=generator),
        "ocr.embeddings": torch.rand(POSTERS, 6, 8, generator=generator) * mask[..., None],
        "ocr.geometry": torch.rand(POSTERS, 6, 2, generator=generator).half() * mask[..., None],
        "ocr.mask": mask,
    }


def parts(inputs, order=None, size=7):
    rows = np.arange(POSTERS) if order is None else order
    for start in range(0, POSTERS, size):
        at = torch.from_numpy(rows[start : start + size])
        yield {name: values[at] for name, values in inputs.items()}


@pytest.fixture
def small(monkeypatch):
    """Blocks of 4 rows and windows of 16 posters, as a long table has them."""
    monkeypatch.setattr("mmposter.features.columns.BLOCK_BYTES", 4 * 160)
    monkeypatch.setattr(windowed, "CHUNK", 4)
    monkeypatch.setattr(windowed, "WINDOW", 16)


def same(found, expected):
    assert found.keys() == expected.keys()
    return [name for name in found if not torch.equal(found[name], expected[name])]


def test_what_is_on_disk_is_what_is_in_memory(tmp_path, inputs):
    usable = np.arange(POSTERS) % 9 > 0
    assert find_table(tmp_path, "ocr", DIGEST, POSTERS) is None
    lay_out(tmp_path, "ocr", DIGEST, usable, None, lambda: parts(inputs))
    table = find_table(tmp_path, "ocr", DIGEST, POSTERS)
    assert table.usable.tolist() == usable.tolist()
    table.check_all()
    found, known = table.tensors(""), pack(parts(inputs, size=90), POSTERS)
    rows = torch.tensor([5, 0, 89, 5, 41])
    assert same(batch_of(found, rows), batch_of(known, rows)) == []
    assert isinstance(found["cnn.pooled"], torch.Tensor)
    (folder,) = (tmp_path / TABLES).iterdir()
    assert np.array_equal(np.load(folder / "style.gram.npy"), inputs["style.gram"].numpy())  # as any program reads it


def test_a_long_table_gives_the_same_by_windows(tmp_path, inputs, small):
    order = order_on_disk(np.array([row % 3 == 0 for row in range(POSTERS)], np.int8))
    lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), order, lambda: parts(inputs, order))
    table = find_table(tmp_path, "ocr", DIGEST, POSTERS)
    found, known = table.tensors("mend it"), pack(parts(inputs), POSTERS)
    assert isinstance(found["cnn.pooled"], Windowed)
    held = found["cnn.pooled"]._blocks.buffer
    assert len(held) < POSTERS, "not all of it is in memory"
    generator = torch.Generator().manual_seed(0)
    for rows in (torch.arange(POSTERS), torch.tensor([3]), *torch.randperm(POSTERS, generator=generator).split(13)):
        assert same(batch_of(found, rows), batch_of(known, rows)) == []
    dealt = torch.randperm(POSTERS, generator=generator)
    assert same(batch_of(take(found, dealt), rows), batch_of(take(known, dealt), rows)) == []


def test_an_epoch_reads_every_block_about_once(tmp_path, small, monkeypatch):
    values = np.arange(4000, dtype=np.float32).reshape(100, 40)
    writer = ColumnWriter(tmp_path / "x.npy", values)
    writer.append(values)
    column, read = writer.finish(), []
    one = Column.read_block
    monkeypatch.setattr(
        Column, "read_block", lambda self, s, number, into: (read.append(number), one(self, s, number, into))[1]
    )
    places = np.arange(100)
    order = window_order(np.arange(80), places, torch.Generator().manual_seed(1))
    column = Windowed(column, 16, torch.from_numpy(places))
    for batch in np.array_split(order, 10):
        assert torch.equal(column.index_select(0, torch.from_numpy(batch))[:, 0], torch.from_numpy(batch) * 40.0)
    assert sorted(read) == list(range(20))


def test_a_random_order_keeps_neighbours_together_and_differs_by_epoch(small):
    rows, places = np.arange(10, 74), np.random.default_rng(0).permutation(100)
    orders = [window_order(rows, places, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()
    assert sorted(orders[0].tolist()) == rows.tolist()
    by_place = rows[np.argsort(places[rows])].tolist()
    chunks = {row: place // 4 for place, row in enumerate(by_place)}
    for window in np.array_split(orders[0], 4):
        assert len({chunks[row] for row in window.tolist()}) == 4, "a window is four whole chunks"


@pytest.mark.parametrize("large", [False, True])
def test_a_flipped_bit_is_told_with_what_to_do(tmp_path, inputs, small, large):
    order = np.arange(POSTERS) if large else None
    lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), order, lambda: parts(inputs, order))
    (file,) = (tmp_path / TABLES).glob("*/cnn.pooled.npy")
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    table = find_table(tmp_path, "ocr", DIGEST, POSTERS)
    if large:
        found = table.tensors("remove it")["cnn.pooled"]
        found.index_select(0, torch.tensor([0]))
        with pytest.raises(UserError, match=r"cnn\.pooled\.npy is damaged .*checksum differs.*remove it"):
            found.index_select(0, torch.tensor([POSTERS - 1]))
    else:
        with pytest.raises(ValueError, match="checksum differs"):
            table.check_all()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("cnn.pooled.npy", lambda data: data[:-4]),
        ("ocr.mask.npy", lambda data: data[:-8] + b"\xff" * 8),
        ("usable.npy", lambda data: data[:-1]),
        ("table.json", lambda data: data.replace(b"<f4", b"|O8")),
        ("table.json", lambda data: data.replace(b'"cnn.pooled"', b'"../pooled"')),
        ("table.json", lambda data: data.replace(b"90", b"91")),
        ("checksums.npy", lambda data: data[:-4]),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, inputs, file, change):
    lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), None, lambda: parts(inputs))
    (path,) = (tmp_path / TABLES).glob(f"*/{file}")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"is damaged .*remove .*laid out again"):
        find_table(tmp_path, "ocr", DIGEST, POSTERS)


@pytest.fixture
def full_disk(monkeypatch):
    """A disk on which the second block of a column finds no room."""
    append = ColumnWriter.append

    def cut(self, rows):
        if self._file is not None and self._rows:
            raise OSError(28, "No space left on device")
        append(self, rows)

    monkeypatch.setattr(ColumnWriter, "append", cut)


def test_where_there_is_no_room_it_is_made_in_memory(tmp_path, inputs, full_disk):
    table = lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), None, lambda: parts(inputs))
    rows = torch.tensor([4, 88, 17])
    assert same(batch_of(table.tensors(""), rows), batch_of(pack(parts(inputs), POSTERS), rows)) == []
    assert find_table(tmp_path, "ocr", DIGEST, POSTERS) is None
    assert list((tmp_path / TABLES).iterdir()) == []


def test_a_long_one_does_not_fill_the_memory_in_its_place(tmp_path, inputs, full_disk, monkeypatch):
    monkeypatch.setattr(layout, "LARGE", POSTERS - 1)
    order = np.arange(POSTERS)
    with pytest.raises(OSError, match="No space left") as caught:
        lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), order, lambda: parts(inputs, order))
    assert caught.value.filename == str(tmp_path / TABLES)
    assert list((tmp_path / TABLES).iterdir()) == []


def test_processes_that_share_an_open_file_do_not_move_its_position(tmp_path, inputs, small):
    """As loaders do that are forked after the first batch."""
    order = np.arange(POSTERS)
    lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), order, lambda: parts(inputs, order))
    column = find_table(tmp_path, "ocr", DIGEST, POSTERS).tensors("")["cnn.pooled"]
    column.index_select(0, torch.tensor([0]))
    for row in (50, 3, 80):
        assert torch.equal(column.index_select(0, torch.tensor([row])), inputs["cnn.pooled"][[row]])
        assert column._blocks._stream.tell() == 0


def test_a_stopped_one_leaves_nothing_and_old_ones_go(tmp_path, inputs):
    def stopped():
        yield from parts(inputs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), None, stopped)
    assert list((tmp_path / TABLES).iterdir()) == []
    for number in range(6):
        lay_out(tmp_path, "ocr", f"{number}" * 64, np.ones(POSTERS, bool), None, lambda: parts(inputs))
        folder = tmp_path / TABLES / f"ocr-{str(number) * 24}"
        os.utime(folder, (number, number))
    lay_out(tmp_path, "ocr-lines", DIGEST, np.ones(POSTERS, bool), None, lambda: parts(inputs))
    there = sorted(folder.name[-1] for folder in (tmp_path / TABLES).glob("ocr-[0-9]*"))
    assert len(there) == 4
    assert "5" in there


def test_another_process_may_be_as_quick(tmp_path, inputs):
    def other():
        lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), None, lambda: parts(inputs))
        yield from parts(inputs)

    table = lay_out(tmp_path, "ocr", DIGEST, np.ones(POSTERS, bool), None, other)
    table.check_all()
    assert len(list((tmp_path / TABLES).iterdir())) == 1
