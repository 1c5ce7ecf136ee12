"""Registries: the names that a configuration may use, what stands behind each, and its options.

A name is registered once. An unknown name or option is refused with a list of the allowed ones, so that a misspelt
configuration fails at once and in words. The application takes the names and the options that it offers from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

REGISTRIES: list[Registry[Any]] = []
"""All that there are."""

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])


class Registry(Generic[T]):
    """Entries of one kind by name.

    Args:
        kind: what the entries are, in the words of an error message ("branch", "head").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        REGISTRIES.append(self)

    def add(self, name: str, entry: T, module: str) -> None:
        """Register ``entry`` under ``name``, for the module that brings it.

        Raises:
            ValueError: the name is taken already.
        """
        if name in self._entries:
            taken = self._entries[name]
            owner = f" by {taken.__name__}" if isinstance(taken, type) else ""
            raise ValueError(f"{self.kind} must have a new name, {name!r} is taken{owner}")
        self._entries[name] = entry
        self._modules[name] = module

    def names_of(self, module: str) -> list[str]:
        """The names that a module has registered."""
        return [name for name in self._entries if self._modules[name] == module]

    def remove(self, name: str) -> None:
        """Forget the entry called ``name``."""
        del self._entries[name], self._modules[name]

    def names(self) -> list[str]:
        """The registered names, sorted.

        Examples:
            >>> from fusion import gate_names
            >>> gate_names()
            ['gram', 'se', 'srm']
        """
        return sorted(self._entries)

    def get(self, name: str, hint: str = "") -> T:
        """The entry called ``name``.

        Raises:
            ValueError: no such name; the message lists the known ones and ends with ``hint``.
        """
        if name not in self._entries:
            raise ValueError(f"{self.kind} must be one of {self.names()}, got {name!r}{hint}")
        return self._entries[name]


class ClassRegistry(Registry[type[T]]):
    """Classes with a common base; their constructors' arguments are the options.

    Args:
        kind: as in `Registry`.
        base: the class that every registered class must inherit from.
    """

    def __init__(self, kind: str, base: type[T]) -> None:
        super().__init__(kind)
        self._base = base

    def register(self, name: str) -> Callable[[Class], Class]:
        """Class decorator that registers the class under ``name``.

        Raises:
            ValueError: the name is taken already, or the class does not inherit from the base.

        Examples:
            >>> shapes = ClassRegistry("shape", object)
            >>> @shapes.register("square")
            ... class Square:
            ...     def __init__(self, side: float = 1.0) -> None:
            ...         self.side = side
            >>> shapes.build("square", side=2.0).side
            2.0
            >>> shapes.register("square")(Square)
            Traceback (most recent call last):
            ValueError: shape must have a new name, 'square' is taken by Square
        """

        def enter(cls: Class) -> Class:
            fits = issubclass(cls, self._base)  # a name of its own: mypy would forget what `cls` is
            if not fits:
                raise ValueError(f"{self.kind} {name!r} must inherit from {self._base.__name__}, got {cls.__name__}")
            self.add(name, cls, cls.__module__)
            return cls

        return enter

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of the class called ``name``: the parameters of its constructor.

        Each has a type (``annotation``, evaluated) and a ``default``; without a default it is required.

        Raises:
            ValueError: unknown name.

        Examples:
            >>> from fusion import loss_options
            >>> loss_options("focal")["gamma"]
            <Parameter "gamma: float = 2.0">
        """
        parameters = inspect.signature(self.get(name), eval_str=True).parameters
        # A class without a constructor of its own shows nn.Module's (*args, **kwargs): it has no options.
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {key: parameter for key, parameter in parameters.items() if parameter.kind not in variable}

    def build(self, name: str, **options: Any) -> T:
        """An instance of the class called ``name``.

        Raises:
            ValueError: unknown name or option, or a required option is missing.

        Examples:
            >>> from fusion import build_head
            >>> build_head("sum", dims=[8, 4], num_genres=3).num_genres
            3
            >>> build_head("sum", dims=[8, 4], num_genres=3, depth=2)
            Traceback (most recent call last):
            ValueError: options of head 'sum' must be among ['dims', 'dropout', 'num_genres'], got ['depth']
        """
        allowed = self.options(name)
        unknown = sorted(set(options) - set(allowed))
        if unknown:
            raise ValueError(f"options of {self.kind} {name!r} must be among {sorted(allowed)}, got {unknown}")
        missing = [key for key, option in allowed.items() if option.default is option.empty and key not in options]
        if missing:
            raise ValueError(f"{self.kind} {name!r} must be given {missing}, got {sorted(options)}")
        return self.get(name)(**options)
