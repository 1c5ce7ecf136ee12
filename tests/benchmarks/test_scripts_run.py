"""Every script of benchmarks/ and scripts/ runs as its users run it, over a few drawn posters.

A script without a test here fails the first one.
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from mmposter import Dataset, Run
from mmposter.evaluation.promise import Evidence
from mmposter.measurement.evaluate import examine_run

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("scripts/*.py")])
HOOKS = {"docs_pages"}  # mkdocs calls it


def table(text: str) -> dict[str, list[str]]:
    """Rows of the Markdown tables in a text by their first cell."""
    lines = [line.strip()[1:].removesuffix("|").split("|") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_each_script_has_a_test_and_each_module_a_script() -> None:
    imported, scripts = set(), set()
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            imported |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            imported |= {name.name for name in node.names} if isinstance(node, ast.Import) else set()
        if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body):
            scripts.add(file.stem)
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert scripts | HOOKS <= tested, "these scripts have no test here"
    modules = {file.stem for file in FILES} - scripts - HOOKS
    assert modules <= imported, "no script uses these modules"


@pytest.mark.slow
def test_draw_posters(project) -> None:
    with (project.posters / "posters.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(project.posters.glob("*.jpg"))) == len(Dataset.load(project.data))


@pytest.mark.slow
def test_accepting(run, project) -> None:
    out = run("benchmarks/accepting.py", project.run, project.data, "--splits", "2", "--branches", "cnn,style")
    rows = table(out)
    of = {split: len(Dataset.load(project.data).split(split)) for split in ("val", "test")}
    assert f"cnn, style: 2 re-splits, {of['val']} posters to promise by, {of['test']} to count on" in out
    assert {".70", ".80", ".90", ".80, val to test"} <= set(rows)
    assert rows[".90"][:3] == ["0", "0", "100.0"], "so few posters promise nothing, and break nothing"
    assert rows[".90"][4:6] == ["0.0", "0.0"]


@pytest.mark.slow
def test_duplicates(run, project) -> None:
    lines = run("benchmarks/duplicates.py", project.posters, "--count", "4", "--all").splitlines()
    assert lines[0].startswith("4 posters;")
    shares = {line.split()[0]: [float(part.rstrip("%")) for part in line.split()[1:]] for line in lines[1:8]}
    assert shares["cut_evenly"][1] == 100.0, "of four posters, cut a little, each is found by its picture"
    assert all(0 <= hashed <= both <= 100 for hashed, both in shares.values())
    assert lines[8] == "0 of 6 pairs of these taken for one picture"


def evaluating(run, *steps: str) -> list[list[str]]:
    asked = ["--posters", "80", "--genres", "3", "--boot", "8", "--steps", *steps]
    lines = run("benchmarks/evaluating.py", *asked).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:2] for row in rows] == [[step, "80"] for step in steps]
    assert all(0.0 < float(row[4]) < 4 for row in rows), "gigabytes"
    return rows


@pytest.mark.slow
def test_evaluating(run) -> None:
    assert [row[5] for row in evaluating(run, "evaluate", "calibrate", "seen")] == [""] * 3


@pytest.mark.slow
def test_evaluating_with_the_pages(run) -> None:
    assert all(float(row[5]) > 0 for row in evaluating(run, "report", "compare")), "megabytes"


@pytest.mark.slow
def test_explanations(run, project) -> None:
    out = run("benchmarks/explanations.py", project.data, "--model", project.run, "--count", "3", "--device", "cpu")
    assert "3 of 3 posters, branches cnn,style,yolo,ocr" in out
    gap = re.search(r"\(logit - logit of the empty poster\)\|: (\S+)", out)
    assert gap is not None
    assert float(gap[1]) < 1e-4
    assert int(table(out)["boxes and words"][0]) == 3


@pytest.mark.slow
def test_finished(run, project, tmp_path) -> None:
    asked = ["--posters", "70", "--only", "extract", "train", *project.settings]
    rows = [
        row
        for row in run("benchmarks/finished.py", tmp_path, *asked, python=sys.executable).splitlines()
        if row.startswith("| 70")
    ]
    assert [row.split("|")[2].strip() for row in rows] == [
        "extract, many index files",
        "extract, merged",
        "train --resume, finished",
        "train --resume, stopped",
    ]
    asked = ["--posters", "70", "--only", "predict", "--model", project.run]
    predicted = run("benchmarks/finished.py", tmp_path, *asked, python=sys.executable)  # which hears of Ctrl-C
    assert [row.split("|")[2].strip() for row in predicted.splitlines() if row.startswith("| 70")] == [
        "predict --out .csv, 0 left",
        "predict --out .jsonl, 0 left",
        "predict --out .jsonl, 32 left",
    ]


@pytest.mark.slow
def test_finetuning(run, project) -> None:
    out = run("benchmarks/finetuning.py", project.data, "--config", "default", "--rounds", "1", *project.settings)
    rows = table(out)
    assert all(float(rows[name][0]) > 0 for name in ("plain loop", "mmposter train"))
    assert "1 rounds" in out


@pytest.mark.slow
def test_exported(run, project) -> None:
    out = run("benchmarks/exported.py", project.run, project.data, "--count", "2", "--to", "torchscript")
    assert "2 posters, torchscript, branches cnn,style" in out
    assert "same genres, surest first: 2" in out
    assert "the same by the program beside the file: 2" in out


@pytest.mark.slow
def test_extract(run, project) -> None:
    few = ["--config", "default", "--posters", "3", "--warm", "1", "--rounds", "1", "--workers", "1"]
    only = ["--only", "all-ppocr", "--against", "rapidocr"]
    rows = table(run("benchmarks/extract.py", project.data, *few, *only, *project.settings))
    assert set(rows) == {"", "---", "loop-all-rapidocr", "all-ppocr"}
    assert float(rows["loop-all-rapidocr"][0].split()[0]) > 0
    assert int(re.search(r"of (\d+) boxes", rows["all-ppocr"][5])[1]) >= 6, "each poster has a title and more"


@pytest.mark.slow
def test_extract_refuses_what_it_cannot_measure(run, project) -> None:
    out = run("benchmarks/extract.py", project.data, "--posters", "3", code=2)
    assert "--warm must lie between 0 and --posters; got 64 of 3" in out
    out = run("benchmarks/extract.py", project.data, "--only", "ocr-fast", "--against", "rapidocr", code=2)
    assert "no row of --only stands beside the loop of rapidocr" in out


@pytest.mark.slow
def test_floor(run, project) -> None:
    """It is `extract.py --floor`."""
    pytest.importorskip("easyocr_en_models", reason="needs the extra offline")
    floor = ["--floor", "--config", "default", "--posters", "2", "--seconds", "0.1"]
    easyocr, ppocr = run("benchmarks/extract.py", project.data, *floor, *project.settings).split("With ppocr")
    for text, networks in ((easyocr, ("CRAFT", "recogniser")), (ppocr, ("detector", "recogniser"))):
        rows = table(text)
        assert set(rows) == {"network", "---", *networks, "text encoder", "YOLO", "backbone", "all"}
        each = [float(row[2]) for name, row in rows.items() if name not in ("network", "---", "all")]
        assert float(rows["all"][2]) == pytest.approx(sum(each), abs=0.4)
    assert rows["detector"][:2] == ["1.0 calls", "onnxruntime, CPU"]
    assert float(rows["detector"][2]) > 0


@pytest.mark.slow
def test_few_posters(run, project) -> None:
    few = ["--train", "3", "--split", "test"]
    rows = table(run("benchmarks/few_posters.py", project.data, *few, *project.settings))
    assert rows["3"][6] == "1", "one pass"
    rows = table(run("benchmarks/few_posters.py", project.data, *few, "--watch", "val", *project.settings))
    assert rows["3"][6] == "1", "one pass"


@pytest.mark.slow
def test_auditing(run, project) -> None:
    few = ["--folds", "2", "--flips", "pairs", "genres", "posters", "--share", "0.2"]
    out = run("benchmarks/auditing.py", project.data, *few, *project.settings)
    assert [line.split(":")[0] for line in out.splitlines() if "% flipped" in line] == ["pairs", "genres", "posters"]
    pairs = len(Dataset.load(project.data)) * len(Dataset.load(project.data).vocabulary)
    rows = table(out.partition("genres: ")[0])
    assert int(rows["the list"][0]) == round(0.2 * pairs)
    assert float(rows["the list"][1]) == pytest.approx(20, abs=0.5)
    assert {"given genres", "genres not given", "base rates alone"} <= set(rows)


@pytest.mark.slow
def test_started(run, project) -> None:
    few = [
        "--count",
        "5",
        "--draws",
        "2",
        "--split",
        "train",
        "--genres",
        "groups",
        "periods",
        "--set",
        "train.epochs=1",
    ]
    anew = [word.replace("--set", "--set-anew") for word in project.settings]
    rows = table(run("benchmarks/started.py", project.data, "--start", project.run, *few, *anew))
    assert set(rows) == {"genres", "---", "groups", "periods"}
    constant, anew, started, gained = rows["groups"][:4]
    assert 0 < float(constant) <= 1
    assert float(gained.split(" ")[0]) == pytest.approx(float(started) - float(anew), abs=0.002)


@pytest.mark.slow
def test_genres_decided(run, project) -> None:
    rows = table(run("benchmarks/genres_decided.py", project.run, project.data))
    assert len(rows) == 2 + 15
    posters = len(Dataset.load(project.data).split("test"))
    assert rows["cnn, style, yolo, ocr"][:2] == [str(posters), "0"]


@pytest.mark.slow
def test_gpu(run, project, tmp_path) -> None:
    """The parts that take longest are left to `test_gpu_all_parts`."""
    asked = ["--device", "cpu", "--posters", "few", "--branches", "cnn", "--only", "predict", "--only", "extract"]
    out = run("benchmarks/gpu.py", *asked, "--model", project.run, "--out", tmp_path, *project.settings)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["device"] == "no GPU (--device cpu)"
    assert found["versions"]["torch"] != "not installed"
    rows = {row["what"]: row for row in found["rows"]}
    assert not [row for row in rows.values() if row["result"].startswith(("failed", "left out"))], out
    assert rows["extract cnn"]["numbers"].keys() >= {"posters_s", "loop_posters_s", "wall_s", "peak_gb", "posters"}
    assert rows["predict one poster, warm"]["numbers"]["seconds"] > 0
    assert table((tmp_path / "gpu.md").read_text())["extract cnn"][0] == rows["extract cnn"]["result"]


@pytest.mark.slow
def test_gpu_all_parts(run, project, tmp_path) -> None:
    asked = ["--device", "cpu", "--posters", "few", "--model", project.run, "--minutes", "30", "--out", tmp_path]
    run("benchmarks/gpu.py", *asked, *project.settings, python=sys.executable)
    rows = {row["what"]: row for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]}
    assert rows["finetune, bf16"]["numbers"]["steps_s"] > 0
    assert rows["extract cnn,style,yolo,ocr (ppocr)"]["numbers"]["loop_posters_s"] > 0
    assert re.match(r"\d+ (passed|skipped)", rows["tests that need a GPU"]["result"])


@pytest.mark.slow
def test_gpu_says_what_is_missing_and_what_finds_no_time(run, project, tmp_path) -> None:
    out = run("benchmarks/gpu.py", "--device", "cpu", "--posters", tmp_path, code=2)
    assert f"{tmp_path} is no folder that `mmposter prepare` wrote" in out
    asked = ["--device", "cpu", "--posters", project.data, "--minutes", "0.01", "--out", tmp_path / "late"]
    out = run("benchmarks/gpu.py", *asked)
    assert out.count("left out: no time left of 0.01 minutes") >= 4
    asked = ["--device", "cpu", "--posters", project.data, "--only", "extract", "--out", tmp_path / "without"]
    out = run(
        "benchmarks/gpu.py", *asked, "--branches", "cnn", "--set", "cnn.backbone=vgg19", "--set", "cnn.init=imagenet"
    )
    assert re.search(r"^\| extract cnn \| left out: .*vgg19", out, re.MULTILINE), out


@pytest.mark.slow
@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU here")
def test_gpu_without_a_gpu_says_so(run) -> None:
    out = run("benchmarks/gpu.py", code=2)
    assert "sees none" in out
    assert "--device cpu --posters few" in out


@pytest.mark.slow
def test_library(run, project, tmp_path) -> None:
    """As if the project's run, which has few posters and says little of each, were sure and had many."""
    model = Path(shutil.copytree(project.run, tmp_path / "run"))
    many = Evidence(np.full((400, 3), 21), np.ones((400, 3), bool), 400, 1200)
    found = Run.load(model).subsets()
    subset = found.of(("cnn",))
    scaling = dataclasses.replace(subset.decision.scaling, offsets=subset.decision.scaling.offsets + 2)
    decision = dataclasses.replace(subset.decision, scaling=scaling)
    promising = dataclasses.replace(subset, decision=decision, evidence=many)
    dataclasses.replace(found, subsets=found.subsets | {("cnn",): promising}).save(model)
    few = ["--films", "12", "--model", model, "--branches", "cnn"]
    rows = table(run("benchmarks/library.py", tmp_path / "library", *few))
    result = {what: cells[0] for what, cells in rows.items()}
    assert result["predict: films found"] == "12"
    assert result["predict: posters found"].startswith("11 (")
    kept = int(result["prepare: films kept"].split()[0])
    assert kept + int(result["prepare: films left out"].split()[0]) == 12
    assert "3 bad_row" in result["prepare: films left out"]
    changed = int(result["with --yes: files changed"].split()[0])
    assert changed == int(result["without --yes: files that would change"]) >= 1
    assert int(result["with --yes: backups that are the first content"]) == changed
    nothing = ("without --yes: files changed", "with --yes: NFO bytes changed outside our tags", "again: files changed")
    assert [result[what] for what in (*nothing, "restored: other files left behind")] == ["0"] * 4
    whole, of, *_ = re.findall(r"\d+", result["restored: NFO files as they were"])
    assert whole == of


@pytest.mark.slow
def test_loop(run, project, tmp_path) -> None:
    """As extract.py runs it; here with easyocr."""
    models = pytest.importorskip("easyocr_en_models", reason="needs the extra offline")
    poster = min(project.posters.glob("*.jpg"))
    spec = {
        "posters": [str(poster)],
        "parts": ["ocr", "text"],
        "device": "cpu",
        "gpu": False,
        "easyocr": str(Path(models.__file__).parent / "models"),
        "encoder": str(project.weights),
    }
    (tmp_path / "loop.txt").write_text(json.dumps(spec))
    found = json.loads(run("benchmarks/loop.py", tmp_path / "loop.txt").splitlines()[-1])
    assert found["parts"].keys() == {"ocr", "text"}
    assert 0 < found["parts"]["ocr"] <= found["seconds"]
    assert any(len(text) > 2 for _, text, _ in found["texts"][0])


@pytest.mark.slow
def test_measure(run) -> None:
    assert run("benchmarks/measure.py", sys.executable, "-S", "-c", "print(6 * 7)") == "42\n"
    out = run("benchmarks/measure.py", sys.executable, "-S", "-c", "raise SystemExit('no')", code=1)
    assert out.endswith("no\n\n")


@pytest.mark.slow
def test_predicting(run, project) -> None:
    few = ["--model", project.run, "--branches", "cnn,style", "--device", "cpu", "--repeat", "2", "--count", "3"]
    found = json.loads(run("benchmarks/predicting.py", project.posters, *few))
    assert found["branches"] == ["cnn", "style"]
    assert found["first_s"] > 0 < found["one_s"]
    assert found["posters_s"] > 0


@pytest.mark.slow
def test_random_detector(project) -> None:
    """The project's is one."""
    from mmposter.features.store import ExtractorStore

    (folder,) = project.data.glob("features/yolo-*")
    dataset = Dataset.load(project.data)
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    store = ExtractorStore(dataset.features_folder, fingerprint.pop("name"), fingerprint)
    assert all(len(record["boxes"]) for record in store.read(dataset.table["sha256"]))


_PLAIN = ", enlarge 0", ", enlarge 0, split"


@pytest.mark.slow
def test_readers(run, project) -> None:
    pytest.importorskip("easyocr_en_models", reason="needs the extra offline")
    rows = table(run("benchmarks/readers.py", project.data, "--posters", "2"))
    assert set(rows) == {"reader", "---", "ppocr", "ppocr, split", "easyocr", "easyocr, split"}
    assert float(rows["ppocr"][0].split()[0]) > 40, "drawn titles are read"
    rows = table(run("benchmarks/readers.py", project.data, "--posters", "2", "--only", "ppocr", "--enlarge", "0"))
    assert set(rows) == {"reader", "---", *(f"ppocr{which}" for which in ("", ", split", *_PLAIN))}


@pytest.mark.slow
def test_other_reader(run, project) -> None:
    pytest.importorskip("easyocr_en_models", reason="needs the extra offline")
    out = run("benchmarks/other_reader.py", project.run, project.data)
    rows = [line.split("|")[1:4] for line in out.splitlines() if line.startswith("| ") and "branches" not in line]
    readers = ["ppocr", "easyocr", "easyocr minus ppocr"]
    assert [reader.strip() for _, reader, _ in rows] == readers * 2
    assert {branches.strip() for branches, *_ in rows} == {",".join(Run.load(project.run).config.branches), "ocr"}
    values = [float(value.split()[0]) for *_, value in rows]
    assert values[2] == pytest.approx(values[1] - values[0], abs=0.002), "the difference is of the two above it"


@pytest.mark.slow
def test_scale(run, tmp_path) -> None:
    found = table(run("benchmarks/scale.py", tmp_path, "--posters", "60", "--evaluate"))
    assert float(found["60"][-1]) > 0
    assert not (tmp_path / "data-60").exists()


@pytest.mark.slow
def test_searching(run, project) -> None:
    out = run("benchmarks/searching.py", "speed", "--rows", "500", "--width", "12")
    assert out.startswith("500 posters, 12 numbers each:")
    assert set(table(out)) == {"search for", "---", "1", "32"}
    out = run("benchmarks/searching.py", "quality", project.data, "--model", project.run, "--split", "train")
    rows = table(out)
    assert {"random", "nearest by all (`similar`)", "nearest by ocr alone", "other: embeddings as they are"} <= set(
        rows
    )
    assert all(0 < float(share) <= float(common) <= 1 for share, common in list(rows.values())[2:])


@pytest.mark.slow
def test_serving(run, project) -> None:
    few = ["--model", project.run, "--branches", "cnn", "--seconds", "2", "--clients", "2", "--count", "4"]
    # The server is a program of its own, to which signals are sent.
    out = run("benchmarks/serving.py", project.posters, *few, "--growth", "1", python=sys.executable)
    assert out.splitlines()[-1] == "all as they should be"
    assert "SIGTERM: exit code 0" in out


def test_verdicts(run) -> None:
    few = ["--sets", "1", "--posters", "30", "--n-boot", "2", "--size", "300", "--no-coverage"]
    assert "mAP" in table(run("benchmarks/verdicts.py", *few))


@pytest.mark.slow
def test_release_model(run, project, tmp_path) -> None:
    run_folder = Path(shutil.copytree(project.run, tmp_path / "run"))
    dataset = Dataset.load(project.data)
    found = examine_run(Run.load(run_folder), dataset, calibration=None, device="cpu", offline=True)
    (tmp_path / "evaluation.json").write_text(json.dumps(found.to_json()))
    out = run(
        "scripts/release_model.py", run_folder, project.data, tmp_path / "small",
        "--evaluation", tmp_path / "evaluation.json",
    )  # fmt: skip
    assert "largest change of a probability" in out
    assert Run.load(tmp_path / "small").config.branches == ("cnn", "style", "yolo", "ocr")
    half = tmp_path / "half.safetensors"
    out = run(
        "scripts/release_model.py", "--round-tower", run_folder / "tower.safetensors", half,
        "--backbone", "mobilenet_v3_small",
    )  # fmt: skip
    assert {str(value.dtype) for value in load_file(half).values() if value.ndim > 1} == {"torch.float16"}


def test_command_pages(run) -> None:
    """What it writes is looked at in tests/docs/test_command_pages.py."""
    assert run("scripts/command_pages.py", "--check") == ""


def test_docs_pages() -> None:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts" / "docs_pages.py")
    assert spec is not None
    hooks = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(hooks)
    page = hooks.page_of(ROOT / "README.md")
    assert "](docs/" not in page
    assert "mmposter/main" not in page
    links = {link.partition("#")[0] for link in re.findall(r"\]\((?![a-z]+:|#)([^)\s]+)\)", page)}
    assert links
    assert all((ROOT / "docs" / link).is_file() or link in hooks.PAGES.values() for link in links), links
