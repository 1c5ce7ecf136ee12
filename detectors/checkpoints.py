"""ultralytics' checkpoints read as data: weights and layers that we know, and no code of the file's.

Such a checkpoint is a pickle of whole Python objects, and unpickling one calls whatever it names. torch can refuse all
names but a list of safe ones; yet it calls those with any arguments, and some layers of ultralytics fetch files or read
YAML when they are called. So here nothing of a checkpoint is called at all: every name that it may use becomes a
`_Shell`, which only keeps what it was given. Layers are made from the shells afterwards, without their ``__init__``.
"""

from __future__ import annotations

import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from detectors.errors import UnsafeCheckpointError

# Names of older versions, by those of today.
_ALIASES = {
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
}
_NETWORKS = ("DetectionModel", "SegmentationModel", "PoseModel", "OBBModel", "RTDETRDetectionModel")
_LAYERS = ("torch.nn.modules.", "ultralytics.nn.modules.")
_METHODS = ("forward", "forward_fuse")  # of a layer, kept by networks whose layers were joined
_GETATTR = "builtins.getattr"
_NAMESPACE = "IterableSimpleNamespace"

# What may be named at all. A network needs less; beside it lie settings and what was measured in its training.
_KNOWN = (*_LAYERS, "ultralytics.", "pathlib.", "numpy.", "numpy._core.", "numpy.core.")
_FORGOTTEN = ("ultralytics.utils.loss.", "ultralytics.utils.tal.")  # of the training alone
_PLAIN = (str, int, float, bool, type(None))

_LOCK = Lock()  # torch keeps its list of safe names for the whole process


def load_network(file: Path) -> dict[str, Any]:
    """The network of an ultralytics checkpoint that finds boxes, as ultralytics' own loader would give it.

    Returns:
        ``model``: the network; ``train_args``: those of its settings that are plain values.

    Raises:
        UnsafeCheckpointError: it needs more than is safe.
        ValueError: it is no checkpoint, or a damaged one.
    """
    content = _unpickle(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no ultralytics checkpoint, but a {_called(content)}")
    network = content.get("ema")
    network = content.get("model") if network is None else network
    if not isinstance(network, _Shell):
        raise ValueError(f"{file} holds no network of ultralytics")
    try:
        model = _LayerBuilder().build(network)
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply") from error
    if type(model).__name__ not in _NETWORKS:
        raise ValueError(f"{file} holds a {type(model).__name__}, which finds no boxes")
    settings = content.get("train_args")
    plain = {key: value for key, value in settings.items() if isinstance(key, str)} if type(settings) is dict else {}
    return {"model": model, "train_args": {key: value for key, value in plain.items() if isinstance(value, _PLAIN)}}


class _Shell:
    """Stands in for an object of a checkpoint: keeps its arguments and its state, and does nothing."""

    path = ""
    """The name of the class, or function, that the checkpoint asks for."""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> _Shell:
        shell = super().__new__(cls)
        shell.arguments, shell.state = arguments, None
        return shell

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _unpickle(file: Path) -> Any:
    """What the file holds, every name that is not torch's own in a shell."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise UnsafeCheckpointError(f"{file} can be read safely with torch 2.6 or later; here is {torch.__version__}")
    _require_stored(file)
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        if unknown := sorted(name for name in named if name != _GETATTR and not name.startswith(_KNOWN)):
            raise UnsafeCheckpointError(f"{file} names {_some(unknown)}, which no network of ultralytics needs")
        with _LOCK, torch.serialization.safe_globals([_shell(name) for name in named]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except ValueError:
        raise
    except Exception as error:  # of a damaged pickle, anything; torch's words tell how to run what it holds
        raise ValueError(f"{file} is damaged, or no checkpoint ({type(error).__name__})") from error


def _require_stored(file: Path) -> None:
    """Refuse what torch.save does not write: no zip archive, or one that is larger when opened."""
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{file} is damaged, or no checkpoint ({type(error).__name__})") from error
    if size > file.stat().st_size:
        raise ValueError(f"{file} is compressed, and would open to {size:,} bytes; torch writes none like it")


def _shell(name: str) -> type[_Shell]:
    module, _, attribute = name.rpartition(".")
    return type(attribute, (_Shell,), {"__module__": module, "__qualname__": attribute, "path": name})


class _LayerBuilder:
    """Makes layers of shells; what was one object stays one."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def build(self, value: Any) -> Any:
        """The object that `value` stands for; UnsafeCheckpointError where it is of no class that we know."""
        if isinstance(value, _PLAIN) or id(value) in self._made:
            return self._made.get(id(value), value)
        made: Any
        if isinstance(value, _Shell):
            return self._from_shell(value)
        if isinstance(value, type):
            raise UnsafeCheckpointError(f"the checkpoint keeps {_called(value)} itself")
        if isinstance(value, dict):
            made = OrderedDict() if isinstance(value, OrderedDict) else {}
            self._made[id(value)] = made
            made.update({self.build(key): self.build(item) for key, item in value.items()})
        elif isinstance(value, list):
            made = self._made[id(value)] = []
            made.extend(self.build(item) for item in value)
        elif isinstance(value, tuple | set):
            kind = torch.Size if isinstance(value, torch.Size) else set if isinstance(value, set) else tuple
            made = self._made[id(value)] = kind(self.build(item) for item in value)
        else:  # tensors, and what torch itself holds to be safe
            made = value
        return made

    def _from_shell(self, shell: _Shell) -> Any:
        made: Any
        if shell.path == _GETATTR:
            made = self._method(*shell.arguments)
        elif shell.path.startswith(_FORGOTTEN):
            made = None
        elif shell.path.startswith("pathlib."):
            made = "/".join(str(part) for part in shell.arguments)
        elif shell.path.rpartition(".")[2] == _NAMESPACE:
            made = self.build(shell.state or {})
        else:
            return self._layer(shell)
        self._made[id(shell)] = made
        return made

    def _layer(self, shell: _Shell) -> nn.Module:
        layer: nn.Module = object.__new__(_layer_class(shell.path))
        self._made[id(shell)] = layer  # before its state, which may hold it
        state = self.build(shell.state)
        if shell.arguments or type(state) is not dict or not all(isinstance(key, str) for key in state):
            raise ValueError(f"the checkpoint's {shell.path} is none that ultralytics writes")
        layer.__setstate__(state)  # type: ignore[no-untyped-call]
        return layer

    def _method(self, owner: Any = None, name: Any = None, *others: Any) -> Callable[..., Any]:
        layer = self.build(owner)
        if others or name not in _METHODS or not isinstance(layer, nn.Module):
            raise UnsafeCheckpointError(f"the checkpoint asks for {name!r} of a {_called(owner)}")
        method: Callable[..., Any] = getattr(type(layer), name).__get__(layer)
        return method


def _layer_class(path: str) -> type[nn.Module]:
    """A class of layers or networks that we know; a module that nobody has imported yet stays so."""
    module, _, name = _ALIASES.get(path, path).rpartition(".")
    allowed = name in _NETWORKS if module == "ultralytics.nn.tasks" else f"{module}.".startswith(_LAYERS)
    found = getattr(sys.modules.get(module), name, None) if allowed else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UnsafeCheckpointError(f"the checkpoint's network holds a {path}, which is no layer that we know")
    return found


def _called(value: Any) -> str:
    return (
        value.path if isinstance(value, _Shell) else value.__name__ if isinstance(value, type) else type(value).__name__
    )


def _some(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:3]) + (", ..." if len(names) > 3 else "")
