"""Folders of films as Kodi, Jellyfin and Emby keep them: NFO files and posters, read, and tags of ours written."""

from __future__ import annotations

from mmposter.data.media.films import Film, MediaLibrary, read_library
from mmposter.data.media.nfo import NfoError
from mmposter.data.media.writing import BACKUP, restore_nfo, tag_nfo

__all__ = ["BACKUP", "Film", "MediaLibrary", "NfoError", "read_library", "restore_nfo", "tag_nfo"]
