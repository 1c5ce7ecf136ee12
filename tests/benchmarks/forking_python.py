"""A `python` that need not wait for torch: command lines run in forks of a process that has loaded it already.

    python forking_python.py SOCKET WRAPPER

serves until its standard input ends. WRAPPER is written: a program that takes the arguments of `python` (a file, ``-m``
or ``-c``) and runs them so, with its own folder, environment and streams. Only what takes seconds to load is there
beforehand: neither the files beside a script, nor anything that a script does. To what runs, WRAPPER is
`sys.executable`, so that it starts others in the same way.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({place!r})
    job = {{"command": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(asked, [json.dumps(job).encode()], [0, 1, 2])
    sys.exit(int(asked.recv(16) or 1))
"""


def load() -> None:
    """What most scripts need. Not onnxruntime: it starts threads, which are not there in a fork."""
    import cv2  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import torchvision.transforms.v2  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    import mmposter.cli.train
    import mmposter.explain.classifier
    import mmposter.training.train  # noqa: F401


def serve(place: str, wrapper: Path) -> None:
    """Answer until standard input ends."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen(16)
        wrapper.write_text(CLIENT.format(python=sys.executable, place=place))
        wrapper.chmod(0o755)
        while 0 not in select.select([door, 0], [], [])[0]:
            asked, _ = door.accept()
            if os.fork() == 0:
                door.close()
                _answer(asked, str(wrapper))
            asked.close()


def _answer(asked: socket.socket, wrapper: str) -> None:
    """Run one command line in a fork of this fork, and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    job = json.loads(message)
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        asked.sendall(str(code).encode())
        os._exit(0)
    asked.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.executable = wrapper
    _run(job["command"])
    sys.exit()


def _run(words: list[str]) -> None:
    """As `python` does."""
    while words[0] == "-W":
        words = words[2:]
    if words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        exec(words[1], {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
    serve(sys.argv[1], Path(sys.argv[2]))
