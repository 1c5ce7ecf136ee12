"""Write a YOLO11n with random weights, where the real ones are not at hand: as fast as they are, and it finds nothing.

    python benchmarks/random_detector.py FILE.pt

Made of ultralytics' own description of the network; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def make_detector(file: Path) -> Path:
    """Write the checkpoint; its weights differ from call to call.

    Raises:
        ImportError: ultralytics is not installed.
    """
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    from ultralytics import YOLO

    YOLO("yolo11n.yaml", task="detect").save(str(file))
    return file


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    print(make_detector(parser.parse_args().file))


if __name__ == "__main__":
    main()
