from __future__ import annotations

import pytest

from mmposter.config import load_config, parse_branches
from mmposter.errors import UserError
from mmposter.suggest import closest, did_you_mean


def test_the_nearest_known_name_is_proposed_as_it_is_written():
    assert closest("horor", ["Drama", "Horror"]) == "Horror"
    assert closest("SCI-FI", ["Sci-Fi"]) == "Sci-Fi"
    assert closest("western", ["Drama", "Horror"]) is None
    assert closest("hor", ["Horror"], alike=0.9) is None
    assert did_you_mean("western", ["Drama"]) == ""


def test_no_time_is_spent_on_a_text_that_is_no_name():
    assert closest("a" * 100_000, ["a" * 150]) is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusoin.head=gated", "fusoin: unknown key (did you mean fusion?)"),
        ("cnn.backbon=resnet50", "cnn.backbon: unknown key (did you mean backbone?)"),
        ("fusion.head=gatde", "got 'gatde' (did you mean gated?)"),
        ("train.optimizer=rmspropp", "got 'rmspropp' (did you mean rmsprop?)"),
        ("fusion.head=gated fusion.options.hiden=3", "got 'hiden' (did you mean hidden?)"),
        ("style.gate=grma", "got 'grma' (did you mean gram?)"),
        ("branches=[cnn,stlye]", "got cnn,stlye (did you mean style?)"),
    ],
)
def test_keys_and_values_of_the_configuration(override: str, said: str):
    with pytest.raises(UserError) as error:
        load_config(None, override.split())
    assert said in str(error.value)


def test_names_of_options():
    with pytest.raises(UserError, match=r"got cnn,stlye \(did you mean style\?\)"):
        parse_branches("cnn,stlye")
    with pytest.raises(UserError, match=r"there is no 'lit' \(did you mean lite\?\)"):
        load_config("lit")
