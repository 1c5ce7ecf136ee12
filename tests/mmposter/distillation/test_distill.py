"""A student of a few hundred weights learns from a teacher, from the data set to the card."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import mmposter.images.reading
from fusion.backbones import catalogue, global_average
from mmposter.cli import main
from mmposter.config import CnnConfig
from mmposter.distillation import loop as loops
from mmposter.distillation import teachers
from mmposter.distillation.distill import distill
from mmposter.distillation.genres import SoftGenres
from mmposter.distillation.loop import STATE, DistillationLoop
from mmposter.errors import DivergedError, UserError
from mmposter.features.tower import TowerWeights
from mmposter.runs.seen import SeenPosters

STEPS = 6 + 5
TERMS = ("s1/map", "s2/map", "s2/pooled", "s2/logits")


def run(config, posters, out, **options):
    return distill(config, posters.dataset, out, device="cpu", offline=True, quiet=True, **options)


def metrics(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns="seconds")


def _assert_same(first, second) -> None:
    one, other = (load_file(folder / "tower.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    pd.testing.assert_frame_equal(metrics(first), metrics(second), check_exact=True)


def test_a_distillation_from_data_to_card(quick, posters_of, tmp_path, monkeypatch):
    posters = posters_of()
    opened, read = set(), mmposter.images.reading.read_file
    monkeypatch.setattr(mmposter.images.reading, "read_file", lambda path: opened.add(path) or read(path))
    kept, original = [], DistillationLoop.run
    monkeypatch.setattr(DistillationLoop, "run", lambda self, **o: kept.append(self) or original(self, **o))
    result = run(quick(), posters, tmp_path / "out")
    assert opened == posters.files("train", "val")

    config = CnnConfig(backbone="tiny", init=str(result.tower))
    weights = TowerWeights.find(config, offline=True)
    images = torch.randn(3, 3, 64, 48)
    with torch.no_grad():
        student = kept[0].average.student
        torch.testing.assert_close(weights.build()(images), global_average(student.forward_stages(images)))
    assert weights.identity()["weights"].startswith("trained-")
    assert weights.identity() != TowerWeights.find(CnnConfig(backbone="tiny", init="none")).identity()

    seen = SeenPosters.load(tmp_path / "out")
    table = posters.dataset.table
    assert seen.among(table, ["train"]).tolist() == (table["split"] == "train").tolist()
    assert seen.among(table).tolist() == (table["split"] != "test").tolist()

    # Rows every fourth step, and where a phase ends.
    table = metrics(tmp_path / "out")
    assert table[["step", "height", "width"]].values.tolist() == [[4, 32, 32], [6, 32, 32], [8, 48, 32], [11, 48, 32]]
    assert table["posters"].tolist() == [32, 48, 64, 88]
    terms = [f"sage/{term}" for term in TERMS]
    assert table["val_loss"].iloc[-1] == pytest.approx(sum(table[f"val:{name}"].iloc[-1] for name in terms))
    assert set(result.facts["validation"]) == set(terms)
    # The last measurement of the batch norms sees other pictures, too.
    assert table["val_loss"].iloc[-1] == pytest.approx(sum(result.facts["validation"].values()), rel=0.2)

    info = json.loads((tmp_path / "out" / "distillation.json").read_text())
    assert info["facts"]["train_posters"] == 12
    assert info["facts"]["val_posters"] == 4
    assert info["facts"]["teachers"][0]["stages"] == {"s1": "s1", "s2": "s2"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "was shown 88 random crops of 12 training posters" in card
    assert f"| {result.facts['constant']['sage/s2/map']:.3f} |" in card
    assert "in 11 steps of Muon" in card
    assert "no genre was looked at" in card
    assert "made for, 48 x 32" in card


def test_genres_are_learnt_from_the_teachers_head(quick, posters_of, tmp_path):
    posters = posters_of(genres=True)
    result = run(quick(), posters, tmp_path / "out")
    assert result.facts["genres"]["names"] == ["Even", "Third"]
    found = result.facts["genres"]["validation_map"]
    assert 0 < found <= 1
    assert {"genres/soft"} == set(result.facts["validation"]) - {f"sage/{t}" for t in TERMS}
    assert "val:genres/soft" in metrics(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "(2 genres)" in card
    assert result.facts["genres"]["folds"] == 5
    assert (
        "For each of 5 parts of the training posters, those of one group in one part, a head learnt the others" in card
    )
    own = result.facts["genres"]["train_map"]
    assert f"(mAP {own:.3f} on the training posters, {found:.3f} on the validation posters" in card
    assert "no genre was looked at" not in card
    # The head of the soft genres is not part of the network.
    without = run(quick("genre_weight=0"), posters, tmp_path / "without")
    assert without.facts["genres"] is None
    tensors = [load_file(one.tower) for one in (result, without)]
    assert tensors[0].keys() == tensors[1].keys()
    assert any(not torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def test_the_batch_norms_of_the_result_are_measured_anew(quick, posters_of, tmp_path, monkeypatch):
    kept, original = [], DistillationLoop.run
    monkeypatch.setattr(DistillationLoop, "run", lambda self, **o: kept.append(self) or original(self, **o))
    result = run(quick("held_norms=0"), posters_of(), tmp_path / "out")
    loop = kept[0]
    live = {key: value.clone() for key, value in loop.model.state_dict().items()}
    norms = [part for part in loop.average.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    right = [norm.running_mean.clone() for norm in norms]
    assert len(right) == 3
    for norm in norms:
        norm.running_var.fill_(1e-4)
    spoilt = loop.validate()
    assert sum(spoilt.values()) > 1.5 * sum(result.facts["validation"].values())
    loop.finish()
    assert loop.validate() == result.facts["validation"]
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, right, strict=True))
    assert all(torch.equal(value, live[key]) for key, value in loop.model.state_dict().items())


def test_batch_norms_are_held_in_the_last_steps(quick, posters_of, tmp_path, monkeypatch):
    loops_seen, statistics, original = [], [], DistillationLoop._step

    def step(self, *arguments):
        norms = [part for part in self.model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        loops_seen.append((self, norms))
        value = original(self, *arguments)
        statistics.append(torch.cat([norm.running_mean for norm in norms]))
        return value

    monkeypatch.setattr(DistillationLoop, "_step", step)
    run(quick("held_norms=0.5"), posters_of(), tmp_path / "out")
    loop, norms = loops_seen[0]
    # 88 crops, 8 a step: the first step that begins at 44 or more is the seventh.
    moved = [not torch.equal(one, other) for one, other in pairwise(statistics)]
    assert moved == [True] * 6 + [False] * 4
    # They are a plain mean over the crops to come, not the moving one of the crops before; and the result has them.
    held = [part.running_mean for part in loop.average.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert torch.equal(torch.cat(held), statistics[-1])
    assert all(part.momentum == 0.1 and not part.training for part in norms)
    stored = load_file(tmp_path / "out" / "tower.safetensors")
    assert all(any(torch.equal(mean, value) for value in stored.values()) for mean in held)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_student_learns(quick, posters_of, tmp_path, optimizer):
    result = run(
        quick(
            "phases=[{size: [48, 32], posters: 1000, batch_size: 8, learning_rate: 0.02, scale: [0.7, 1]}]",
            f"optimizer={optimizer}",
            "mixup=0",
            "average=0.9",
            "report_steps=10",
        ),
        posters_of(),
        tmp_path / "out",
    )
    first, last = result.history[0], result.history[-1]
    assert last["val_loss"] < 0.8 * first["val_loss"]
    assert last["train_loss"] < 0.8 * first["train_loss"]
    # Better than the teacher's mean, which is worth 1 a map before the map is made coarser.
    assert sum(result.facts["validation"].values()) < 0.7 * sum(result.facts["constant"].values())
    assert 0.3 < result.facts["constant"]["sage/s2/map"] < 1.2


def test_a_distillation_stopped_by_ctrl_c_goes_on_as_if_nothing_was(quick, posters_of, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)  # not always Python's own: a shell may start tests with Ctrl-C ignored
    posters, config = posters_of(genres=True), quick("held_norms=0.5")  # from the seventh step on
    run(config, posters, tmp_path / "whole")
    heads, train = [], SoftGenres._train
    monkeypatch.setattr(SoftGenres, "_train", lambda self, *a, **o: heads.append(self) or train(self, *a, **o))
    original = DistillationLoop._step
    for stop in (2, 6, 8, 11):  # within a phase, at the end of one, with norms that are held, at the very end
        folder, taken = tmp_path / f"cut{stop}", []

        def step(self, *arguments, stop=stop, taken=taken):
            taken.append(self.progress.step)
            if len(taken) == stop:
                signal.raise_signal(signal.SIGINT)
            return original(self, *arguments)

        monkeypatch.setattr(DistillationLoop, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            run(config, posters, folder)
        assert len(taken) == stop  # the step in which Ctrl-C was pressed is finished and kept
        assert (folder / STATE).exists()
        assert not (folder / "tower.safetensors").exists()
        torch.rand(7)  # whatever happened since must not matter
        run(config, posters, folder, resume=True)
        assert taken == list(range(STEPS))
        _assert_same(tmp_path / "whole", folder)
    assert len(heads) == 4  # each was kept for the second half
    assert signal.getsignal(signal.SIGINT) is before


def test_a_kill_loses_what_came_after_the_last_save(quick, posters_of, tmp_path, monkeypatch):
    posters, adamw = posters_of(genres=True), "optimizer=adamw"
    run(quick(adamw), posters, tmp_path / "whole")
    monkeypatch.setattr(loops, "SAVE_SECONDS", 0.0)
    original, count = DistillationLoop._step, 0

    def step(self, *arguments):
        nonlocal count
        count += 1
        if count == 8:
            raise OSError("killed")
        return original(self, *arguments)

    monkeypatch.setattr(DistillationLoop, "_step", step)
    with pytest.raises(OSError, match="killed"):
        run(quick(adamw), posters, tmp_path / "cut")
    run(quick(adamw), posters, tmp_path / "cut", resume=True)
    assert count == 8 + STEPS - 7
    _assert_same(tmp_path / "whole", tmp_path / "cut")


def test_what_is_finished_is_not_done_again(quick, posters_of, tmp_path, monkeypatch):
    posters = posters_of()
    first = run(quick(), posters, tmp_path / "out", keep_maps=True)
    maps = tmp_path / "out" / "teachers"
    assert np.load(maps / "sage.s2.npy").shape == (16, 9, 8, 6)
    before = first.tower.read_bytes()
    assert not (tmp_path / "out" / STATE).exists()
    monkeypatch.setattr(DistillationLoop, "run", None)
    again = run(quick(), posters, tmp_path / "out", resume=True)
    assert again.tower.read_bytes() == before
    assert list(again.history) == list(first.history)
    assert not maps.exists()


def test_a_second_distillation_goes_on_from_the_first(quick, posters_of, tmp_path):
    posters = posters_of()
    first = run(quick(), posters, tmp_path / "one")
    config = quick(f"init={first.tower}", "phases=[{size: [48, 32], posters: 8, batch_size: 8}]", "warmup=100")
    second = run(config, posters, tmp_path / "two")
    for key, value in load_file(second.tower).items():
        if key.endswith("0.weight"):  # one step at a hundredth of the rate
            torch.testing.assert_close(value, load_file(first.tower)[key], atol=1e-3, rtol=0)
    assert "It began with the weights `tower.safetensors`" in (tmp_path / "two" / "README.md").read_text()


def test_a_classifier_of_several_layers_is_left_out_and_that_is_said(quick, posters_of, tmp_path, capfd):
    config = quick("teachers=[sage,mute]").model_copy(update={"teachers": ("sage", "mute")})
    result = distill(config, posters_of().dataset, tmp_path / "out", device="cpu", offline=True)
    assert "sage/s2/logits" in result.facts["validation"]
    assert "mute/s2/pooled" in result.facts["validation"]
    assert "mute/s2/logits" not in result.facts["validation"]
    said = capfd.readouterr().err
    assert "tiny learns from sage: s1 -> s1, s2 -> s2\n" in said
    assert "mute: s1 -> s1, s2 -> s2; its classifier is no single linear layer" in said
    assert "scores were not used" in (tmp_path / "out" / "README.md").read_text()


def test_an_unreadable_poster_is_left_out_and_named(quick, posters_of, tmp_path):
    posters = posters_of()
    (posters.dataset.root / "001.png").write_bytes(b"no picture")
    result = run(quick(), posters, tmp_path / "out")
    assert result.facts["train_posters"] == 11
    assert result.facts["unreadable"] == ["001"]
    assert "Left out as unreadable: 001." in (tmp_path / "out" / "README.md").read_text()


def test_a_diverged_training_says_what_to_do(quick, posters_of, tmp_path):
    config = quick("phases=[{size: [32, 32], posters: 800, batch_size: 8, learning_rate: 1e30}]", "warmup=1")
    with pytest.raises(DivergedError, match="Take a smaller learning_rate in phases"):
        run(config, posters_of(), tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"teachers": ("sagge",)}, r"--teachers: backbone must be one of .*'sage'.* got 'sagge'"),
        ({"teachers": ("cnn3",)}, "--teachers: cnn3 has no published weights"),
        ({"student": "tyni"}, r"--student: backbone must be one of .* got 'tyni'"),
        ({"init": "nowhere.safetensors"}, r"--student: init must be .*existing file; got 'nowhere.safetensors'"),
        ({"student": "cnn4"}, "phases: size must be at least"),
    ],
)
def test_mistakes_of_names(quick, posters_of, tmp_path, overrides, message):
    config = quick("teacher_size=[96,80]").model_copy(update=overrides)
    with pytest.raises(UserError, match=message):
        run(config, posters_of(), tmp_path / "out")


def test_posters_to_watch_are_needed(quick, posters_of, tmp_path):
    with pytest.raises(UserError, match="has 20 posters to train on and 0 to watch"):
        run(quick(), posters_of(splits=("train",)), tmp_path / "out")


def test_another_distillation_in_the_folder_is_kept(quick, posters_of, tmp_path):
    posters, out = posters_of(), tmp_path / "out"
    run(quick(), posters, out)
    before = (out / "tower.safetensors").read_bytes()
    with pytest.raises(UserError, match="holds a distillation already; go on with --resume, or replace it"):
        run(quick(), posters, out)
    with pytest.raises(UserError, match=r"another configuration:\n  mixup: 0.3 there, 0.5 now"):
        run(quick("mixup=0.5"), posters, out, resume=True)
    with pytest.raises(UserError, match="started on another state of the data"):
        run(quick(), posters_of(25), out, resume=True)
    assert (out / "tower.safetensors").read_bytes() == before
    run(quick("mixup=0.5"), posters, out, overwrite=True)
    assert (out / "tower.safetensors").read_bytes() != before


@pytest.mark.parametrize("finished", [True, False])
def test_one_of_an_earlier_version_is_refused_with_what_to_do(quick, posters_of, tmp_path, finished):
    """Its genre answers came from a head that had learnt the genres of the same posters."""
    posters, out = posters_of(genres=True), tmp_path / "out"
    run(quick(), posters, out)
    info = json.loads((out / "distillation.json").read_text())
    del info["config"]["genre_folds"]
    if not finished:
        info["history"] = []
    (out / "distillation.json").write_text(json.dumps(info))
    with pytest.raises(
        UserError, match=r"earlier version .*\nDistil anew: the same command with --overwrite in place of"
    ):
        run(quick(), posters, out, resume=True)
    run(quick(), posters, out, overwrite=True)


def test_teachers_see_posters_by_their_own_filter_and_the_student_by_its(quick, posters_of, tmp_path, monkeypatch):
    spec, (teacher, student) = catalogue._BACKBONES.get, ("bilinear", "nearest")
    for name, resize in (("sage", teacher), ("tiny", student)):
        entry = spec(name)
        changed = replace(entry, spec=replace(entry.spec, resize=resize))
        monkeypatch.setitem(catalogue._BACKBONES._entries, name, changed)
    seen, look = {}, teachers._look
    monkeypatch.setattr(
        teachers, "_look", lambda one, pixels, *a, **o: seen.update({one.name: pixels}) or look(one, pixels, *a, **o)
    )
    kept, original = [], DistillationLoop.run
    monkeypatch.setattr(DistillationLoop, "run", lambda self, **o: kept.append(self) or original(self, **o))
    posters = posters_of()
    result = run(quick(), posters, tmp_path / "out")
    first = Image.open(posters.dataset.image_path(0))
    for pixels, resize in ((seen["sage"], teacher), (kept[0].views.posters.pixels, student)):
        np.testing.assert_array_equal(pixels[0], np.asarray(first.resize((48, 64), Image.Resampling[resize.upper()])))
    # Whoever uses the result reads posters as it did.
    assert TowerWeights.find(CnnConfig(backbone="tiny", init=str(result.tower))).filter == student


@pytest.mark.figures
def test_the_command(networks, quick_overrides, posters_of, tmp_path, monkeypatch, capsys):
    data, out = str(posters_of(genres=True).dataset.folder), tmp_path / "out"
    sets = [part for text in quick_overrides for part in ("--set", text)]
    command = ["mmposter", "distill", data, "--out", str(out), "--student", "tiny", "--teachers", "sage", "--device"]
    monkeypatch.setattr(sys, "argv", [*command, "cpu", "--offline", *sets])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    told = capsys.readouterr()
    assert told.out == f"{out / 'tower.safetensors'}\n"
    assert "the teachers' mean in place of the network" in told.err
    assert (out / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in out.iterdir()} == {
        "README.md", "distillation.json", "metrics.csv", "plots", "seen.parquet", "tower.safetensors",
    }  # fmt: skip
