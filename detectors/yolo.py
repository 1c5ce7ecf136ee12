"""Objects on a poster, by ultralytics' YOLO. The only file that imports ultralytics (AGPL-3.0), and only on use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.errors import UnsafeCheckpointError
from detectors.records import Detections

STRIDE = 32
_CHECKPOINT = ".pt"  # ultralytics also loads YAML, engines and other libraries' files, each in a way of its own
_PATCHING = Lock()


class YoloDetector:
    """A YOLO of ultralytics over whole batches of posters.

    Each poster is scaled so that its longer side has `size` pixels and padded to a square, whatever the posters that
    share its batch: ultralytics' default would pad less when all are of one size, and the boxes of a poster would
    then depend on its neighbours.

    Args:
        weights: an ultralytics checkpoint (``yolo11n.pt``). It is read without running code (`load_network`).
        size: the side in pixels of the square that the network sees.
        confidence: boxes below it are not returned.
        device: a torch device name.
        offline: tell ultralytics to stay off the network (it looks for updates and sends usage events otherwise).
        trust: let ultralytics unpickle `weights`, which runs whatever code the file holds: for files whose maker is
            known, and that hold more than a network of ultralytics.

    Raises:
        UnsafeCheckpointError: if `weights` need `trust`.
        ValueError: if `size` is no positive multiple of 32, `confidence` not in 0-1, or `weights` no checkpoint.
    """

    def __init__(
        self,
        weights: Path,
        *,
        size: int = 448,
        confidence: float = 0.15,
        device: str = "cpu",
        offline: bool = True,
        trust: bool = False,
    ) -> None:
        if size <= 0 or size % STRIDE:
            raise ValueError(f"size must be a positive multiple of {STRIDE}; got {size}")
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"confidence must lie in 0-1; got {confidence}")
        self.size, self.confidence, self.device = size, confidence, device
        self._model = _load(weights, offline, trust)
        names: dict[int, str] = self._model.names
        try:
            self.class_names = tuple(str(names[index]) for index in range(len(names)))
        except (KeyError, TypeError) as error:
            raise ValueError(f"weights must name their classes; got {weights}") from error

    def __call__(self, posters: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find objects.

        Args:
            posters: arrays H x W x 3, uint8, RGB; sizes may differ.

        Returns:
            One record a poster, in order, boxes by falling confidence.
        """
        if not posters:
            return []
        with _own_threads():
            results = self._model.predict(
                # ultralytics takes numpy images as BGR, as OpenCV reads them.
                [np.ascontiguousarray(poster[..., ::-1]) for poster in posters],
                imgsz=self.size,
                rect=False,
                conf=self.confidence,
                device=self.device,
                batch=len(posters),
                verbose=False,
            )
        return [self._record(result) for result in results]

    def _record(self, result: Any) -> Detections:
        boxes = result.boxes.cpu().numpy()
        return Detections(
            np.clip(np.array(boxes.xyxyn, np.float32).reshape(-1, 4), 0.0, 1.0),
            np.array(boxes.conf, np.float32),
            np.array(boxes.cls).astype(np.int64),
            self.class_names,
        )


@contextmanager
def _own_threads() -> Iterator[None]:
    """ultralytics sets torch's threads for the whole process to one less than the cores, at most 8, and those of
    processes to come to one: undo that.

    All other models would go on with these, alone on one of two cores, or with 8 threads in each of many workers.
    """
    import torch

    threads, inherited = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if inherited is None:
            os.environ.pop("OMP_NUM_THREADS", None)


def _load(weights: Path, offline: bool, trust: bool) -> Any:
    weights = Path(weights)
    if not weights.is_file():
        # Without this check ultralytics would try to download a file of that name.
        raise ValueError(f"weights must be an existing checkpoint file; got {weights}")
    if weights.suffix.lower() != _CHECKPOINT:
        raise ValueError(f"weights must be an ultralytics checkpoint, a {_CHECKPOINT} file; got {weights}")
    if offline:
        os.environ["YOLO_OFFLINE"] = "true"
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # a library must not run pip on a user's machine
    from PIL import Image

    opener = Image.open
    try:
        with _own_threads():
            from ultralytics import YOLO
    except ImportError as error:
        raise ValueError(f"the yolo detector needs ultralytics; run: pip install ultralytics ({error})") from error
    finally:
        # ultralytics replaces Pillow's `open` for the whole process by one that asks for another package (and would
        # install it) whenever a file is no picture.
        Image.open = opener
    try:
        if trust:
            return YOLO(str(weights), task="detect")
        with _read_as_data(YOLO):
            return YOLO(str(weights), task="detect")
    except UnsafeCheckpointError:
        raise
    except Exception as error:  # of a damaged pickle, anything
        raise ValueError(f"weights must be an ultralytics checkpoint; got {weights} ({error})") from error


@contextmanager
def _read_as_data(yolo: type[Any]) -> Iterator[None]:
    """While this lasts, ultralytics gets the content of checkpoints from `load_network`, and unpickles none itself."""
    from detectors.checkpoints import load_network  # needs torch, for which `import detectors` does not wait

    package = yolo.__module__.partition(".")[0]
    tasks: Any = sys.modules.get(f"{package}.nn.tasks")
    theirs = getattr(tasks, "torch_safe_load", None)
    if theirs is None:
        if package == "ultralytics":
            raise UnsafeCheckpointError(f"this version of {package} loads checkpoints in a way that is not known here")
        yield  # another class in its place, which unpickles nothing
        return

    def ours(weight: str | Path, *_: Any, **__: Any) -> tuple[dict[str, Any], str]:
        return load_network(Path(weight)), str(weight)

    with _PATCHING:
        tasks.torch_safe_load = ours
        try:
            yield
        finally:
            tasks.torch_safe_load = theirs
