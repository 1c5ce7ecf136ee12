"""The process behind `mmposter serve`: a socket, signals, and an end that loses no answer."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from mmposter.errors import UserError
from mmposter.progress import console
from mmposter.serve.connections import Connection, connection_limit
from mmposter.serve.uploads import Uploads
from mmposter.serve.worker import Worker

FINISH_S = 10.0
"""Seconds that requests in work are given when the server is told to stop."""

_END_S = 1.0  # for the worker's thread to end, where it has nothing to do
_INTERRUPTED = 130

# Ctrl-C, `kill` and a terminal that is closed (which Windows does not have).
_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: an address, or a name of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: no such address, or the port is taken or not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host} is no address of this machine ({error}); the default is 127.0.0.1") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is taken, maybe by another `mmposter serve`; give another one, such as "
                f"--port {port % 65535 + 1}, or --port 0 for any that is free"
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} is not ours to take (below 1024?); give one such as --port 7860") from error
        raise UserError(f"--host {host} is no address of this machine ({error}); the default is 127.0.0.1") from error
    return found


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def signals_to(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Answer Ctrl-C, `kill`, and a terminal that is closed alike, for as long as this lasts.

    What a person told the system to ignore (nohup) stays ignored. In other threads than the first nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number, old in before.items():
            if old is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def interrupt(number: int, frame: FrameType | None) -> None:
    """What Python does on Ctrl-C, for the other signals that end a program: it ends in order, and leaves nothing."""
    raise KeyboardInterrupt


def configuration(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves an application of `create_app`."""
    return uvicorn.Config(
        app,
        http=type("LimitedConnection", (Connection,), {"most": connection_limit()}),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=round(FINISH_S) + 2,  # the worker has given every request its answer before
    )


def run(app: FastAPI, worker: Worker, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM: requests in work are finished, for some seconds; a second one ends at once.

    However it ends, no upload is left on disk.

    Args:
        app: the application.
        worker: its worker.
        listening: from `bind`.

    Raises:
        UserError: the models cannot be loaded.
    """
    server = _Server(configuration(app), worker.close, app.state.uploads)
    worker.ended.add_done_callback(lambda _: server.stop())
    try:
        server.run([listening])
    finally:
        server.forget()
    if worker.ended.done() and (error := worker.ended.exception()) is not None:
        raise error
    console.print("stopped")
    if wait([worker.ended], timeout=_END_S).not_done:
        # The thread is inside a model. Python's own end would take the interpreter away from under it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Server(uvicorn.Server):
    """As uvicorn's, but it tells what it does, and a second Ctrl-C does not wait.

    `give_up` ends the requests that are still there after `FINISH_S`.
    """

    def __init__(self, config: uvicorn.Config, give_up: Callable[[], None], uploads: Uploads | None) -> None:
        super().__init__(config)
        self._give_up, self._uploads = give_up, uploads

    def forget(self) -> None:
        """Leave nothing on disk."""
        if self._uploads is not None:
            self._uploads.close()

    def stop(self) -> None:
        """As a first Ctrl-C; in any thread."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises a signal once more at the end, by which the process would die in the middle of it."""
        with signals_to(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.forget()
            os._exit(_INTERRUPTED)
        os.write(2, b"\nstopping: requests in work are finished first; Ctrl-C again stops at once\n")
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the requests that are there."""
        timer = asyncio.get_running_loop().call_later(FINISH_S, self._give_up)
        await super().shutdown(sockets)
        timer.cancel()
