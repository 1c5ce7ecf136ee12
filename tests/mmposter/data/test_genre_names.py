"""Genres as people write them lead to the vocabulary's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmposter.data.genre_names import KnownNames, plain_name, says_no_genre
from mmposter.data.vocabulary import Vocabulary, builtin_vocabularies

EVERYDAY = {
    "Science Fiction": "Sci-Fi", "science-fiction": "Sci-Fi", "SciFi": "Sci-Fi", "Sci Fi": "Sci-Fi", "SF": "Sci-Fi",
    "Sports": "Sport", "Historical": "History", "Musicals": "Musical", "Biopic": "Biography", "Bio-pic": "Biography",
    "Film Noir": "Film-Noir", "film noir": "Film-Noir", "Noir": "Film-Noir", "Reality": "Reality-TV",
    "Reality TV": "Reality-TV", "Talk Show": "Talk-Show", "Talk": "Talk-Show", "Game Show": "Game-Show",
    "Comedies": "Comedy", "Mysteries": "Mystery", "Documentaries": "Documentary", "Shorts": "Short",
    "Short Film": "Short", "Horror movies": "Horror", "Animated": "Animation", "Anime": "Animation",
    "Children's": "Family", "Kids": "Family", "Suspense": "Thriller", "Martial Arts": "Action", "Romantic": "Romance",
    "War & Politics": "War", "Westerns": "Western", "DRAMA": "Drama",
}  # fmt: skip
TMDB = [
    "Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy",
    "History", "Horror", "Music", "Mystery", "Romance", "Science Fiction", "TV Movie", "Thriller", "War",
    "Western", "Action & Adventure", "Kids", "News", "Reality", "Sci-Fi & Fantasy", "Soap", "Talk",
    "War & Politics",
]  # fmt: skip
MOVIELENS = [
    "Action", "Adventure", "Animation", "Children", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
    "Western", "(no genres listed)",
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), EVERYDAY.items())
def test_everyday_names_mean_what_imdb_calls_it(written, meant):
    for name in builtin_vocabularies():
        vocabulary = Vocabulary.load(name)
        assert vocabulary.map([written]) == vocabulary.map([meant]), name


def test_a_name_of_several_genres_has_them_all():
    vocabulary = Vocabulary.load("posters20")
    for name in ("Action & Adventure", "Action/Adventure", "adventure and action", "Action + Adventure"):
        assert vocabulary.map([name]) == (["Action", "Adventure"], [])
    assert vocabulary.map(["Rom-Com"]) == vocabulary.map(["Romantic Comedies"]) == (["Comedy", "Romance"], [])
    assert vocabulary.map(["Action/Zombie"]) == (["Action"], ["Zombie"])
    assert vocabulary.map(["Home and Garden"]) == ([], ["Home and Garden"])  # no part is known: it is one name


@pytest.mark.parametrize("name", builtin_vocabularies())
def test_the_names_of_tmdb_and_movielens_are_all_known(name):
    assert Vocabulary.load(name).map([*TMDB, *MOVIELENS])[1] == []


@pytest.mark.parametrize("nothing", ["N/A", "n/a", "NaN", "none", "(no genres listed)", "\\N", "-", "TV Movie", ""])
def test_what_says_no_genre(nothing):
    assert says_no_genre([nothing])
    assert Vocabulary("small", ("War",)).map([nothing]) == ([], [])
    # Where N/A is a genre, such a poster is one of it; one that has a genre too is not.
    assert Vocabulary.load("raw25").map([nothing])[0] == ["N/A"]
    if plain_name(nothing) != "n/a":
        assert Vocabulary.load("raw25").map([nothing, "War"])[0] == ["War"]
    assert not says_no_genre([nothing, "War"])


def test_a_vocabulary_of_ones_own_goes_first():
    mine = Vocabulary("mine", ("Science Fiction", "TV Movie", "Kids", "Action & Adventure"), {"Noir": "Kids"})
    assert mine.map(["Sci-Fi"]) == (["Science Fiction"], [])  # the other way round, too
    assert mine.map(["TV movie", "Children"]) == (["TV Movie", "Kids"], [])
    assert mine.map(["Film-Noir"]) == (["Kids"], [])
    assert mine.map(["Action & Adventure"]) == (["Action & Adventure"], [])
    # Not every Animation is an Anime, nor every Family film for children.
    assert Vocabulary("anime", ("Anime", "Kids")).map(["Animation", "Family"]) == ([], ["Animation", "Family"])


def test_a_spelling_that_could_be_two_genres_is_none():
    both = Vocabulary("both", ("AB", "A-B", "Science Fiction"), {"SciFi": None, "Sci-Fi": "AB"})
    assert both.map(["A-B"]) == (["A-B"], [])
    assert both.map(["A B"]) == ([], ["A B"])
    assert both.map(["SciFi"]) == ([], [])
    assert both.map(["SF"])[1] == ["SF"]


def test_one_label_of_other_spellings_is_that_of_imdbs():
    one = Vocabulary.load("single13")
    assert one.map(["Science Fiction", "Thriller"])[0] == one.map(["Sci-Fi", "Thriller"])[0] == ["Sci-Fi"]


def test_other_names_are_no_part_of_a_vocabulary():
    vocabulary = Vocabulary.load("posters20")
    assert set(vocabulary.to_json()) == {"name", "genres", "mapping"}
    earlier = {**vocabulary.to_json(), "mapping": {"Musical": "Music"}}  # as a run or a pack of before has it
    assert vocabulary.same_labels(Vocabulary.from_json(earlier))


def test_the_nearest_known_name():
    vocabulary = Vocabulary.load("posters20")
    found = {name: vocabulary.nearest(name) for name in ("Dramma", "Horreur", "Science Fition", "Musicle", "Zombie")}
    assert found == {
        "Dramma": "Drama", "Horreur": "Horror", "Science Fition": "Sci-Fi", "Musicle": "Musical", "Zombie": None,
    }  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_known_or_named(text):
    known = KnownNames({"Drama": "Drama", "War": None})
    keys, unknown = known.find(text)
    assert set(keys) <= {"drama", "war"}
    assert all(part in text for part in unknown)
    assert plain_name(text) == plain_name(text.upper().lower()) or not text.isascii()
    assert keys or unknown or says_no_genre([text])


def test_a_text_without_end_is_no_name():
    long = "Action & " * 10_000
    assert Vocabulary.load("posters20").map([long]) == ([], [long])
