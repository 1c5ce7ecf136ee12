"""The page and the REST interface of `mmposter serve`."""

from __future__ import annotations

from mmposter.serve.access import Access
from mmposter.serve.app import create_app
from mmposter.serve.settings import ServeSettings
from mmposter.serve.work import Explain, Predict
from mmposter.serve.worker import Worker

__all__ = ["Access", "Explain", "Predict", "ServeSettings", "Worker", "create_app"]
