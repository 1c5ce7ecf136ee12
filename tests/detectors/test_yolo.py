from __future__ import annotations

import json
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from detectors import YoloDetector

RED = (255, 0, 0)


class FakeBoxes:
    """What ultralytics keeps of one picture: here tensors are arrays, and `cpu().numpy()` must be asked for."""

    def __init__(self, xyxy, shape):
        self._xyxy, self._shape = np.array(xyxy, np.float64).reshape(-1, 4), shape

    def cpu(self):
        return SimpleNamespace(numpy=self._arrays)

    def _arrays(self):
        height, width = self._shape
        count = len(self._xyxy)
        return SimpleNamespace(
            xyxyn=self._xyxy / [width, height, width, height],
            conf=np.linspace(0.9, 0.5, count),
            cls=np.ones(count),  # ultralytics gives classes as floats
        )


class FakeYOLO:
    """Finds the one red rectangle of a picture in BGR, as ultralytics reads arrays; nothing where there is none."""

    names = {0: "person", 1: "red thing", 2: "dog"}  # noqa: RUF012
    built: list[tuple] = []  # noqa: RUF012
    calls: list[dict] = []  # noqa: RUF012

    def __init__(self, weights, task=None):
        self.built.append((weights, task))

    def predict(self, images, **options):
        self.calls.append({"images": images, **options})
        return [SimpleNamespace(boxes=FakeBoxes(self._red(image), image.shape[:2])) for image in images]

    @staticmethod
    def _red(image):
        rows, columns = np.nonzero((image == RED[::-1]).all(axis=2))
        return [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)] if len(rows) else []


@pytest.fixture
def fake(monkeypatch):
    """A module called ultralytics that, like the real one, replaces Pillow's `open` when it is first used."""
    monkeypatch.setattr(FakeYOLO, "built", [])
    monkeypatch.setattr(FakeYOLO, "calls", [])
    module = ModuleType("ultralytics")
    opener = Image.open

    def attribute(name):
        if name != "YOLO":
            raise AttributeError(name)
        module.environment = {
            key: value for key, value in os.environ.items() if key in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL")
        }
        Image.open = lambda *arguments, **options: pytest.fail("Pillow's open was replaced")
        return FakeYOLO

    module.__getattr__ = attribute
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    for key in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL"):
        monkeypatch.setenv(key, "before")  # so that monkeypatch puts back what was there
        monkeypatch.delenv(key)
    yield module
    Image.open = opener


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.pt"
    path.touch()
    return path


def poster(height, width, box=None):
    image = np.full((height, width, 3), (0, 0, 255), np.uint8)  # blue: red to whoever swaps the channels
    if box:
        left, top, right, bottom = box
        image[top:bottom, left:right] = RED
    return image


def test_boxes_are_in_0_to_1_of_a_poster_that_is_no_square(fake, weights):
    found = YoloDetector(weights)([poster(200, 100, (10, 20, 60, 120))])[0]
    assert found.boxes == pytest.approx(np.array([[0.1, 0.1, 0.6, 0.6]]))
    assert found.labels.tolist() == [1]
    assert found.scores == pytest.approx([0.9])
    assert found.class_names == ("person", "red thing", "dog")
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


def test_order_is_kept_and_nothing_found_is_an_empty_record(fake, weights):
    batch = [poster(90, 60), poster(60, 90, (9, 6, 90, 60)), poster(90, 60, (0, 0, 60, 9))]
    first, second, third = YoloDetector(weights)(batch)
    assert (len(first), first.class_names) == (0, ("person", "red thing", "dog"))
    assert second.boxes == pytest.approx(np.array([[0.1, 0.1, 1.0, 1.0]]))
    assert third.boxes == pytest.approx(np.array([[0.0, 0.0, 1.0, 0.1]]))


def test_what_ultralytics_is_told(fake, weights):
    YoloDetector(weights, size=320, confidence=0.25, device="cpu")([poster(90, 60), poster(60, 90)])
    call = FakeYOLO.calls[0]
    assert [image.shape for image in call["images"]] == [(90, 60, 3), (60, 90, 3)]
    assert all(image.flags["C_CONTIGUOUS"] for image in call["images"])
    wanted = {"rect": False, "imgsz": 320, "conf": 0.25, "device": "cpu", "batch": 2, "verbose": False}
    assert {key: call[key] for key in wanted} == wanted


def test_boxes_that_stick_out_are_cut(fake, weights, monkeypatch):
    monkeypatch.setattr(FakeYOLO, "_red", staticmethod(lambda image: [(-3, 0, 63, 90.5)]))
    assert YoloDetector(weights)([poster(90, 60)])[0].boxes.tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_no_posters_no_call(fake, weights):
    assert YoloDetector(weights)([]) == []
    assert FakeYOLO.calls == []


def test_a_missing_file_never_becomes_a_download(fake, tmp_path):
    with pytest.raises(ValueError, match=r"weights must be an existing checkpoint file; got .*yolo11n\.pt"):
        YoloDetector(tmp_path / "yolo11n.pt")
    assert FakeYOLO.built == []


def test_no_pip_and_no_network(fake, weights):
    YoloDetector(weights)
    assert fake.environment == {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def test_the_network_is_left_alone_only_when_asked(fake, weights):
    YoloDetector(weights, offline=False)
    assert fake.environment == {"YOLO_AUTOINSTALL": "false"}


def test_pillow_is_as_it_was(fake, weights):
    before = Image.open
    YoloDetector(weights)
    assert Image.open is before


def test_a_damaged_checkpoint(fake, weights, monkeypatch):
    def fail(self, weights, task=None):
        raise EOFError("Ran out of input")

    monkeypatch.setattr(FakeYOLO, "__init__", fail)
    with pytest.raises(ValueError, match=r"weights must be an ultralytics checkpoint; got .*tiny\.pt \(Ran out"):
        YoloDetector(weights)


def test_without_ultralytics(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ValueError, match="pip install ultralytics"):
        YoloDetector(weights)


@pytest.mark.parametrize("size", [0, -32, 100])
def test_bad_sizes(weights, size):
    with pytest.raises(ValueError, match=f"size must be a positive multiple of 32; got {size}"):
        YoloDetector(weights, size=size)


@pytest.mark.parametrize("confidence", [-0.1, 1.5])
def test_bad_confidences(weights, confidence):
    with pytest.raises(ValueError, match=f"confidence must lie in 0-1; got {confidence}"):
        YoloDetector(weights, confidence=confidence)


@pytest.fixture(scope="module")
def real(shared_root):
    pytest.importorskip("ultralytics")
    detector = YoloDetector(shared_root / "weights" / "yolo11n.pt")
    lines = (shared_root / "data" / "reference" / "yolo11n_448.jsonl").read_text().splitlines()
    reference = [json.loads(line) for line in lines[:: len(lines) // 20]][:20]
    years = {path.stem: path for path in (shared_root / "data" / "ccu" / "Movie_Poster_Dataset").glob("*/*.jpg")}
    return detector, reference, [np.asarray(Image.open(years[row["id"]]).convert("RGB")) for row in reference]


@pytest.mark.shared
@pytest.mark.slow
def test_ultralytics_own_results_on_real_posters(real):
    detector, reference, posters = real
    found = [record for start in range(0, 20, 8) for record in detector(posters[start : start + 8])]
    for row, record in zip(reference, found, strict=True):
        assert record.labels.tolist() == row["class"], row["id"]
        assert record.scores == pytest.approx(row["confidence"], abs=2e-3), row["id"]
        centre, size = (record.boxes[:, :2] + record.boxes[:, 2:]) / 2, record.boxes[:, 2:] - record.boxes[:, :2]
        wanted = np.array(row["xywhn"], np.float32).reshape(-1, 4)
        assert np.hstack([centre, size]) == pytest.approx(wanted, abs=2e-3), row["id"]
    assert sum(map(len, found)) > 20


@pytest.mark.shared
@pytest.mark.slow
def test_a_record_does_not_depend_on_its_batch_mates(real):
    detector, _, posters = real
    chosen = [image for image in posters if len(detector([image])[0]) > 1][:2]
    wide = np.zeros((100, 400, 3), np.uint8)
    for image in chosen:
        alone, among = detector([image])[0], detector([wide, image, chosen[0]])[1]
        assert alone.labels.tolist() == among.labels.tolist()
        assert alone.boxes == pytest.approx(among.boxes, abs=1e-4)
        assert alone.scores == pytest.approx(among.scores, abs=1e-4)


def test_the_process_keeps_its_threads(fake, tmp_path, monkeypatch):
    """ultralytics takes all but one of the cores, of every torch model in the process and of its children."""
    import torch

    def predict(self, images, **options):
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
        return []

    monkeypatch.setattr(FakeYOLO, "predict", predict)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    weights = tmp_path / "yolo.pt"
    weights.touch()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        YoloDetector(weights)([np.zeros((40, 40, 3), np.uint8)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert "OMP_NUM_THREADS" not in os.environ
