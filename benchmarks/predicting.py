"""How long `PosterClassifier.predict` takes when its models are loaded: one poster, and many in one call.

    python benchmarks/predicting.py POSTERS --model posters --branches cnn,style

POSTERS is a folder. One line of JSON: seconds of the first poster (models load), of one more (the median of
`--repeat`), and posters a second of one call with `--count` of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from mmposter import PosterClassifier
from mmposter.engines.libraries import go_offline, prepare_libraries
from mmposter.images.listing import image_files


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posters", type=Path)
    parser.add_argument("--model", default="posters")
    parser.add_argument("--branches", help="default: all that can be used here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--count", type=int, default=64)
    asked = parser.parse_args()
    posters = image_files(asked.posters)[: asked.count]
    if not posters:
        parser.error(f"{asked.posters} holds no pictures")
    prepare_libraries()
    go_offline(True)
    branches = None if asked.branches is None else asked.branches.split(",")
    classifier = PosterClassifier.load(asked.model, branches=branches, device=asked.device, offline=True)
    first, _ = _timed(classifier, posters[0])
    each = [_timed(classifier, posters[number % len(posters)])[0] for number in range(asked.repeat)]
    together, found = _timed(classifier, posters)
    failed = [prediction.error for prediction in found if prediction.error]
    if failed:
        raise SystemExit(
            f"error: {len(failed)} of {len(found)} posters could not be predicted, one of them: {failed[0]}"
        )
    measured = {"first_s": first, "one_s": statistics.median(each), "posters_s": len(posters) / together}
    print(json.dumps({"branches": list(classifier.branches), "device": classifier.device, **measured}))


def _timed(classifier: PosterClassifier, posters: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = classifier.predict(posters)
    return time.perf_counter() - begun, found


if __name__ == "__main__":
    main()
