"""The image network in `weights/`, from which the next released model begins: what it is, and what it has seen."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

import mmposter.shipped
from mmposter.config import CnnConfig
from mmposter.data.dataset import MANIFEST, read_manifest
from mmposter.features.tower import TowerWeights, made_for
from mmposter.packs.archive import Archive
from mmposter.runs.seen import SeenPosters

FOLDER = Path(__file__).parents[3] / "weights" / "densenet121"
TOWER = FOLDER / "tower.safetensors"
PACK = Path(mmposter.shipped.__file__).parent / "benchmark.mmpack"


def test_it_is_a_densenet121_in_half_precision_that_looks_at_posters():
    tensors = load_file(TOWER)
    assert {value.dtype for value in tensors.values() if value.ndim > 1} == {torch.float16}
    assert made_for("densenet121", str(TOWER)) == (224, 160)
    weights = TowerWeights.find(CnnConfig(backbone="densenet121", init=str(TOWER)), offline=True)
    with torch.inference_mode():
        features = weights.build()(torch.randn(2, 3, 64, 48))
    assert features.shape == (2, 1024)
    assert features.isfinite().all()


def test_it_has_learnt_nothing_of_the_posters_that_the_benchmark_measures():
    """By the file and by the picture; films by their number and title are held apart where data are joined."""
    seen = SeenPosters.load(FOLDER)
    assert seen is not None
    assert len(seen) > 20_000
    table = read_manifest(Archive(PACK).members()[MANIFEST]).to_pandas()
    for posters in (table, table.assign(sha256="0" * 64)):
        assert seen.among(posters, ["train"]).tolist() == (posters["split"] == "train").tolist()
        assert not seen.among(posters)[(posters["split"] == "test").to_numpy()].any()
