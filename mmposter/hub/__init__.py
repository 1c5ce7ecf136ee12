"""Models of the Hugging Face hub: addresses such as ``hf://ORG/NAME@REVISION``, and their files on this machine."""

from __future__ import annotations

from mmposter.hub.address import HUB, HubModel, parse_address, snapshot_of

__all__ = ["HUB", "HubModel", "parse_address", "snapshot_of"]
