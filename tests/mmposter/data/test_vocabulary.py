from __future__ import annotations

import json

import numpy as np
import pytest

from mmposter.data.vocabulary import Vocabulary, builtin_vocabularies
from mmposter.errors import UserError

SMALL = Vocabulary("small", ("War", "Drama", "Music"), {"Musical": "Music", "N/A": None})


def test_map_keeps_the_order_of_the_genres_and_names_the_unknown():
    assert SMALL.map(["Musical", "Music", "Noir", "War", "N/A"]) == (["War", "Music"], ["Noir"])
    assert SMALL.map([" drama "]) == (["Drama"], [])


def test_encode_and_decode():
    assert SMALL.encode(["Musical", "War"]).tolist() == [1, 0, 1]
    assert SMALL.encode([]).tolist() == [0, 0, 0]
    assert SMALL.encode_all([["Drama"], []]).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert SMALL.encode_all([]).shape == (0, 3)
    assert SMALL.encode(["War"]).dtype == np.float32
    assert SMALL.decode([0.0, 1.0, 1.0]) == ["Drama", "Music"]
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        SMALL.decode([0, 1])
    with pytest.raises(UserError, match=r"does not know 'Noir'.\nIts genres: War, Drama, Music"):
        SMALL.encode(["Noir"])


def test_json_round_trip():
    again = Vocabulary.from_json(json.loads(json.dumps(SMALL.to_json())))
    assert again == SMALL
    assert hash(again) == hash(SMALL)


def test_a_poster_without_a_name_counts_as_na_where_that_is_known():
    assert SMALL.map([]) == ([], [])  # known, and dropped
    kept = Vocabulary("kept", ("War", "N/A"))
    assert kept.map([]) == kept.map(["n/a "]) == (["N/A"], [])
    assert kept.map(["Noir"]) == ([], ["Noir"])  # it has a genre, but none that is known
    assert Vocabulary("none", ("War",)).map([]) == ([], [])
    assert Vocabulary.load("single13").map([]) == (["Other"], [])


ONE = Vocabulary("one", ("War", "Drama", "Other"), {"Biography": "Other", "Action": None, "N/A": "Other"}, "first")


@pytest.mark.parametrize(
    ("raw", "genre"),
    [
        (["War", " drama "], "Drama"),  # by the alphabet, not by the vocabulary nor as written
        (["War", "Biography", "Drama"], "Other"),  # the raw name decides, not the genre that it leads to
        (["Drama", "Action"], "Drama"),  # dropped names are passed over,
        (["War", "Absurd"], "War"),  # unknown ones too
        (["N/A", "War"], "War"),  # no name of a genre
        (["N/A"], "Other"),
        ([], "Other"),
    ],
)
def test_one_label_is_the_first_raw_name_by_the_alphabet(raw, genre):
    assert ONE.map(raw)[0] == ONE.map(reversed(raw))[0] == [genre]
    assert ONE.map([genre])[0] == [genre]
    assert ONE.decode(ONE.encode([name for name in raw if name != "Absurd"])) == [genre]


def test_one_label_needs_a_name_that_leads_somewhere():
    assert ONE.map(["Action", "Absurd"]) == ([], ["Absurd"])
    assert ONE.encode(["Action"]).tolist() == [0, 0, 0]


def test_labels_are_saved_compared_and_checked():
    again = Vocabulary.from_json(json.loads(json.dumps(ONE.to_json())))
    assert again == ONE
    every = Vocabulary("one", ONE.genres, ONE.mapping)
    assert every != ONE
    assert "labels" not in every.to_json()  # as in files from before the key was there
    with pytest.raises(UserError, match=r"the run .* has labels first, the data set .* has labels all"):
        ONE.require_same(every, mine="the run")
    with pytest.raises(UserError, match="labels must be all or first, got 'one'"):
        Vocabulary.from_json({**ONE.to_json(), "labels": "one"})


def test_changing_the_given_mapping_changes_nothing():
    mapping = {"Musical": "Music"}
    vocabulary = Vocabulary("v", ("Music",), mapping)
    mapping["Musical"] = "Drama"
    assert vocabulary.map(["Musical"]) == (["Music"], [])


@pytest.mark.parametrize(
    ("genres", "mapping", "message"),
    [
        ((), {}, "the list of genres is empty"),
        (("Drama", "War", "Drama"), {}, "genre 'Drama' is there twice"),
        (("Drama", "drama"), {}, r"genre 'drama' is there twice \(as 'Drama'\)"),
        (("Drama", " "), {}, "a genre has an empty name"),
        (("Drama",), {"Musical": "Music"}, "'Musical' is mapped to 'Music', which is no genre"),
        (("Drama", "War"), {"War": "Drama"}, "'War' is a genre of the list and is mapped to 'Drama'"),
        (("Drama",), {"Noir": "Drama", "noir": None}, "raw name 'noir' is mapped twice"),
    ],
)
def test_contradictions_are_refused(genres, mapping, message):
    with pytest.raises(UserError, match=message):
        Vocabulary("bad", genres, mapping)


def test_all_problems_come_at_once():
    with pytest.raises(UserError, match=r"is there twice\n.*no genre of the list"):
        Vocabulary("bad", ("Drama", "Drama"), {"x": "y"})


def test_same_genres_are_accepted_whatever_the_mapping():
    SMALL.require_same(Vocabulary("other", SMALL.genres, {}))


def test_comparison_names_what_differs():
    with pytest.raises(UserError, match=r"only the checkpoint has: Music\n  only the data set has: Noir, Sport"):
        SMALL.require_same(Vocabulary("other", ("War", "Drama", "Noir", "Sport")))
    order = r"number 2 is 'Drama' in run/best and 'Music' in DATA"
    with pytest.raises(UserError, match=order):
        SMALL.require_same(Vocabulary("other", ("War", "Music", "Drama")), mine="run/best", theirs="DATA")


def test_posters20_is_the_published_mapping():
    vocabulary = Vocabulary.load("posters20")
    assert len(vocabulary) == 20
    rare = ["Adult", "Game-Show", "News", "Reality-TV", "Short", "Talk-Show", "Western"]
    assert {vocabulary.map([name])[0][0] for name in rare} == {"Other"}
    assert vocabulary.map(["Musical", "N/A"]) == (["Music"], [])


@pytest.mark.parametrize(
    ("name", "count"),
    [("posters20", 20), ("raw28", 28), ("raw25", 25), ("top5", 5), ("single13", 13), ("posters12", 12)],
)
def test_every_built_in_knows_every_genre_of_imdb(name, count):
    vocabulary = Vocabulary.load(name)
    assert (vocabulary.name, len(vocabulary)) == (name, count)
    raw28 = set(Vocabulary.load("raw28").genres)
    assert vocabulary.labels == ("first" if name == "single13" else "all")
    assert vocabulary.map([*raw28, "N/A"])[1] == []
    # posters20 was published for posters from 1980 on; it has no place for Film-Noir.
    assert name != "posters20" or vocabulary.map(["Film-Noir"])[0] == []


def test_the_list_above_is_complete():
    assert builtin_vocabularies() == ["posters12", "posters20", "raw25", "raw28", "single13", "top5"]


def test_unknown_name_lists_the_built_ins():
    with pytest.raises(
        UserError,
        match=r"no vocabulary 'poster20' \(did you mean posters20\?\).\nBuilt in: posters12, posters20, raw25",
    ):
        Vocabulary.load("poster20")


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_own_file(tmp_path, suffix):
    path = tmp_path / f"mine.{suffix}"
    path.write_text(json.dumps(SMALL.to_json()))  # JSON is YAML too
    assert Vocabulary.load(path) == SMALL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ngenres: [A]\ngenre: [B]", r"unknown key 'genre' \(allowed: name, genres, mapping, labels\)"),
        ("name: x\ngenres: A", "genres must be a list of texts, got 'A'"),
        ("name: 3\ngenres: [A, 4]", r"name must be a text, got 3\n.*genres must be a list of texts"),
        ("name: x\ngenres: [A]\nmapping: {b: 3}", "mapping must lead texts to texts or null"),
        ("- A\n- B", "a vocabulary is a mapping"),
        ("name: x\nname: y\ngenres: [A]", "is not valid YAML"),
        ("name: [", "is not valid YAML"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Vocabulary.load(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path / "none.yaml")
