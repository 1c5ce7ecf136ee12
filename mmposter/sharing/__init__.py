"""A run for other people: its files and its card as a repository of the Hugging Face hub."""

from __future__ import annotations

from mmposter.sharing.push import Pushed, push_run

__all__ = ["Pushed", "push_run"]
