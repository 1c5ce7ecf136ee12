"""Copies of what is in a store: up to date, sent whole and in order, and nothing is lost or written elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mmposter import mirrors
from mmposter.cli import app
from mmposter.errors import UserError
from mmposter.mirrors import Mirror, as_path, local_copy, send_all
from mmposter.objects import put_object


@pytest.fixture
def machine(tmp_path, bucket):
    """The copy of a folder on a machine of this name."""

    def copy(name: str, key: str = "runs/one") -> Mirror:
        return Mirror(bucket.link(key), tmp_path / name)

    return copy


def write(mirror: Mirror, name: str, text: str) -> Path:
    file = mirror.path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_what_one_machine_writes_another_reads(machine, bucket):
    here = machine("here")
    here.pull()
    write(here, "a/b.csv", "1")
    write(here, "model.json", "{}")
    assert here.push() == 2
    assert here.push() == 0
    assert bucket.keys() == ["runs/one/a/b.csv", "runs/one/model.json"]
    there = machine("there")
    there.pull()
    assert (there.path / "a/b.csv").read_text() == "1"
    write(there, "a/b.csv", "2")
    (there.path / "model.json").unlink()
    assert there.push() == 2
    assert bucket.keys() == ["runs/one/a/b.csv"]
    again = machine("here")
    again.pull()
    assert (again.path / "a/b.csv").read_text() == "2"
    assert not (again.path / "model.json").exists()


def test_nothing_is_fetched_twice(machine, bucket, monkeypatch):
    bucket.put("runs/one/a", b"1")
    machine("here").pull()
    monkeypatch.setattr(mirrors, "fetch_object", lambda *args: pytest.fail("it was fetched"))
    machine("here").pull()
    assert machine("here").push() == 0


def test_a_file_that_describes_others_arrives_after_them(machine, bucket, monkeypatch):
    sent = []
    monkeypatch.setattr(mirrors, "put_object", lambda file, link: (sent.append(link), put_object(file, link))[1])
    here = machine("here")
    for second, name in enumerate(["z.safetensors", "b.csv", "a/model.json", "README.md"]):
        file = write(here, name, name)
        os.utime(file, ns=(second, second * 10**9))
    here.push()
    assert sent == [bucket.link(f"runs/one/{name}") for name in ("z.safetensors", "b.csv", "a/model.json", "README.md")]


def test_what_was_not_sent_stays_and_is_sent_later(machine, bucket):
    bucket.put("runs/one/a", b"1")
    bucket.put("runs/one/b", b"1")
    killed = machine("here")
    killed.pull()
    write(killed, "a", "newer")
    write(killed, "c", "new")
    after = machine("here")
    after.pull()
    assert (after.path / "a").read_text() == "newer"
    assert after.push() == 2
    assert (bucket.get("runs/one/a"), bucket.get("runs/one/c")) == (b"newer", b"new")


def test_where_both_were_changed_the_store_is_right(machine, bucket, capsys):
    bucket.put("runs/one/a", b"1")
    here = machine("here")
    here.pull()
    write(here, "a", "mine")
    bucket.put("runs/one/a", b"theirs")
    machine("here").pull()
    assert (here.path / "a").read_text() == "theirs"
    assert "was changed in" in " ".join(capsys.readouterr().err.split())


def test_what_was_removed_in_the_store_is_removed_here(machine, bucket):
    for name in "ab":
        bucket.put(f"runs/one/{name}", b"1")
    here = machine("here")
    here.pull()
    write(here, "b", "changed here")
    for name in "ab":
        bucket.remove(f"runs/one/{name}")
    machine("here").pull()
    assert not (here.path / "a").exists()
    assert (here.path / "b").exists()


def test_a_cache_that_was_emptied_empties_no_store(machine, bucket):
    bucket.put("runs/one/a", b"1")
    here = machine("here")
    here.pull()
    shutil.rmtree(here.path)
    here.push()
    assert bucket.keys() == ["runs/one/a"]
    machine("here").pull()
    assert (here.path / "a").read_text() == "1"


def test_hidden_files_and_tables_stay_here(machine, bucket):
    here = machine("here", "data")
    for name in (".one.tmp", "features/tables/cnn/map.npy", "features/cnn/shards/a", "features/.lock"):
        write(here, name, "1")
    here.push()
    assert bucket.keys() == ["data/features/cnn/shards/a"]


def test_a_file_and_what_belongs_to_it(machine, bucket):
    bucket.put("out.csv", b"1")
    bucket.put("out.csv.abc.partial", b"2")
    bucket.put("out.csv-other", b"3")
    bucket.put("outer/x", b"4")
    here = machine("here", "out.csv")
    here.pull()
    assert here.path.read_text() == "1"
    assert sorted(file.name for file in here.path.parent.iterdir() if not file.name.startswith(".")) == [
        "out.csv",
        "out.csv.abc.partial",
    ]
    (here.path.parent / "out.csv.abc.partial").unlink()
    here.path.write_text("finished")
    here.push()
    assert bucket.keys() == ["out.csv", "out.csv-other", "outer/x"]
    assert bucket.get("out.csv") == b"finished"


def test_no_name_of_a_store_leads_out_of_the_copy(machine, bucket, tmp_path):
    bucket.put("runs/one/../../../../escaped", b"1")
    with pytest.raises(UserError, match="is no path below"):
        machine("here").pull()
    assert not list(tmp_path.rglob("escaped"))


def test_a_full_disk_is_seen_before_the_first_byte(machine, bucket, monkeypatch):
    bucket.put("runs/one/a", b"1" * 1000)
    usage = shutil.disk_usage("/")._replace(free=999)
    monkeypatch.setattr(mirrors.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(mirrors, "fetch_object", lambda *args: pytest.fail("it was fetched"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        machine("here").pull()


def test_a_bucket_that_is_not_there(machine, bucket):
    with pytest.raises(UserError, match="there is no such bucket"):
        local_copy("s3://no-such-bucket/run")


@pytest.mark.parametrize("link", ["s3://films", "s3://films/", "s3://films/a/.."])
def test_a_whole_bucket_or_no_name_is_refused(link, tmp_path):
    with pytest.raises(UserError):
        Mirror(link, tmp_path)


def test_as_path(bucket, tmp_path):
    assert as_path(tmp_path) == tmp_path
    assert as_path("a/b") == Path("a/b")
    bucket.put("data/x", b"1")
    assert (as_path(bucket.link("data")) / "x").read_text() == "1"
    assert as_path(Path(bucket.link("data"))) == as_path(bucket.link("data"))


def test_a_store_that_cannot_be_written_says_where_the_copy_is(bucket, monkeypatch):
    path = local_copy(bucket.link("runs/one"))
    path.mkdir()
    (path / "a").write_text("1")

    def refuse(*args):
        raise UserError("the store does not allow it")

    monkeypatch.setattr(mirrors, "put_object", refuse)
    with pytest.raises(UserError, match="Nothing is lost") as failed:
        send_all()
    assert str(path.parent) in str(failed.value)
    monkeypatch.undo()


def test_a_link_that_became_a_path_is_refused_in_python(tmp_path, monkeypatch):
    from mmposter.inference.predictions import PredictionFile

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"mmposter\.mirrors\.local_copy"), PredictionFile(Path("s3://films/out.csv")):
        pass
    assert not list(tmp_path.iterdir())


def test_a_command_takes_links_for_its_paths(bucket, tmp_path, drawn_posters):
    from typer.testing import CliRunner

    table = tmp_path / "t.csv"
    rows = [f"{path},m{number},{['Drama', 'Horror'][number % 2]}" for number, path in enumerate(drawn_posters)]
    table.write_text("image,id,genres\n" + "\n".join(rows) + "\n")
    done = CliRunner().invoke(app, ["prepare", str(table), "--out", bucket.link("data"), "--format", "csv"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith(bucket.link("data/report.md"))
    assert "data/manifest.parquet" in set(bucket.keys())
    assert not Path("s3:").exists()
    wrong = CliRunner().invoke(app, ["extract", bucket.link("data"), "--branches", "cnn", "--offline"])
    assert wrong.exit_code != 0
    assert "Leave --offline out" in str(wrong.exception)


@pytest.fixture
def drawn_posters(tmp_path):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (48, 36, 3), dtype=np.uint8)).save(path)
    return paths
