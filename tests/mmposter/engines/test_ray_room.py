"""What the Ray engine asks of a cluster and says about it, without one."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from mmposter.engines import ray_data
from mmposter.engines.machine import WORKER_MEMORY


def cluster(*nodes, free=None):
    """Stands in for Ray: living nodes with these resources, and a dead one that has much."""
    listed = [{"Alive": True, "Resources": node} for node in nodes]
    listed.append({"Alive": False, "Resources": {"CPU": 64, "GPU": 8, "memory": 100 * WORKER_MEMORY}})
    return SimpleNamespace(nodes=lambda: listed, available_resources=lambda: free or {})


def test_room_is_counted_node_by_node():
    nodes = cluster(
        {"CPU": 3.0, "memory": 8.0 * WORKER_MEMORY}, {"CPU": 8.0, "memory": 2.5 * WORKER_MEMORY}, {"GPU": 2}
    )
    assert ray_data._room(nodes, "cpu", 1) == 3 + 2
    assert ray_data._room(nodes, "cpu", 2) == 1 + 2
    assert ray_data._room(nodes, "cuda", 1) == 2
    assert ray_data._room(cluster({"CPU": 1.0}), "cpu", 4) == 1


def test_a_call_never_asks_for_more_memory_than_some_node_has():
    assert ray_data._memory(cluster({"memory": 5.0 * WORKER_MEMORY})) == {"memory": WORKER_MEMORY}
    assert ray_data._memory(cluster({"memory": 1000.0}, {"memory": 2000.0})) == {"memory": 2000}


@pytest.mark.parametrize(
    ("threads", "free", "said"),
    [
        (4, {"CPU": 2.0}, "no node of the Ray cluster has the 4 CPU of a worker (the largest has 2): waiting for one"),
        (1, {}, "every CPU of the Ray cluster is in use (see: ray status): waiting for one"),
        (1, {"CPU": 1.0}, ""),
    ],
)
def test_a_cluster_without_room_is_told(capsys, threads, free, said):
    ray_data._tell_waiting(cluster({"CPU": 2.0}, free=free), "cpu", threads)
    assert capsys.readouterr().err.strip() == said


def test_a_missing_token_is_named():
    error = ConnectionError("Failed to connect")
    assert "there is no Ray cluster at RAY_ADDRESS=a:1 (Failed to connect)" in ray_data.no_cluster("a:1", error)
    error.__cause__ = RuntimeError("ray.exceptions.AuthenticationError: RPC error")
    assert "set RAY_AUTH_MODE=token" in ray_data.no_cluster("a:1", error)


def test_only_named_options_of_ray_data_are_used():
    """The others are announced to be removed."""
    ray = pytest.importorskip("ray.data")
    named = inspect.signature(ray.Dataset.map_batches).parameters
    asked = ("fn_kwargs", "batch_size", "batch_format", "compute", "num_cpus", *ray_data._gpu(), "memory")
    assert set(asked) <= set(named)
