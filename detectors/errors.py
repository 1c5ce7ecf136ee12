"""What a detector refuses."""

from __future__ import annotations


class UnsafeCheckpointError(ValueError):
    """A checkpoint that names more than weights and layers that we know: reading it could run code."""
