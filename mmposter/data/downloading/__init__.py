"""Posters from links: polite, concurrent, and resumable at any moment."""

from __future__ import annotations

from mmposter.data.downloading.download import Outcome, download
from mmposter.data.downloading.options import DownloadOptions
from mmposter.data.downloading.place import DeadLink, Links, place_posters, sum_links
from mmposter.data.downloading.reading import LinkReader

__all__ = ["DeadLink", "DownloadOptions", "LinkReader", "Links", "Outcome", "download", "place_posters", "sum_links"]
