"""What cannot be exported is said in one message, and leaves no file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import UserError, export_run
from mmposter.cli import app
from mmposter.engines import libraries
from mmposter.export import FORMATS
from mmposter.export.graph import PosterGraph


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "tflite"}, "--to takes onnx or torchscript; got 'tflite'"),
        ({"out": "x.pt"}, "--out must end in .onnx with --to onnx; got x.pt"),
        ({"branches": ["cnn", "yolo"]}, "--branches takes cnn or style of this run, .* got yolo"),
        ({"branches": []}, "--branches takes cnn or style of this run, .* got none"),
    ],
)
def test_wrong_arguments(calibrated, arguments, message):
    with pytest.raises(UserError, match=message):
        export_run(calibrated, **arguments)


def test_a_run_without_pixels(calibrated, edit_config):
    edit_config(calibrated, branches=["yolo", "ocr"])
    with pytest.raises(UserError, match=r"looks through yolo,ocr, .* it takes a run with cnn or style"):
        export_run(calibrated, "torchscript")


def test_a_control_is_no_model_for_use(calibrated, edit_config, out):
    edit_config(calibrated, shuffled=["style"])
    with pytest.raises(UserError, match="is a control, not a model for use"):
        export_run(calibrated, "torchscript", out / "x.pt")
    assert list(out.iterdir()) == []


def test_nothing_is_replaced_unasked(calibrated, out):
    for name in ("x.pt", "x.pt.example.py"):
        (out / name).write_text("mine")
        with pytest.raises(UserError, match=rf"{name} is there already; replace it with --overwrite"):
            export_run(calibrated, "torchscript", out / "x.pt")
        assert (out / name).read_text() == "mine"
        (out / name).unlink()


def test_a_missing_package_is_named(calibrated, monkeypatch):
    known = libraries.find_spec
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "onnxruntime" else known(name))
    with pytest.raises(UserError, match=r"export needs onnxruntime; type: pip install 'mmposter\[export\]'"):
        export_run(calibrated, "onnx")


@pytest.mark.parametrize("fault", [2e-4, np.nan])
def test_a_file_that_differs_is_not_there(calibrated, out, monkeypatch, fault):
    form = FORMATS["torchscript"]

    def opened(path):
        runner = form.open(path)
        return lambda poster: runner(poster) + np.float32(fault if len(poster) == 444 else 0)

    monkeypatch.setitem(FORMATS, "torchscript", replace(form, open=opened))
    (out / "x.pt").write_text("an older one")
    with pytest.raises(UserError, match=r"by (0\.0002|nan) in a probability \(a picture of 444 x 300 pixels\)"):
        export_run(calibrated, "torchscript", out / "x.pt", overwrite=True, offline=True)
    assert [path.name for path in out.iterdir()] == ["x.pt"]
    assert (out / "x.pt").read_text() == "an older one"


def test_a_network_that_the_exporter_cannot_write(calibrated, out, monkeypatch, capfd):
    """Without its pages of text: the graph, and a traceback."""
    pytest.importorskip("onnxruntime")
    usual = PosterGraph.forward
    monkeypatch.setattr(PosterGraph, "forward", lambda self, image: tuple(x.erfinv() for x in usual(self, image)))
    command = ["export", str(calibrated), "--out", str(out / "x.onnx"), "--offline"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert "cnn3 cannot be written as onnx: " in str(result.exception)
    assert "erfinv" in str(result.exception)
    assert capfd.readouterr() == ("", "")
    assert list(out.iterdir()) == []
