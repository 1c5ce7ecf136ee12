"""Command lines that a person may copy into a shell."""

from __future__ import annotations

import shlex


def command_line(*words: object) -> str:
    """Words as one command line of a POSIX shell: a path with a space or a quotation mark is quoted.

    >>> print(command_line("mmposter", "evaluate", "my run", "data"))
    mmposter evaluate 'my run' data
    >>> print(command_line("pip", "install", "mmposter[lite]"))
    pip install 'mmposter[lite]'
    """
    return shlex.join(str(word) for word in words)
