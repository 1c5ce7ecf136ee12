"""What the libraries below us are told before they load."""

from __future__ import annotations

import os

from mmposter.engines.libraries import go_offline, prepare_libraries

NETWORK = ("YOLO_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def test_ultralytics_looks_for_no_network_and_the_hub_only_where_it_is_allowed(monkeypatch):
    for name in NETWORK:
        monkeypatch.setenv(name, "")  # which monkeypatch takes back afterwards, whatever was set in between
        monkeypatch.delenv(name)
    prepare_libraries()
    go_offline(False)
    assert {name: os.environ.get(name) for name in NETWORK} == dict.fromkeys(NETWORK) | {"YOLO_OFFLINE": "true"}
    go_offline(True)
    assert all(os.environ.get(name) for name in NETWORK)
