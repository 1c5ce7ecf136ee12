"""Fixtures that several test folders use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_ccu() -> Path:
    """The folder of real posters beside the checkout; tests that need it are skipped where it is not."""
    folder = SHARED / "data" / "ccu"
    if not folder.is_dir():
        pytest.skip("the real posters (../shared/data/ccu) are not here")
    return folder


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """The shared folder with reference outputs and development weights."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED
