"""Tags of ours in an NFO file: they come, are replaced, and go, and no byte of anybody else changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmposter.data.media import BACKUP, NfoError, restore_nfo, tag_nfo
from mmposter.data.media.nfo import parse_xml
from mmposter.data.media.tags import with_tags

BODY = (
    "<?xml version=\"1.0\" encoding='UTF-8' ?>\n<!-- by hand: </movie> -->\n<movie>\n"
    "\t<title>A &amp; B</title>\n\t<plot><![CDATA[x </movie> <tag>mmposter: no</tag>]]></plot>\n"
    "\t<tag>mine</tag>\n\t<!-- <tag>mmposter: old</tag> -->\n</movie>\n"
)


def test_tags_are_lines_as_the_others_are():
    after = with_tags(BODY, ["Horror", "Sci-Fi"])
    assert after == BODY.replace(
        "\n</movie>\n", "\n\t<tag>mmposter: Horror</tag>\n\t<tag>mmposter: Sci-Fi</tag>\n</movie>\n"
    )
    assert with_tags(after, ["Horror", "Sci-Fi"]) == after
    assert with_tags(after, ["Drama"]) == with_tags(BODY, ["Drama"])
    assert with_tags(after, []) == BODY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<movie><title>A</title></movie>", "<movie><title>A</title>T</movie>"),
        ("<movie></movie>", "<movie>T</movie>"),
        ("<movie>\n</movie >", "<movie>\n  T\n</movie >"),
        ("<movie>\r\n  <a/>\r\n</movie>\r\n", "<movie>\r\n  <a/>\r\n  T\r\n</movie>\r\n"),
        ("<movie>\r  <a/>\r</movie>", "<movie>\r  <a/>\r  T\r</movie>"),
        (" <movie>\n    <a>\n    </a>\n\n </movie>", " <movie>\n    <a>\n    </a>\n\n    T\n </movie>"),
        ("<movie>\n<a/> </movie>\nhttps://imdb.com/title/tt1/", "<movie>\n<a/> T</movie>\nhttps://imdb.com/title/tt1/"),
    ],
)
def test_where_a_tag_goes(before, after):
    assert with_tags(before, ["War"]) == after.replace("T", "<tag>mmposter: War</tag>")
    assert with_tags(with_tags(before, ["War"]), []) == before


def test_tags_that_another_program_has_written_again_are_ours():
    before = "<movie><tag>mine</tag><tag>mmposter: War</tag>\n<tag>mmposter: Drama</tag> </movie>"
    assert with_tags(before, []) == "<movie><tag>mine</tag>\n </movie>"


def test_a_genre_of_any_letters_is_ascii():
    after = with_tags("<movie></movie>", ["Comédie & <Krimi>"])
    assert after == "<movie><tag>mmposter: Com&#233;die &amp; &lt;Krimi&gt;</tag></movie>"
    assert parse_xml(after)[0].text == "mmposter: Comédie & <Krimi>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<movie/>", "no </movie>"),
        ("<movie><set><tag>mmposter: War</tag></set></movie>", "without touching more than our tags"),
        ("<movie><tag >mmposter: War</tag></movie>", "without touching more than our tags"),
        ("<tvshow></tvshow>", "of <tvshow>"),
        ("<movie>", "no well-formed XML"),
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text, message):
    with pytest.raises(NfoError, match=message):
        with_tags(text, ["Drama"])


_BLANKS = st.text(" \t\n\r", max_size=4)
_PARTS = st.lists(
    st.one_of(
        _BLANKS,
        st.sampled_from(
            [
                "<title>A</title>", "<tag>mine</tag>", "<!-- </movie> -->", "<![CDATA[</movie>]]>", "<?x </movie>?>",
                "<a b='&gt;'><tag>c</tag></a>", "text", "&lt;", "<tag>mmposter: old</tag>", "<tag>mmposter</tag>",
            ]
        ),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=40)
@given(parts=_PARTS, rest=st.sampled_from(["", "\n", "\r\nhttps://www.imdb.com/title/tt0084787/\n", "<!-- end -->"]))
def test_taking_out_is_the_inverse_of_putting_in(parts, rest):
    before = f"<movie>{''.join(parts)}</movie>{rest}"
    bare = with_tags(before, [])
    after = with_tags(before, ["War", "Drama"])
    assert with_tags(after, []) == bare
    assert with_tags(after, ["War", "Drama"]) == after
    kept = [part for part in parts if part != "<tag>mmposter: old</tag>"]
    if len(kept) == len(parts):
        assert bare == before
        assert after.replace("<tag>mmposter: War</tag>", "").replace("<tag>mmposter: Drama</tag>", "").split() == (
            before.split()
        )


@pytest.fixture
def nfo(tmp_path: Path) -> Path:
    path = tmp_path / "films" / "Heat.nfo"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe" + BODY.replace("\n", "\r\n").encode("utf-16-le"))
    path.chmod(0o640)
    return path


def beside(nfo: Path) -> list[str]:
    return sorted(path.name for path in nfo.parent.iterdir())


def test_a_file_is_written_with_a_backup_and_put_back(nfo):
    root, first = nfo.parent, nfo.read_bytes()
    assert tag_nfo(nfo, ["Horror"], root, write=False)
    assert (nfo.read_bytes(), beside(nfo)) == (first, ["Heat.nfo"])
    assert tag_nfo(nfo, ["Horror"], root, write=True)
    written = nfo.read_bytes()
    assert written != first
    assert written.decode("utf-16").replace("\t<tag>mmposter: Horror</tag>\r\n", "").encode("utf-16") == first
    assert not tag_nfo(nfo, ["Horror"], root, write=True)
    assert tag_nfo(nfo, ["War"], root, write=True)
    backup = nfo.with_name(f"Heat.nfo{BACKUP}")
    assert backup.read_bytes() == first, "of the first change, whatever came later"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (nfo, backup)} == {0o640}
    assert restore_nfo(nfo, root, write=False) == (True, False)
    assert restore_nfo(nfo, root, write=True) == (True, False)
    assert (nfo.read_bytes(), beside(nfo)) == (first, ["Heat.nfo"])
    assert restore_nfo(nfo, root, write=True) == (False, False)


def test_what_a_person_changed_since_stays(nfo):
    root = nfo.parent
    tag_nfo(nfo, ["Horror"], root, write=True)
    mine = nfo.read_bytes().decode("utf-16").replace("mine", "my own")
    nfo.write_bytes(mine.encode("utf-16"))
    assert restore_nfo(nfo, root, write=True) == (True, True)
    assert nfo.read_bytes().decode("utf-16") == BODY.replace("\n", "\r\n").replace("mine", "my own")
    assert beside(nfo) == ["Heat.nfo", f"Heat.nfo{BACKUP}"]


def test_a_film_without_our_tags_is_left_alone_when_it_gets_none(nfo):
    nfo.write_text("<movie> & no XML")
    assert not tag_nfo(nfo, [], nfo.parent, write=True)


def test_a_read_only_file_is_meant_to_be(nfo):
    nfo.chmod(0o440)
    first = nfo.read_bytes()
    with pytest.raises(NfoError, match="it is read-only"):
        tag_nfo(nfo, ["Horror"], nfo.parent, write=True)
    assert (nfo.read_bytes(), beside(nfo)) == (first, ["Heat.nfo"])


def test_a_file_that_another_program_changes_meanwhile_is_left_to_it(nfo, monkeypatch):
    from mmposter.data.media import writing

    def with_another(text, genres):
        os.utime(nfo, ns=(1, 1))
        return with_tags(text, genres)

    monkeypatch.setattr(writing, "with_tags", with_another)
    first = nfo.read_bytes()
    with pytest.raises(NfoError, match="changed by another program meanwhile"):
        tag_nfo(nfo, ["Horror"], nfo.parent, write=True)
    assert (nfo.read_bytes(), beside(nfo)) == (first, ["Heat.nfo"])


def test_a_guessed_encoding_is_not_written(nfo):
    nfo.write_bytes(BODY.replace("mine", "café").encode("latin-1"))
    with pytest.raises(NfoError, match="encoding is not the one that it declares"):
        tag_nfo(nfo, ["Horror"], nfo.parent, write=True)
    assert beside(nfo) == ["Heat.nfo"]


def test_a_full_disk_stops_and_leaves_the_file_as_it_was(nfo, monkeypatch):
    import errno

    from mmposter.data.media import writing

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    first = nfo.read_bytes()
    monkeypatch.setattr(writing.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        tag_nfo(nfo, ["Horror"], nfo.parent, write=True)
    assert (nfo.read_bytes(), beside(nfo)) == (first, ["Heat.nfo"])
