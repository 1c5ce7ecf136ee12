"""Write what the shipped model has seen, and the perceptual hashes of the shipped pack; no weights are touched.

    python scripts/seen_posters.py POSTERS [--model RUN --pack FILE.mmpack]

POSTERS is the folder with the pictures of the data set that the pack was made of, whatever lies where in it: they are
found by their SHA-256, which the pack's manifest has. Written are ``seen.parquet`` of the model, and
``benchmark.phash.parquet`` beside the pack. Model and pack must be of one manifest, and every picture of it must be
there. Model and pack are those of the build that this script lies in, where no others are named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmposter.data import Dataset
from mmposter.data.inspection import inspect_file
from mmposter.files.atomic import atomic_path
from mmposter.images.listing import image_files
from mmposter.packs.read import COMPANION, open_pack
from mmposter.runs.run import Run
from mmposter.runs.seen import TRAIN, VAL, SeenPosters
from mmposter.shipped import BENCHMARK, POSTERS, shipped_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posters", type=Path)
    parser.add_argument("--model", type=Path, help="run folder")
    parser.add_argument("--pack", type=Path)
    asked = parser.parse_args()
    if (asked.model is None) != (asked.pack is None):
        parser.error("--model and --pack go together: the pack is the one that the model was trained on")
    run = Run.load(asked.model or shipped_model(POSTERS))
    pack = asked.pack or run.folder.parent / f"{BENCHMARK}.mmpack"
    dataset = Dataset.load(open_pack(pack))
    if run.facts["manifest"] != dataset.info["manifest_sha256"]:
        sys.exit("error: the model was trained on another manifest than that of the pack")
    looks = (inspect_file(path) for path in image_files(asked.posters))
    known = {look.sha256: look.phash for look in looks if look.reason is None}
    missing = [name for name in dataset.table["sha256"] if name not in known]
    if missing:
        sys.exit(f"error: {len(missing)} of {len(dataset)} pictures are not there, for example {missing[0]}")
    table = dataset.table.assign(phash=np.array([known[name] for name in dataset.table["sha256"]], np.uint64))
    sides = [SeenPosters.of(table[table["split"] == split], split) for split in (TRAIN, VAL)]
    sides[0].with_more(sides[1]).save(run.folder)
    with atomic_path(pack.with_suffix(COMPANION)) as temporary:
        hashes = pa.table({"phash": pa.array(table["phash"].to_numpy(), pa.uint64())})
        pq.write_table(hashes, temporary, use_dictionary=False, write_page_checksum=True)


if __name__ == "__main__":
    main()
