"""mmposter: movie genres from posters, and why.

The names below load on first use, so that ``import mmposter`` costs nothing. Whoever imports any module of mmposter
imports this one first: so here, above all rooms, those below get what they are to be given from above.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposter.data.opening import set_opener
from mmposter.siblings import is_program, require_own

if TYPE_CHECKING:
    from mmposter.ablation.grid import build_plan
    from mmposter.ablation.run import ablate
    from mmposter.config import Config, load_config
    from mmposter.data import Dataset
    from mmposter.data.pipeline import prepare
    from mmposter.data.vocabulary import Vocabulary
    from mmposter.errors import BadImageError, UserError
    from mmposter.explain.classifier import PosterClassifier, from_pretrained
    from mmposter.export import export_run
    from mmposter.inference.classifier import Prediction, Predictions
    from mmposter.measurement.calibrate import calibrate_run
    from mmposter.measurement.compare import compare_runs
    from mmposter.measurement.evaluate import evaluate_run, examine_run
    from mmposter.pretrained.trust import trusting
    from mmposter.runs.run import Run
    from mmposter.sharing import push_run
    from mmposter.shipped import shipped_model
    from mmposter.training.callbacks import TrainingCallback
    from mmposter.training.start import Start
    from mmposter.training.train import train

    __version__: str

_HOMES = {
    "BadImageError": "mmposter.errors",
    "Config": "mmposter.config",
    "Dataset": "mmposter.data",
    "PosterClassifier": "mmposter.explain.classifier",
    "Prediction": "mmposter.inference.classifier",
    "Predictions": "mmposter.inference.classifier",
    "Run": "mmposter.runs.run",
    "Start": "mmposter.training.start",
    "TrainingCallback": "mmposter.training.callbacks",
    "UserError": "mmposter.errors",
    "Vocabulary": "mmposter.data.vocabulary",
    "ablate": "mmposter.ablation.run",
    "build_plan": "mmposter.ablation.grid",
    "calibrate_run": "mmposter.measurement.calibrate",
    "compare_runs": "mmposter.measurement.compare",
    "evaluate_run": "mmposter.measurement.evaluate",
    "examine_run": "mmposter.measurement.evaluate",
    "export_run": "mmposter.export",
    "from_pretrained": "mmposter.explain.classifier",
    "load_config": "mmposter.config",
    "prepare": "mmposter.data",
    "push_run": "mmposter.sharing",
    "shipped_model": "mmposter.shipped",
    "train": "mmposter.training.train",
    "trusting": "mmposter.pretrained.trust",
}

__all__ = [
    "BadImageError",
    "Config",
    "Dataset",
    "PosterClassifier",
    "Prediction",
    "Predictions",
    "Run",
    "Start",
    "TrainingCallback",
    "UserError",
    "Vocabulary",
    "ablate",
    "build_plan",
    "calibrate_run",
    "compare_runs",
    "evaluate_run",
    "examine_run",
    "export_run",
    "from_pretrained",
    "load_config",
    "prepare",
    "push_run",
    "shipped_model",
    "train",
    "trusting",
]


if not is_program():
    require_own()


def _open_data(data: str | Path) -> Path:
    """Packs stand above data, and `Dataset.load` takes them too."""
    from mmposter.packs.read import find_data

    return find_data(data)


set_opener(_open_data)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from mmposter.engines.libraries import installed_version

        return installed_version("mmposter") or "unknown"
    if name not in _HOMES:
        raise AttributeError(f"module 'mmposter' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
