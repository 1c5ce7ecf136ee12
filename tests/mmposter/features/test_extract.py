"""Extraction in this process: what is computed, what is kept, what a bad poster or a kill costs."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest

from mmposter.errors import UserError
from mmposter.features.extract import extract, write_report
from mmposter.features.store import ExtractorStore, Failure
from mmposter.features.work import run_extractor


def records(root, extractor, posters):
    store = ExtractorStore(root, extractor.name, extractor.fingerprint())
    return store.read([poster.sha256 for poster in posters])


def test_every_poster_gets_the_record_of_its_own_picture(tmp_path, make_posters, colours, small_parts):
    import numpy as np
    from PIL import Image

    posters, extractor = make_posters(10), colours()
    (report,) = extract(posters, [extractor], tmp_path / "store", quiet=True)
    assert (report.computed, report.present, report.failed) == (10, 0, {})
    assert [len(batch) for batch in extractor.batches] == [4, 4, 2]
    for poster, record in zip(posters, records(tmp_path / "store", extractor, posters), strict=True):
        pixels = np.asarray(Image.open(poster.path))
        assert record["mean"][0] == pytest.approx(pixels.mean(axis=(0, 1)), rel=1e-6)
        assert record["rows"].tolist() == [[len(pixels)] * 2] * (len(pixels) % 3)


def test_what_is_there_is_not_computed_again_nor_its_model_loaded(tmp_path, make_posters, colours):
    posters = make_posters(6)
    extract(posters, [colours()], tmp_path / "store", quiet=True)
    again = colours()
    (report,) = extract(posters, [again], tmp_path / "store", quiet=True)
    assert (report.computed, report.present, again.starts, again.seen) == (0, 6, 0, 0)
    other = colours(setting=2)
    assert extract(posters, [other], tmp_path / "store", quiet=True)[0].computed == 6


def test_an_interrupted_extraction_goes_on_and_ends_the_same(
    tmp_path, make_posters, colours, assert_same_records, small_parts
):
    posters = make_posters(18)
    extract(posters, [colours()], tmp_path / "whole", quiet=True)
    first = colours(stops_at=3)
    with pytest.raises(KeyboardInterrupt):
        extract(posters, [first], tmp_path / "store", quiet=True)
    second = colours()
    (report,) = extract(posters, [second], tmp_path / "store", quiet=True)
    assert (report.present, report.computed) == (first.seen, second.seen) == (8, 10)
    assert_same_records(records(tmp_path / "store", second, posters), records(tmp_path / "whole", second, posters))


def test_new_posters_are_added_to_old_ones(tmp_path, make_posters, colours):
    posters = make_posters(9)
    extract(posters[:5], [colours()], tmp_path / "store", quiet=True)
    later = colours()
    extract(posters, [later], tmp_path / "store", quiet=True)
    assert later.seen == 4


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_union_of_shards_is_the_whole(
    tmp_path, make_posters, colours, lightness, assert_same_records, small_parts, count
):
    """Record by record, batch-mates included; and no shard waits for a source's records that another one makes."""
    posters = make_posters(29)
    whole = colours()
    extract(posters, [whole, lightness(whole)], tmp_path / "whole", quiet=True)
    seen = 0
    for part in reversed(range(count)):
        source = colours()
        reports = extract(posters, [source, lightness(source)], tmp_path / "store", shard=(part, count), quiet=True)
        assert [report.failed for report in reports] == [{}, {}]
        assert reports[0].computed == reports[1].computed == source.seen
        seen += source.seen
    assert seen == 29
    mates = [record["mates"][0] for record in records(tmp_path / "store", lightness(whole), posters)]
    assert mates == [4] * 28 + [1]  # whole parts
    for extractor in (whole, lightness(whole)):
        assert_same_records(
            records(tmp_path / "store", extractor, posters), records(tmp_path / "whole", extractor, posters)
        )


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_shards_that_are_none(tmp_path, shard):
    with pytest.raises(ValueError, match=r"shard must be \(i, n\) with 0 <= i < n; got"):
        extract([], [], tmp_path, shard=shard)


def test_a_poster_that_makes_the_model_raise_does_not_cost_its_neighbours(tmp_path, make_posters, colours):
    posters = make_posters(6)  # heights 48, 49, 50, 48, 49, 50
    bad = colours(chokes_on=[49])
    (report,) = extract(posters, [bad], tmp_path / "store", quiet=True)
    assert report.computed == 4
    assert report.failed == {
        name: Failure("extractor_error", "RuntimeError: this one is too tall") for name in ("001", "004")
    }
    mended = colours()
    assert extract(posters, [mended], tmp_path / "store", quiet=True)[0].computed == 2  # looked at again, alone
    assert mended.seen == 2


def test_an_interrupt_is_no_bad_poster(colours, make_posters):
    with pytest.raises(KeyboardInterrupt):
        run_extractor(colours(stops_at=1), [None])
    assert run_extractor(colours(), []) == []


def test_bad_files_are_reported_once_and_for_all(tmp_path, mixed_folder, as_posters, colours):
    folder, reasons = mixed_folder
    posters = as_posters(sorted(folder.iterdir()))
    (report,) = extract(posters, [colours()], tmp_path / "store", quiet=True)
    bad = {name.rsplit(".", 1)[0]: reason for name, reason in reasons.items() if reason}
    assert {poster: failure.reason for poster, failure in report.failed.items()} == bad
    assert report.computed == len(reasons) - len(bad)
    assert report.reasons()["truncated"] == 1
    again = colours()
    (second,) = extract(posters, [again], tmp_path / "store", quiet=True)
    assert second.failed == report.failed
    assert (second.present, again.starts) == (report.computed, 0)


def test_a_changed_or_missing_file_is_looked_at_again(tmp_path, make_posters, colours):
    posters = make_posters(5)
    kept = [posters[1].path.read_bytes(), posters[3].path.read_bytes()]
    posters[1].path.write_bytes(kept[1])
    posters[3].path.unlink()
    (report,) = extract(posters, [colours()], tmp_path / "store", quiet=True)
    assert {name: failure.reason for name, failure in report.failed.items()} == {"001": "changed", "003": "missing"}
    assert str(posters[1].path) in report.failed["001"].message
    posters[1].path.write_bytes(kept[0])
    posters[3].path.write_bytes(kept[1])
    (mended,) = extract(posters, [colours()], tmp_path / "store", quiet=True)
    assert (mended.computed, mended.present, mended.failed) == (2, 3, {})


@pytest.mark.parametrize("gone", [0, 1])
def test_a_picture_listed_twice_survives_the_loss_of_one_file(tmp_path, poster_files, as_posters, colours, gone):
    first, second = poster_files(2)
    second.write_bytes(first.read_bytes())
    posters = as_posters([first, second])
    posters[gone].path.unlink()
    extractor = colours()
    extract(posters, [extractor], tmp_path / "store", quiet=True)
    assert records(tmp_path / "store", extractor, posters)[0] is not None
    assert extract(posters, [colours()], tmp_path / "store", quiet=True)[0].present == 2


def test_an_extractor_of_records_gets_its_sources_records_and_failures(tmp_path, make_posters, colours, lightness):
    posters = make_posters(8)
    posters[2].path.write_bytes(b"")
    posters[2] = type(posters[2])(
        "002", posters[2].path, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    posters[5].path.unlink()
    source = colours()
    follower = lightness(source)
    first, second = extract(posters, [source, follower], tmp_path / "store", quiet=True)
    assert (first.computed, second.computed, follower.seen) == (6, 6, 6)
    assert {name: failure.reason for name, failure in second.failed.items()} == {"002": "empty", "005": "no_source"}
    pairs = zip(
        records(tmp_path / "store", source, posters), records(tmp_path / "store", follower, posters), strict=True
    )
    for record, value in pairs:
        assert (record is None) == (value is None)
        assert record is None or value["value"] == pytest.approx(record["mean"].mean())


def test_an_extractor_of_records_alone_says_what_it_lacks(tmp_path, make_posters, colours, lightness):
    posters = make_posters(3)
    follower = lightness(colours())
    (report,) = extract(posters, [follower], tmp_path / "store", quiet=True)
    assert report.reasons() == {"no_source": 3}
    assert "no colours record" in report.failed["000"].message
    assert follower.seen == 0


def test_a_damaged_store_stops_a_record_extractor_with_advice(tmp_path, make_posters, colours, lightness):
    posters, source = make_posters(3), colours()
    extract(posters, [source], tmp_path / "store", quiet=True)
    next(tmp_path.glob("store/colours-*/shards/*")).write_bytes(b"")
    with pytest.raises(UserError, match="the feature store is damaged"):
        extract(posters, [lightness(source)], tmp_path / "store", quiet=True)


def test_no_posters_no_model(tmp_path, colours):
    extractor = colours()
    (report,) = extract([], [extractor], tmp_path / "store", quiet=True)
    assert (report.computed, extractor.starts) == (0, 0)
    assert extract([], [], tmp_path / "store") == []


def test_the_report_names_every_poster_without_a_record(tmp_path, make_posters, colours):
    posters = make_posters(6)
    posters[0].path.unlink()
    reports = extract(posters, [colours(chokes_on=[50])], tmp_path / "store", quiet=True)
    reports[0].failed["odd"] = Failure("empty", "a | b\nc")
    text = write_report(tmp_path / "store", reports).read_text()
    assert "| colours | 3 | 0 | 4 |" in text
    assert "- extractor_error: 2" in text
    assert "| 000 | missing |" in text
    assert "| odd | empty | a \\| b c |" in text


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_sigkill_at_any_moment_costs_two_parts(
    tmp_path, make_posters, colours, assert_same_records, small_parts, kills
):
    """The part that is being written, and the one that is computed meanwhile."""
    posters = make_posters(24 * kills)
    whole = colours()
    extract(posters, [whole], tmp_path / "whole", quiet=True)
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")  # a fresh interpreter would spend seconds on importing torch

    def run() -> None:
        extract(posters, [colours(log=log, pause=0.02)], tmp_path / "store", quiet=True)

    rng = random.Random(kills)
    killed = 0
    while killed < kills:
        size = log.stat().st_size if log.exists() else 0
        child = context.Process(target=run)
        child.start()
        while child.is_alive() and (log.stat().st_size if log.exists() else 0) == size:
            time.sleep(0.001)  # until its first batch is computed; then at any moment of the next two or so
        time.sleep(rng.uniform(0, 0.06))
        assert child.is_alive(), "the work was done before the kill: make it longer"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        killed += 1
    last = colours()
    (report,) = extract(posters, [last], tmp_path / "store", quiet=True)
    assert report.failed == {}
    assert report.present + report.computed == len(posters)
    assert 0 < report.present < len(posters)
    assert_same_records(records(tmp_path / "store", last, posters), records(tmp_path / "whole", last, posters))

    runs: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        process, marks = line.split()
        runs.setdefault(process, []).append(marks)
    assert len(runs) == kills
    batches = [marks for run_ in runs.values() for marks in run_]
    assert all(len(set(run_)) == len(run_) for run_ in runs.values())
    # Whatever was logged as computed and is not in the store when the last run starts, or was computed twice, was
    # lost by a kill: two parts each at the most.
    lost = len(batches) - report.present / small_parts
    assert lost <= 2 * kills
    before: set[str] = set()
    for run_ in runs.values():
        assert len(before & set(run_)) <= 2
        before |= set(run_)
