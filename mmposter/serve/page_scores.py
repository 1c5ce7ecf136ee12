"""Scores of posters as HTML: horizontal bars with a mark at each threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from mmposter.errors import BadImageError
from mmposter.images.thumbnails import thumbnail_uri
from mmposter.runs.decisions import saw_nothing_note
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.schema import PosterAnswer

_NEXT = 5  # genres that are shown beside those that are given
_THUMBNAIL = (400, 640)


def scores_html(
    posters: Sequence[UploadedPoster],
    answers: Sequence[PosterAnswer],
    thresholds: Mapping[str, float],
    everything: Sequence[PosterAnswer] | None = None,
) -> str:
    """Posters side by side, each with its genres.

    Args:
        posters: that were dropped.
        answers: one a poster, in the same order.
        thresholds: by genre, of the branches that are looked through; above 1 where a genre has none.
        everything: the answers with all branches; None where these are they.
    """
    cards = []
    for index, (poster, answer) in enumerate(zip(posters, answers, strict=True)):
        before = None if everything is None else everything[index].scores
        cards.append(_card(poster, answer, thresholds, before))
    some = any(answer.scores for answer in answers)
    # A card of its own is wide, with the poster beside its bars.
    layout = "mm-grid one" if len(cards) == 1 else "mm-grid"
    key = _key(everything is not None) if some else ""
    return f'<div class="mm">{key}<div class="{layout}">{"".join(cards)}</div></div>'


def wrong_html(sentence: str) -> str:
    """One sentence about what went wrong."""
    return f'<div class="mm"><p class="wrong" role="alert">{escape(sentence)}</p></div>'


def error_sentence(name: str, error: str) -> str:
    """What was wrong with a poster that has no scores; `error` has a code and a text, as `PosterAnswer.error`."""
    code, _, text = error.partition(": ")
    return f"{name} cannot be used: {text if text and ' ' not in code else error}."


def _key(changed: bool) -> str:
    text = (
        "Each bar is the probability of a genre, from 0 to 1, as the model sees it. The mark "
        '<span class="mm-key" aria-hidden="true"></span> is the threshold: genres beyond it are given (bold, blue).'
    )
    if changed:
        text += (
            ' The dashed frame <span class="mm-was" aria-hidden="true"></span> is the bar with all branches; '
            "+.12 says how far it has moved from there. Thresholds differ between sets of branches."
        )
    return f'<p class="faint">{text}</p>'


def _card(
    poster: UploadedPoster, answer: PosterAnswer, thresholds: Mapping[str, float], before: Mapping[str, float] | None
) -> str:
    name = escape(answer.name)
    if not answer.scores:
        sentence = escape(error_sentence(answer.name, answer.error or "no reason is known"))
        return f'<section class="mm-card"><h3>{name}</h3><p class="wrong" role="alert">{sentence}</p></section>'
    ranked = sorted(answer.scores, key=lambda genre: -answer.scores[genre])
    given = [genre for genre in ranked if genre in answer.genres]
    others = [genre for genre in ranked if genre not in answer.genres]

    def rows(genres: Sequence[str]) -> str:
        items = (_row(genre, answer, thresholds[genre], before, genre in given) for genre in genres)
        return f'<ul class="bars">{"".join(items)}</ul>'

    none = "" if given else "<p>No genre is beyond its threshold.</p>"
    rest = others[_NEXT:]
    more = (
        f"<details><summary>{len(rest)} more genre{'s' * (len(rest) > 1)}</summary>{rows(rest)}</details>"
        if rest
        else ""
    )
    note = f'<p class="wrong">{escape(answer.error)}</p>' if answer.error else ""
    note += f"<p>It {escape(saw_nothing_note(answer.saw_nothing))}.</p>" if answer.saw_nothing else ""
    return (
        f'<section class="mm-card"><img alt="" src="{_thumbnail(poster)}">'
        f"<div><h3>{name}</h3>{note}{none}{rows(given)}{rows(others[:_NEXT])}{more}</div></section>"
    )


def _row(genre: str, answer: PosterAnswer, threshold: float, before: Mapping[str, float] | None, is_given: bool) -> str:
    score = answer.scores[genre]
    change = was = mark = ""
    if before:
        change = f'<span class="change">{signed(score - before[genre])}</span>'
        was = f'<s style="width:{before[genre]:.1%}"></s>'
    said = f"{score:.2f}"
    if threshold <= 1:
        mark = f'<b style="left:{threshold:.1%}"></b>'
        said += f", threshold {threshold:.2f}"
    return (
        f'<li{" class=given" if is_given else ""} title="{escape(genre, quote=True)}: {said}">'
        f'<div class="line"><span class="name">{escape(genre)}</span>{change}<span>{score:.2f}</span></div>'
        f'<div class="bar" aria-hidden="true"><i style="width:{score:.1%}"></i>{was}{mark}</div></li>'
    )


def signed(value: float) -> str:
    """As ``+.12`` and ``−1.30``: two digits, no zero before the point, never "-.00"."""
    text = f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
    return text.replace("0.", ".") if text[1:3] == "0." else text


def _thumbnail(poster: UploadedPoster) -> str:
    try:
        return thumbnail_uri(poster.data, _THUMBNAIL)
    except BadImageError:
        return ""
