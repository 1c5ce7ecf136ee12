"""`mmposter serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from mmposter.cli import options as opt
from mmposter.engines.libraries import require_packages
from mmposter.progress import console
from mmposter.shipped import POSTERS, find_run

_LIBRARIES = ("fastapi", "gradio", "uvicorn", "python_multipart")


def serve_command(
    model: opt.Model = POSTERS,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. With another one, other machines can use the server too: there is no login. "
            "With 0.0.0.0 it answers to every address of this machine in numbers, and to names of --allow-host."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.", min=0, max=65535)] = 7860,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One more name that the server answers to, such as posters.example.org; may be repeated. Others get "
            "403: a stranger's page could point its own name here. Without it: localhost, 127.0.0.1, ::1 and --host.",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A page of another server that may use this one (CORS), such as https://example.org; may be repeated. "
            "Others get 403.",
            show_default=False,
        ),
    ] = None,
    branches: opt.Only = None,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    max_posters: Annotated[int, typer.Option(help="Posters of one request.", min=1)] = 16,
    max_mb: Annotated[float, typer.Option(help="Megabytes of one poster's file.", min=0.001)] = 10.0,
    queue: Annotated[
        int, typer.Option(help="Requests that are read, wait or are computed at a time; one more gets 503.", min=1)
    ] = 64,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the model. Default: all cores.", min=1)] = None,
) -> None:
    """Serve a model: a web page at / and a REST interface, documented at /docs.

    Listens on this machine only, unless --host says otherwise. Ctrl-C or SIGTERM finishes running requests; a second
    one ends at once.

    Examples:

      mmposter serve

      mmposter serve --model runs/cnn-yolo --port 8000

      curl -F posters=@poster.jpg http://127.0.0.1:7860/api/v1/predict
    """
    require_packages(_LIBRARIES, "mmposter serve", "serve")
    from mmposter.config import parse_branches
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.serve import Access, ServeSettings, create_app
    from mmposter.serve.gradio_page import add_page
    from mmposter.serve.server import address_of, bind, interrupt, is_loopback, run, signals_to

    only = None if branches is None else parse_branches(branches)
    folder = find_run(model)
    with signals_to(interrupt), bind(host, port) as listening:
        access = Access.of([host, listening.getsockname()[0]], allow_host or [], allow_origin or [])
        classifier = PosterClassifier.load(folder, branches=only, device=device, offline=offline)
        settings = ServeSettings(max_posters=max_posters, max_mb=max_mb, queue=queue, threads=threads)
        app = create_app(classifier, settings, add_page, access)
        if not is_loopback(listening):
            console.print(
                f"warning: {host} is reached from other machines, and there is no login: anyone there can use this",
                soft_wrap=True,
            )
        address = address_of(listening)
        console.print(f"{address}  (REST interface: {address}/docs)", soft_wrap=True)
        run(app, app.state.worker, listening)
