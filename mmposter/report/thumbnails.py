"""Pictures of the posters that a model is most wrong about, for the page of an evaluation."""

from __future__ import annotations

from mmposter.data.dataset import Dataset
from mmposter.errors import BadImageError, UserError
from mmposter.evaluation.examination import Examination
from mmposter.images.thumbnails import thumbnail_uri

SIZE = (150, 220)
"""Width and height in pixels, the most; with `mmposter.evaluation.hardest.TOP` pictures a page grows by 0.2 MB."""


def hardest_thumbnails(found: Examination, dataset: Dataset) -> dict[str, str]:
    """The text of an ``src`` attribute of each of the hardest posters that can be read here, by id.

    Nothing is asked of a network: a poster whose file is not there, or is damaged, has no picture; of a pack none has.
    """
    wanted = {poster.id for poster in found.hardest}
    rows = [row for row, name in enumerate(dataset.table["id"]) if name in wanted]
    crops, pictures = dataset.crops, {}
    for row in rows:
        try:
            crop = None if crops is None else crops[row]
            pictures[str(dataset.table["id"].iloc[row])] = thumbnail_uri(dataset.image_path(row), SIZE, crop)
        except (BadImageError, UserError):
            continue
    return pictures
