"""The page of `mmposter serve`: drop posters, see genres, switch branches, ask why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from mmposter.readiness.states import BranchState, left_out_notice
from mmposter.serve.answers import answer_with
from mmposter.serve.errors import RequestError, unexpected
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.page_downloads import downloads_html
from mmposter.serve.page_events import BRANCHES, FILES, GENRE, WHICH
from mmposter.serve.page_mount import mount_page
from mmposter.serve.page_results import Results
from mmposter.serve.page_scores import error_sentence, scores_html, wrong_html
from mmposter.serve.page_why import why_html
from mmposter.serve.places import Places
from mmposter.serve.schema import PosterAnswer, PredictAnswer
from mmposter.serve.settings import ServeSettings
from mmposter.serve.uploads import Uploads
from mmposter.serve.worker import Worker

if TYPE_CHECKING:
    from gradio import Blocks, CheckboxGroup, Dropdown, File

    from mmposter.explain.classifier import PosterClassifier

_TITLE = "mmposter: genres of posters"
_HEAD = """<div class="mm"><h1>Genres of movies from their posters</h1>
<p>Drop one poster, or several to compare them. The model says how probable each genre is; below, it shows why. It can
be wrong: it sees the poster alone and knows nothing of the film. <span class="faint">Posters stay on the machine that
runs mmposter. Programs have <a href="docs">their own interface</a>.</span></p></div>"""
_NOTHING = '<div class="mm"><p class="faint">No poster yet.</p></div>'
_NO_WHY = '<div class="mm"><p class="faint">Press the button to see what counted. This takes some seconds.</p></div>'


def add_page(
    app: FastAPI, classifier: PosterClassifier, settings: ServeSettings, worker: Worker, places: Places
) -> None:
    """Put the page at ``/`` of `app`, see `create_app`; its limits are the REST interface's too."""
    uploads = app.state.uploads = Uploads(settings)
    # gradio keeps no file of ours. Whatever it may write goes where it is removed with the uploads.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.spare)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before it is imported: nothing is sent from here either
    page = VisitorPage(classifier, settings, worker, places, uploads)
    mount_page(app, _blocks(page, settings), settings, places, uploads)


class VisitorPage:
    """What the page answers to its visitor; each method gives values of parts of the page."""

    def __init__(
        self, classifier: PosterClassifier, settings: ServeSettings, worker: Worker, places: Places, uploads: Uploads
    ) -> None:
        self._classifier, self._settings = classifier, settings
        self._places, self._uploads = places, uploads
        self._results = Results(classifier, worker)
        self.branches = tuple(classifier.branches)
        self.meanings = {name: BranchState(name, "ready", "").meaning for name in self.branches}
        missing = classifier.left_out
        self.notice = left_out_notice(classifier.run, missing) if missing else ""

    def scores(self, files: Sequence[str] | None, chosen: Sequence[str]) -> tuple[str, list[PosterAnswer], str]:
        """HTML of the scores, the answers (none where a sentence is shown in their place), HTML of the downloads.

        Args:
            files: words of the dropped posters, as `Uploads` gave them; anything else is refused.
            chosen: branches that are switched on.
        """
        if not files:
            return _NOTHING, [], ""
        branches = self._in_order(chosen)
        if not branches:
            return wrong_html("Switch on at least one branch: without any the model sees nothing."), [], ""
        if len(files) > self._settings.max_posters:
            return wrong_html(f"{len(files)} posters are too many: at most {self._settings.max_posters}."), [], ""
        try:
            with self._read(files) as posters:
                answers = self._results.scores(posters, branches)
                everything = None if branches == self.branches else self._results.scores(posters, self.branches)
                html = scores_html(posters, answers, self._classifier.thresholds(branches), everything)
            usable = any(answer.scores for answer in answers)
            return html, answers, downloads_html(self._prediction(answers, branches)) if usable else ""
        except Exception as error:
            return wrong_html(_apology(error)), [], ""

    def why(
        self, files: Sequence[str] | None, chosen: Sequence[str], which: int | None, genre: str | None
    ) -> tuple[str, str | None]:
        """HTML of an explanation, and of the downloads with it (None: as they are).

        Args:
            files: words of the dropped posters, as `Uploads` gave them; anything else is refused.
            chosen: branches that are switched on.
            which: of the posters, from 0.
            genre: to explain; None: the surest.
        """
        branches = self._in_order(chosen)
        if not files or not branches or which is None or not 0 <= which < len(files):
            return wrong_html("Drop a poster first, and leave a branch switched on."), None
        try:
            with self._read(files) as posters:
                answers = self._results.scores(posters, branches)
                answer = answers[which]
                if not answer.scores:
                    return wrong_html(error_sentence(answer.name, answer.error or "")), None
                genre = genre if genre in answer.scores else surest_first(answer)[0]
                # With those that are given: to look at one after the other then takes no time.
                explained = self._results.explanation(posters[which], branches, tuple({genre, *answer.genres}))
            html = why_html(explained.explanation, explained.genre(genre), self.meanings)
            return html, downloads_html(self._prediction(answers, branches), explained)
        except Exception as error:
            return wrong_html(_apology(error)), None

    @contextmanager
    def _read(self, files: Sequence[str]) -> Iterator[list[UploadedPoster]]:
        with self._places.enter() as hold:
            hold(sum(map(self._uploads.size, files)))
            yield [self._uploads.read(file) for file in files]

    def _in_order(self, chosen: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in self.branches if name in chosen)

    def _prediction(self, answers: Sequence[PosterAnswer], branches: tuple[str, ...]) -> PredictAnswer:
        return answer_with(self._classifier, branches, answers)


def surest_first(answer: PosterAnswer) -> list[str]:
    """The genres: those that are given, then the others; in each the surest first."""
    return sorted(answer.scores, key=lambda genre: (genre not in answer.genres, -answer.scores[genre]))


def _apology(error: Exception) -> str:
    known = error if isinstance(error, RequestError) else unexpected(error, "the page")
    return f"Sorry: {known.message}."


def _place_for_posters(settings: ServeSettings) -> File:
    import gradio as gr
    from gradio.data_classes import GradioRootModel

    class Words(GradioRootModel):  # type: ignore[misc]
        """Uploads as they come from `page_events`."""

        root: list[str]

    label = f"Posters (at most {settings.max_posters}, {settings.max_mb:g} MB each)"
    files = gr.File(label=label, file_count="multiple", type="filepath", height=150, elem_id=FILES)
    files.data_model = Words  # no files, which gradio would open
    return files


def _branch_boxes(page: VisitorPage) -> CheckboxGroup:
    import gradio as gr

    choices = [(f"{name}: {page.meanings[name]}", name) for name in page.branches]
    info = "What the model looks at. Switch one off and see how the scores move."
    return gr.CheckboxGroup(choices, value=list(page.branches), label="Branches", info=info, elem_id=BRANCHES)


def _genre_menu(answers: Sequence[PosterAnswer], at: int | None, genre: str | None) -> Dropdown:
    import gradio as gr

    if at is None or not 0 <= at < len(answers) or not answers[at].scores:
        return gr.Dropdown(choices=[], value=None)
    ranked = surest_first(answers[at])
    choices = [(f"{name} {answers[at].scores[name]:.2f}", name) for name in ranked]
    return gr.Dropdown(choices=choices, value=genre if genre in ranked else ranked[0])


def _blocks(page: VisitorPage, settings: ServeSettings) -> Blocks:
    import gradio as gr

    def show(
        files: list[str] | None, chosen: list[str], which: int | None, genre: str | None
    ) -> tuple[str, Any, Any, Any, str, str]:
        text, answers, downloads = page.scores(files, chosen)
        usable = [index for index, answer in enumerate(answers) if answer.scores]
        at = which if which in usable else usable[0] if usable else None
        names = [(f"{index + 1}. {answers[index].name}", index) for index in usable]
        posters = gr.Radio(choices=names, value=at, visible=len(usable) > 1)
        return text, posters, _genre_menu(answers, at, genre), gr.Column(visible=bool(usable)), _NO_WHY, downloads

    def new_posters(files: list[str] | None, chosen: list[str]) -> tuple[str, Any, Any, Any, str, str]:
        return show(files, chosen, None, None)

    def other_poster(files: list[str] | None, chosen: list[str], which: int | None) -> tuple[Any, str, str]:
        _, answers, downloads = page.scores(files, chosen)
        return _genre_menu(answers, which, None), _NO_WHY, downloads

    def explain(files: list[str] | None, chosen: list[str], which: int | None, genre: str | None) -> tuple[str, Any]:
        text, downloads = page.why(files, chosen, which, genre)
        return text, gr.skip() if downloads is None else downloads

    def html(value: str, **more: Any) -> Any:
        return gr.HTML(value, apply_default_css=False, **more)  # ours alone

    with gr.Blocks(title=_TITLE, analytics_enabled=False) as blocks:
        html(_HEAD)
        with gr.Row():
            files = _place_for_posters(settings)
            with gr.Column():
                chosen = _branch_boxes(page)
                if page.notice:
                    html(_notice(page.notice))
        scores = html(_NOTHING, elem_id="scores")
        with gr.Column(visible=False) as below:
            with gr.Row():
                which = gr.Radio([], label="Which poster", visible=False, min_width=300, elem_id=WHICH)
                genre = gr.Dropdown([], label="Which genre", filterable=False, min_width=300, elem_id=GENRE)
            button = gr.Button("Show why", variant="primary", elem_id="why-button")
            why = html(_NO_WHY, elem_id="why")
        downloads = html("", elem_id="downloads")
        asked = [files, chosen, which, genre]
        shown = [scores, which, genre, below, why, downloads]
        # Whoever writes a program has the REST interface. What is sent was checked before gradio (`page_events`), which
        # would write a file for each poster that it hands on.
        quiet: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last", "preprocess": False}
        files.change(new_posters, [files, chosen], shown, show_progress_on=[scores], **quiet)
        chosen.change(show, asked, shown, show_progress_on=[scores], **quiet)
        which.input(other_poster, [files, chosen, which], [genre, why, downloads], show_progress_on=[why], **quiet)
        gr.on([button.click, genre.input], explain, asked, [why, downloads], show_progress_on=[why], **quiet)
    blocks.queue(max_size=settings.queue, default_concurrency_limit=4)
    return blocks


def _notice(text: str) -> str:
    said = f"<summary>Left out (--branches is an option of mmposter serve)</summary><pre>{escape(text)}</pre>"
    return f'<div class="mm"><details open>{said}</details></div>'
