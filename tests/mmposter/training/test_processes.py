"""Several processes of one training, each with its part of a batch, come to what one process comes to."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fusion.layers import BatchNormRows
from mmposter.cli import main
from mmposter.engines import launched
from mmposter.errors import UserError
from mmposter.runs.run import WEIGHTS, Run
from mmposter.training import loop, processes
from mmposter.training.processes import part_of
from mmposter.training.train import train
from mmposter.training.whole_batch import WholeBatch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are copies of this one")


@pytest.mark.parametrize(("total", "number"), [(16, 2), (17, 2), (10, 3), (4, 2), (65, 4)])
def test_parts_hold_each_row_once_and_are_of_one_size_up_to_one(total, number):
    parts = [part_of(total, rank, number) for rank in range(number)]
    assert [row for part in parts for row in range(total)[part.rows]] == list(range(total))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert all(part.copies == 1 for part in parts)


@pytest.mark.parametrize(("total", "number"), [(1, 3), (2, 3), (7, 2), (0, 2)])
def test_a_poster_that_is_only_looked_at_is_looked_at_by_one_process(total, number, monkeypatch):
    monkeypatch.setattr(processes.dist, "new_group", lambda **_: None)
    shares = [processes.Processes(rank, number).share(range(total)) for rank in range(number)]
    assert [row for share in shares for row in share] == list(range(total))


@pytest.mark.parametrize("total", [0, 1, 3, 5])
def test_a_batch_of_fewer_than_two_rows_a_process_is_computed_by_each(total):
    for rank in range(3):
        part = part_of(total, rank, 3)
        assert (part.start, part.stop, part.copies) == (0, total, 3)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.4),
        nn.Sequential(nn.Flatten(0, 1), nn.Dropout(0.4), nn.Unflatten(0, (-1, 4))),  # several rows a poster
        nn.TransformerEncoderLayer(6, 2, 8, dropout=0.3, batch_first=True),  # draws inside torch's own code
    ],
)
def test_a_part_draws_what_the_whole_batch_draws_for_its_rows(layer):
    layer.train()
    batch = torch.randn(8, 4, 6)
    rows_a_poster = 4 if isinstance(layer, nn.Sequential) else 1
    torch.manual_seed(3)
    whole, after = layer(batch), torch.rand(1)
    for own in (slice(0, 3), slice(3, 8)):
        torch.manual_seed(3)
        with WholeBatch(lambda _, own=own: (own.start * rows_a_poster, 8 * rows_a_poster), lambda _: None):
            part = layer(batch[own])
        torch.testing.assert_close(part, whole[own])
        assert torch.equal(torch.rand(1), after)  # and the generator is where it would be


class _Together:
    """Two threads that add up tensors as two processes do."""

    def __init__(self) -> None:
        self.barrier, self.values = threading.Barrier(2, timeout=20), {}

    def adder(self, rank):
        def add(values):
            self.values[rank] = values.clone()
            self.barrier.wait()
            values.copy_(self.values[0] + self.values[1])
            self.barrier.wait()

        return add


@pytest.mark.parametrize(("norm", "shape"), [(BatchNormRows(3), (7, 3)), (nn.BatchNorm2d(3), (7, 3, 4, 2))])
def test_a_batch_norm_sees_the_whole_batch(norm, shape):
    torch.manual_seed(0)
    batch, wanted = 5 + 0.1 * torch.randn(shape), torch.randn(shape)
    copies = [type(norm)(3), type(norm)(3)]
    inputs = batch.clone().requires_grad_()
    output = norm.train()(inputs)
    (output * wanted).square().sum().backward()
    together, found = _Together(), {}

    def one(rank, own):
        part = batch[own].clone().requires_grad_()
        with WholeBatch(lambda count: (0, count), together.adder(rank)):
            seen = copies[rank].train()(part)
        (seen * wanted[own]).square().sum().backward()
        found[rank] = seen.detach(), part.grad

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate((slice(0, 3), slice(3, 7)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, value in enumerate((output.detach(), inputs.grad)):
        torch.testing.assert_close(torch.cat([found[0][place], found[1][place]]), value, rtol=1e-4, atol=1e-4)
    summed = copies[0].weight.grad + copies[1].weight.grad
    torch.testing.assert_close(summed, norm.weight.grad, rtol=1e-5, atol=1e-5)
    for copy in copies:
        torch.testing.assert_close(copy.running_mean, norm.running_mean)
        torch.testing.assert_close(copy.running_var, norm.running_var)
        assert copy.num_batches_tracked == 1


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _start_anew(rank: int, number: int, port: int) -> None:
    """Make this copy of the tests' process the one that a launcher would have started."""
    from accelerate.state import AcceleratorState

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(number), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(number))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    processes.join.cache_clear()


def _together(work, number=2, seconds=300):
    """Exit codes of `number` processes that call `work` with their rank."""
    port, context = _free_port(), multiprocessing.get_context("fork")

    def one(rank):
        _start_anew(rank, number, port)
        work(rank)

    started = [context.Process(target=one, args=(rank,), daemon=True) for rank in range(number)]
    for process in started:
        process.start()
    for process in started:
        process.join(seconds)
        process.kill()
    return [process.exitcode for process in started]


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    """33 posters to learn from: the last batch of an epoch has 9, and two processes share it unequally."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("world"), patch.setenv, 66)


def _assert_near(first: Path, second: Path) -> None:
    for name in (WEIGHTS, loop.LAST):
        a, b = load_file(first / name), load_file(second / name)
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_two_processes_train_what_one_trains(world, tmp_path, monkeypatch):
    """Also where the first of them are killed in the middle of an epoch, and one goes on."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    config = world.config("fusion.branch_dropout=0.3", "loss.name=ranked_bce", "train.epochs=2", "train.batch_size=8")
    how = {"device": "cpu", "offline": True, "quiet": True}

    def run(rank):  # the main one extracts the features that the store lacks
        result = train(config, world.dataset, tmp_path / "two", **how)
        (tmp_path / f"result{rank}").write_text(f"{result.told} {result.validation.n}")

    assert _together(run) == [0, 0]
    train(config, world.dataset, tmp_path / "one", **how)
    _assert_near(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "result0").read_text() == (tmp_path / "result1").read_text()
    assert Run.load(tmp_path / "two").facts["val_posters"] == 16  # none twice
    lines = [(tmp_path / name / loop.METRICS).read_text().splitlines() for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 2

    def killed(rank):
        step = loop.Trainer._step

        def dies(self, *batch):
            if self.progress.step == 3:
                os.kill(os.getpid(), 9)
            return step(self, *batch)

        loop.Trainer._step = dies
        train(config, world.dataset, tmp_path / "cut", **how)

    assert _together(killed) == [-9, -9]
    assert load_file(tmp_path / "cut" / loop.LAST)
    train(config, world.dataset, tmp_path / "cut", resume=True, **how)
    _assert_near(tmp_path / "one", tmp_path / "cut")


def test_what_fails_in_the_main_process_fails_in_all(world, tmp_path):
    (tmp_path / "run").write_text("a file where a folder is needed")

    def run(rank):
        with pytest.raises(UserError, match="is a file; it must be a folder"):
            train(world.config(), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)

    assert _together(run) == [0, 0]


def test_the_others_are_told_of_a_process_that_died(world, tmp_path):
    def run(rank):
        if rank == 1:
            loop.Trainer._step = lambda *_: os.kill(os.getpid(), 9)
        with pytest.raises(UserError, match="another process of this training has ended"):
            train(world.config(), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)

    assert _together(run) == [0, -9]


def test_a_process_started_alone_follows_none(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (launched.world_size(), launched.rank(), launched.follow()) == (1, 0, False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert launched.world_size() == 1


@pytest.fixture
def of_two(monkeypatch):
    """Make this process one of two that torchrun started, as far as the command line can tell."""

    def number(rank):
        for name, value in {"RANK": str(rank), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(launched, "_followers", [])
        monkeypatch.setattr(launched, "LAUNCHER_S", 0.01)

    return number


@pytest.mark.parametrize(("rank", "begins"), [(0, "error: "), (1, "process 1 of 2: error: ")])
def test_other_commands_are_refused_under_torchrun(of_two, monkeypatch, capsys, rank, begins):
    of_two(rank)
    monkeypatch.setattr(sys, "argv", ["mmposter", "evaluate", "runs/mine"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"{begins}only mmposter train runs on several processes")


@pytest.mark.parametrize(("rank", "said"), [(0, 1), (1, 0)])
def test_the_main_process_alone_speaks_of_an_interrupt(of_two, monkeypatch, capsys, rank, said):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    of_two(rank)
    launched.follow()
    monkeypatch.setattr("mmposter.data.prepare", interrupted)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setattr(sys, "argv", ["mmposter", "prepare", "posters.csv", "--format", "csv", "--out", "data"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err.count("stopped.") == said


def test_accelerate_on_a_cpu_starts_one_process_and_that_is_known(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not launched.is_alone_though_asked()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert launched.is_alone_though_asked()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="each needs a GPU of its own, and the number of GPUs is 1"):
        processes.join("cuda")
    with pytest.raises(UserError, match="cpu or cuda; got --device mps"):
        processes.join("mps")
