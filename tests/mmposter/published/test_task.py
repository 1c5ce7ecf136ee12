"""The posters as a system wants them: taken as they are where that is what they are already."""

from __future__ import annotations

from dataclasses import replace

from mmposter.data.vocabulary import Vocabulary
from mmposter.published.task import task_dataset


def test_data_of_an_earlier_mapping_are_taken_as_they_are(posters, tmp_path):
    wanted = Vocabulary.load("raw28")
    earlier = replace(posters, genre_vocabulary=Vocabulary("raw28", wanted.genres))  # knew no N/A
    assert task_dataset(earlier, "raw28", tmp_path) is earlier
    assert not list(tmp_path.iterdir())


def test_data_whose_raw_names_lead_elsewhere_now_are_made_anew(posters, tmp_path):
    table = posters.table.copy()
    first = table.index[0]
    other = next(genre for genre in posters.vocabulary.genres if genre not in table["genres"][first])
    raw = list(table["raw_genres"])
    table["raw_genres"] = [[*raw[0], f"{other} movies"], *raw[1:]]  # unknown to an earlier version
    derived = task_dataset(replace(posters, table=table), "raw28", tmp_path)
    assert other in derived.table["genres"][0]
    assert derived.folder.parent == tmp_path
