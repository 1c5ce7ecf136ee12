"""One small registry for everything that a config may name: branches, gates, heads and losses.

A name is registered once, an unknown name or option is refused with a list of the known ones, so that a misspelt
config fails at once and in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])


class Registry(Generic[T]):
    """Classes of one kind under the names that configs use.

    Args:
        kind: what the entries are, in the words of an error message ("branch", "head").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[Class], Class]:
        """Class decorator that enters the class under ``name``.

        Raises:
            ValueError: the name is taken already.
        """

        def enter(cls: Class) -> Class:
            if name in self._classes:
                raise ValueError(
                    f"{self.kind} must have a new name, {name!r} is taken by {self._classes[name].__name__}"
                )
            self._classes[name] = cls
            return cls

        return enter

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self._classes)

    def options(self, name: str) -> dict[str, Any]:
        """The keyword arguments that ``name`` takes, with their defaults (``inspect.Parameter.empty``: required).

        Raises:
            ValueError: nothing is registered under this name.
        """
        parameters = inspect.signature(self._class(name)).parameters.values()
        # A class without a constructor of its own shows nn.Module's (*args, **kwargs): it takes nothing.
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {parameter.name: parameter.default for parameter in parameters if parameter.kind not in variable}

    def build(self, name: str, **options: Any) -> T:
        """An instance of the class called ``name``.

        Raises:
            ValueError: nothing is registered under this name, or an option is not one of the class's own.
        """
        allowed = self.options(name)
        unknown = sorted(set(options) - set(allowed))
        if unknown:
            raise ValueError(f"options of {self.kind} {name!r} must be among {sorted(allowed)}, got {unknown}")
        return self._class(name)(**options)

    def _class(self, name: str) -> type[T]:
        if name not in self._classes:
            raise ValueError(f"{self.kind} must be one of {self.names()}, got {name!r}")
        return self._classes[name]
