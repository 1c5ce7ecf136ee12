"""Seeds for what a training draws at random."""

from __future__ import annotations

import hashlib


def mixed_seed(seed: int, epoch: int, row: int) -> int:
    """One 63-bit seed from three numbers, far from that of its neighbours."""
    text = f"{seed}/{epoch}/{row}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
