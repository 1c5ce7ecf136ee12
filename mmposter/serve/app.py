"""The REST interface as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from mmposter.images.reading import MAX_PIXELS, MIN_SIDE
from mmposter.runs.provenance import package_version
from mmposter.serve import schema
from mmposter.serve.access import Access, Gate
from mmposter.serve.answers import explain_answer, predict_answer
from mmposter.serve.errors import RequestError, wrong_method
from mmposter.serve.metrics import CONTENT_TYPE, Metrics
from mmposter.serve.multipart import read_posters
from mmposter.serve.observer import Observer
from mmposter.serve.openapi import EXPLAIN_REQUEST, HEALTH_RESPONSES, PREDICT_REQUEST, errors
from mmposter.serve.places import Places
from mmposter.serve.plain_pages import docs_page, index_page
from mmposter.serve.settings import ServeSettings
from mmposter.serve.work import Explain, Predict, Work
from mmposter.serve.worker import ServeJob, Worker
from mmposter.shipped import run_name

if TYPE_CHECKING:
    from mmposter.explain.classifier import PosterClassifier

CLIENT_GONE = 499
"""The status under which an answer is counted that nobody waited for (nginx's number; HTTP has none)."""


def create_app(
    classifier: PosterClassifier,
    settings: ServeSettings | None = None,
    page: Callable[[FastAPI, PosterClassifier, ServeSettings, Worker, Places], None] | None = None,
    access: Access | None = None,
) -> FastAPI:
    """The application that `mmposter serve` runs; it works under any ASGI server, in one process.

    Args:
        classifier: its frozen models are loaded when the application starts, in the one thread that then owns it.
        settings: the limits; None: the defaults.
        page: puts a page for people at ``/``, see `mmposter.serve.gradio_page`; what it wants of the model it gets from
            the worker. None: ``/`` names the endpoints.
        access: names under which it answers, and pages of others that may use it; None: names of this machine for
            itself, and its own pages alone.

    Returns:
        the application, with the worker in ``app.state.worker``, and what a page keeps on disk in
        ``app.state.uploads`` (None without a page).
    """
    settings = settings or ServeSettings()
    worker = Worker(classifier, settings.threads)
    places = Places(settings.queue, settings.max_held_bytes, worker.seconds_left)
    metrics = Metrics(
        {
            "inside_requests": ("Requests that are read, wait or are computed.", lambda: places.taken),
            "inside_bytes": ("Bytes of their bodies.", lambda: places.held),
            "waiting_posters": ("Posters that have not begun.", lambda: worker.waiting),
        }
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.close()

    app = _Application(
        title="mmposter",
        summary="Genres of movies from their posters",
        version=package_version(),
        docs_url=None,  # FastAPI's own pages load their script from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.worker, app.state.uploads = worker, None
    _add_model(app, classifier, settings)
    _add_work(app, classifier, _Desk(settings, worker, places, metrics))
    _add_state(app, worker, metrics)
    _add_documentation(app, has_page=page is not None)
    _add_errors(app)
    endpoints = {route.path for route in app.routes if hasattr(route, "path")}
    app.add_middleware(Gate, access=access or Access())
    app.add_middleware(Observer, metrics=metrics, endpoints=endpoints)  # the last one is the outermost
    if page is not None:
        page(app, classifier, settings, worker, places)
    return app


class _Application(FastAPI):
    """FastAPI's document leaves out what is null, in examples too: ours are put in behind it."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for name, example in schema.EXAMPLES.items():
            document["components"]["schemas"][name]["example"] = example
        return document


def _add_work(app: FastAPI, classifier: PosterClassifier, desk: _Desk) -> None:
    genres, branches = classifier.genres, classifier.branches

    @app.post(
        "/api/v1/predict",
        summary="Genres of posters",
        responses=errors(400, 408, 413, 415, 422, 500, 503),
        openapi_extra=PREDICT_REQUEST,
    )
    async def predict(request: Request) -> schema.PredictAnswer:
        """Send one or more posters as files of a multipart form; the names of the fields do not matter.

        A file that is no usable picture is an error of its own entry, and costs the others nothing; where no file of a
        request is usable, the request fails with status 422.
        """
        work = Predict.parse(request.query_params, branches, genres)
        return predict_answer(classifier, work, *await desk.ask(request, work))

    @app.post(
        "/api/v1/explain",
        summary="Why posters get these genres",
        responses=errors(400, 408, 413, 415, 422, 500, 503),
        openapi_extra=EXPLAIN_REQUEST,
    )
    async def explain(request: Request) -> schema.ExplainAnswer:
        """Send posters as for a prediction. For each predicted genre: what each branch adds to its logit, where on the
        poster the cnn and the style branch found what speaks for it, and how much each object and each line of text
        counts.

        This takes several times as long as a prediction.
        """
        work = Explain.parse(request.query_params, branches, genres)
        return explain_answer(classifier, work, *await desk.ask(request, work))


class _Desk:
    """Takes posters in, and waits for what the worker makes of them."""

    def __init__(self, settings: ServeSettings, worker: Worker, places: Places, metrics: Metrics) -> None:
        self._settings, self._worker, self._places, self._metrics = settings, worker, places, metrics

    async def ask(self, request: Request, work: Work) -> tuple[list[str], list[Any]]:
        """Names of the posters of a request, and the results of `work`.

        Raises:
            RequestError: as the documentation of the endpoints says.
            ClientDisconnect: nobody waits for the answer.
        """
        with self._places.enter() as hold:
            posters = await read_posters(request, self._settings, hold)
            found = await self._wait(request, self._worker.submit(posters, work))
        usable = sum(bool(result.scores) for result in found)
        self._metrics.posters(usable, len(found) - usable)
        return [poster.name for poster in posters], found

    async def _wait(self, request: Request, job: ServeJob) -> list[Any]:
        answer = asyncio.wrap_future(job.future)
        gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return answer.result()
        finally:
            gone.cancel()
            self._worker.drop(job)  # without effect where it has ended


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_model(app: FastAPI, classifier: PosterClassifier, settings: ServeSettings) -> None:
    answer = schema.ModelAnswer(
        name=run_name(classifier.run.folder),
        version=package_version(),
        genres=list(classifier.genres),
        branches=list(classifier.branches),
        thresholds=classifier.thresholds(),
        left_out=[schema.LeftOut(branch=state.branch, why=state.message) for state in classifier.left_out],
        limits=schema.Limits(
            posters=settings.max_posters,
            bytes_a_poster=settings.max_poster_bytes,
            bytes_a_body=settings.max_body_bytes,
            shortest_side=MIN_SIDE,
            pixels=MAX_PIXELS,
        ),
    )

    @app.get("/api/v1/model", summary="What is served")
    async def model() -> schema.ModelAnswer:
        """Name, genres, branches, thresholds and limits; it does not change while the server runs."""
        return answer


def _add_state(app: FastAPI, worker: Worker, metrics: Metrics) -> None:
    @app.get("/health", summary="Whether the model is ready", responses=HEALTH_RESPONSES)
    async def health(response: Response) -> schema.HealthAnswer:
        """Status 200 when the model is ready, 503 while it loads and when the server stops."""
        if worker.state != "ready":
            response.status_code = 503
        return schema.HealthAnswer(status=worker.state)

    @app.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
    async def read_metrics() -> PlainTextResponse:
        """Requests by endpoint and status, posters, what is inside now, seconds, memory."""
        return PlainTextResponse(metrics.render(), media_type=CONTENT_TYPE)


def _add_documentation(app: FastAPI, *, has_page: bool) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi(), _address(request)))

    if not has_page:

        @app.get("/", include_in_schema=False)
        async def index(request: Request) -> HTMLResponse:
            return HTMLResponse(index_page(app.openapi(), _address(request)))


def _address(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        return error.response()

    @app.exception_handler(ClientDisconnect)
    async def client_gone(*_: Any) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(404)
    async def unknown_path(request: Request, _: Exception) -> Response:
        paths = sorted(app.openapi()["paths"])
        return RequestError(404, "unknown_path", f"there is no {request.url.path}", allowed=paths).response()

    @app.exception_handler(405)
    async def refuse_method(request: Request, error: Exception) -> Response:
        allow = (getattr(error, "headers", None) or {}).get("Allow", "")
        return wrong_method(request.url.path, request.method, allow.split(", ")).response()
