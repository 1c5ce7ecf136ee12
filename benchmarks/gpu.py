"""All that a machine with a GPU can tell, by one command in less than eight minutes.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --posters DATA --minutes 20                  # on real posters, with more time
    python benchmarks/gpu.py --device cpu --posters few --minutes 20      # to see whether it runs, without a GPU

The tests that need a GPU; a training of the image network on posters; `mmposter predict`, cold and warm; extraction, by
branch and all together, against the loop that a user would write (benchmarks/loop.py). Posters are drawn where DATA (a
folder that `mmposter prepare` wrote) is not given. Nothing is downloaded: what needs files or libraries that are not
here, or fails, or finds no time left, is named in the table, and the others go on. OUT gets gpu.json and gpu.md, which
goes into docs/performance.md; both are written anew after each part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_report import Report

LIBRARIES = ("torch", "torchvision", "accelerate", "transformers", "onnxruntime", "rapidocr", "easyocr", "ultralytics")


def main() -> None:
    """Run all parts."""
    asked = _options()
    problems, facts = _look_around(asked)
    if problems:
        print("gpu.py cannot run here:\n" + "\n".join(f"- {problem}" for problem in problems), file=sys.stderr)
        sys.exit(2)
    import gpu_parts  # which loads torch and mmposter

    report = Report(asked.out, facts, asked.minutes)
    parts: dict[str, Callable[[gpu_parts.Bench], None]] = {
        "tests": gpu_parts.run_tests,
        "predict": gpu_parts.run_predict,
        "finetune": gpu_parts.run_finetune,
        "extract": gpu_parts.run_extraction,
    }
    with tempfile.TemporaryDirectory(prefix="mmposter-benchmark-") as folder:
        bench = gpu_parts.Bench.make(report, Path(folder), asked)
        for name in asked.only or parts:
            with report.part(name):
                report.limit()
                parts[name](bench)
    report.write()
    print((asked.out / "gpu.md").read_text(encoding="utf-8"))
    print(f"written: {asked.out / 'gpu.json'}, {asked.out / 'gpu.md'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posters", default="drawn", help="drawn (default), few (a dozen drawn), or prepared DATA")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=8.0, help="after which what is left is left out")
    parser.add_argument("--out", type=Path, default=Path("gpu-benchmark"))
    parser.add_argument("--config", default="default", help="recipe of training and extraction")
    parser.add_argument("--set", action="append", default=[], help="as of `mmposter extract`")
    parser.add_argument("--model", default="posters", help="that predicts")
    parser.add_argument("--branches", help="of prediction and extraction; default: all that can be used here")
    parser.add_argument("--only", action="append", choices=("tests", "predict", "finetune", "extract"))
    return parser.parse_args()


def _look_around(asked: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """What is missing, in words; and what this machine is."""
    if asked.posters not in ("drawn", "few") and not (Path(asked.posters) / "manifest.parquet").is_file():
        posters = [
            f"posters: {asked.posters} is no folder that `mmposter prepare` wrote; without --posters some are drawn"
        ]
    else:
        posters = []
    try:
        import torch

        from mmposter.engines.machine import cores
        from mmposter.runs.provenance import package_version, source_commit
    except ImportError as error:
        return [
            *posters,
            f"a library: {error}; in the checkout, type: pip install --editable '.[lite,offline,dev]'",
        ], {}
    there = torch.cuda.is_available()
    if asked.device == "cuda" and not there:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        said = f"a GPU: torch {torch.__version__} ({built}) sees none. To see whether all else runs, type: "
        return [*posters, f"{said}python benchmarks/gpu.py --device cpu --posters few --minutes 20"], {}
    name = torch.cuda.get_device_name(0) if asked.device == "cuda" else "no GPU (--device cpu)"
    memory = torch.cuda.get_device_properties(0).total_memory if asked.device == "cuda" else 0
    return posters, {
        "device": name,
        "device_memory_gb": round(memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "cores": cores(),
        "python": sys.version.split()[0],
        "commit": source_commit(),
        "versions": {library: package_version(library) for library in LIBRARIES},
        "command": sys.argv[1:],
    }


if __name__ == "__main__":
    main()
