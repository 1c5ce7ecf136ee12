"""The loop that a user would write: one poster at a time through the libraries' own front doors.

Printed at the end, as one line of JSON: seconds by part and in all (models loaded before the clock starts), peak
memory, and the text that was read. `benchmarks/extract.py` runs it in a process of its own, with no setting of ours.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    """Run the loop over the posters named in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, help="JSON: posters, parts, and where the weights are")
    spec = json.loads(parser.parse_args().spec.read_text())
    steps = {part: _STEPS[part](spec) for part in spec["parts"]}
    texts: list[list[Any]] = []
    threads = torch.get_num_threads()
    for step in steps.values():
        step(spec["posters"][0], [])  # what a library does on its first call is no part of the loop
    # ultralytics leaves torch one thread less than there are cores: with two, the loop would take half as long again.
    torch.set_num_threads(threads)
    seconds: dict[str, float] = defaultdict(float)
    start = time.perf_counter()
    for path in spec["posters"]:
        lines: list[Any] = []
        for part, step in steps.items():
            begun = time.perf_counter()
            lines = step(path, lines) or lines
            seconds[part] += time.perf_counter() - begun
        texts.append(lines)
    total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": total, "parts": seconds, "peak_gb": peak, "texts": texts}))


def _ocr(spec: dict[str, Any]) -> Any:
    import easyocr

    reader = easyocr.Reader(
        ["en"], gpu=spec["gpu"], model_storage_directory=spec["easyocr"], download_enabled=False, verbose=False
    )

    def read(path: str, _: Any) -> list[Any]:
        return [
            [[[float(x), float(y)] for x, y in quad], text, float(score)] for quad, text, score in reader.readtext(path)
        ]

    return read


def _rapidocr(spec: dict[str, Any]) -> Any:
    from rapidocr import RapidOCR

    reader = RapidOCR(params={"EngineConfig.onnxruntime.use_cuda": True} if spec["gpu"] else None)

    def read(path: str, _: Any) -> list[Any]:
        found = reader(path)
        if found.txts is None:
            return []
        return [
            [quad.tolist(), text, float(score)]
            for quad, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
        ]

    return read


def _text(spec: dict[str, Any]) -> Any:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(spec["encoder"], local_files_only=True)
    model = AutoModel.from_pretrained(spec["encoder"], local_files_only=True).to(spec["device"]).eval()

    def encode(_: str, lines: list[Any]) -> None:
        if not lines:
            return
        texts = [" ".join(text for _, text, _ in lines), *(text for _, text, _ in lines)]
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt").to(spec["device"])
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            ((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy()

    return encode


def _yolo(spec: dict[str, Any]) -> Any:
    from ultralytics import YOLO

    model = YOLO(spec["yolo"])

    def find(path: str, _: Any) -> None:
        model.predict(path, imgsz=spec["yolo_size"], conf=0.15, device=spec["device"], verbose=False)

    return find


def _cnn(spec: dict[str, Any]) -> Any:
    from PIL import Image
    from torchvision.transforms import v2

    from fusion import build_backbone

    network = build_backbone(spec["backbone"])
    network.load_state_dict(torch.load(spec["backbone_file"], map_location="cpu", weights_only=True))
    network.eval().to(spec["device"])
    stage = spec["stage"] or network.map_stage
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(spec["size"], interpolation=v2.InterpolationMode(spec["resize"])),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(spec["mean"], spec["std"]),
        ]
    )

    def look(path: str, _: Any) -> None:
        image = transform(Image.open(path).convert("RGB"))[None].to(spec["device"])
        with torch.no_grad():
            tapped = network.forward_stages(image, stop=stage)
            rows = tapped.flatten(2)
            (rows @ rows.transpose(1, 2)).cpu()
            network.forward_stages(tapped, start=stage).mean((2, 3)).cpu().numpy()

    return look


_STEPS = {"ocr": _ocr, "rapidocr": _rapidocr, "text": _text, "yolo": _yolo, "cnn": _cnn}

if __name__ == "__main__":
    main()
