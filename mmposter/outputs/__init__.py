"""Where results go: each folder knows the names that it holds, nothing of others is replaced, and one process writes.

`claim` is for folders, `claim_file` for single files; both hold `one_writer`.
"""

from __future__ import annotations

from mmposter.outputs.folder import Kind, claim, claim_file, refuse_file, remove_folder, remove_ours
from mmposter.outputs.lock import LOCK, is_being_written, one_writer

__all__ = [
    "LOCK",
    "Kind",
    "claim",
    "claim_file",
    "is_being_written",
    "one_writer",
    "refuse_file",
    "remove_folder",
    "remove_ours",
]
