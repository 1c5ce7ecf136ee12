"""What nobody should wait for: libraries that take seconds to load, and that cached features do not need."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from mmposter import Dataset, Run
from mmposter.features.table import dataset_extractors

run = Run.load("posters")
run.load_model()
dataset_extractors(Dataset.load("benchmark"), run.config, offline=True)
print(sorted({"torchvision", "torch._dynamo", "transformers", "ultralytics"} & set(sys.modules)))
"""


def test_a_model_of_cached_features_loads_no_network_library() -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert said.stdout.splitlines()[-1:] == ["[]"], said.stderr
