"""Links that save what the page shows. The files lie inside the links: the server writes none."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Sequence

from mmposter.files.spreadsheets import table_text
from mmposter.serve.page_results import Explained
from mmposter.serve.schema import PredictAnswer

_DRAWING = threading.Lock()  # matplotlib's settings are those of the whole process


def downloads_html(prediction: PredictAnswer, explained: Explained | None = None) -> str:
    """Links to save the scores of all posters and, where there is one, the explanation of one of them."""
    links = []
    if explained is not None:
        links.append(_link("card.png", "The explanation as a picture (PNG)", "image/png", _card(explained)))
    text = as_json(prediction, [explained] if explained else []).encode()
    what = "Scores and explanation" if explained else "Scores"
    links.append(_link("posters.json", f"{what} (JSON)", "application/json", text))
    links.append(_link("posters.csv", "Scores as a table (CSV)", "text/csv", as_csv(prediction).encode()))
    return f'<div class="mm">{"".join(links)}</div>'


def as_json(prediction: PredictAnswer, explained: Sequence[Explained]) -> str:
    """One object: ``prediction`` and ``explanations``, as the REST interface gives them."""
    explanations = [one.answer.model_dump() for one in explained]
    return json.dumps({"prediction": prediction.model_dump(), "explanations": explanations}, indent=1)


def as_csv(prediction: PredictAnswer) -> str:
    """One line a poster, with the columns of `mmposter predict --out genres.csv`."""
    genres = list(prediction.thresholds)
    rows = [
        [
            p.name,
            "|".join(p.genres),
            p.error or "",
            "|".join(p.saw_nothing),
            *(p.scores.get(genre, "") for genre in genres),
        ]
        for p in prediction.posters
    ]
    return table_text(["path", "genres", "error", "saw_nothing", *genres], rows)


def _card(explained: Explained) -> bytes:
    buffer = io.BytesIO()
    with _DRAWING:
        explained.explanation.card().savefig(buffer, format="png")
    return buffer.getvalue()


def _link(name: str, text: str, kind: str, data: bytes) -> str:
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<a class="get" download="{name}" href="{address}">{text}</a>'
