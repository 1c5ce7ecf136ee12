"""What the command line says of a command or an option that it does not know: the one that may have been meant."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from mmposter.suggest import closest, did_you_mean

# Typer brings a parser of its own, or uses click's, by its version: so its errors are known by what they have.


class ProposingCommand(TyperCommand):
    """A command that proposes the option, or the configuration key, that an unknown option may stand for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if hasattr(error, "possibilities") and hasattr(error, "option_name"):
                error.possibilities = None  # which the parser would list in words of its own
                error.message = f"No such option: {error.option_name}{self._meant(str(error.option_name))}"  # type: ignore[attr-defined]
            raise

    def _meant(self, option: str) -> str:
        known = [name for param in self.params for name in (*param.opts, *param.secondary_opts)]
        if "--set" in known and closest(option, known, alike=0.8) is None:
            from mmposter.cli.completion import configuration_keys

            last = option.lstrip("-").replace("-", "_")
            keys = [key for key in configuration_keys() if key.rpartition(".")[2] == last]
            if keys:
                return f" (did you mean --set {keys[0]}=VALUE?)"
        return did_you_mean(option, [name for name in known if name.startswith("--")])


class ProposingGroup(TyperGroup):
    """The program: it proposes the command that an unknown one may stand for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            name = args[0] if args else ""
            if hasattr(error, "message") and not name.startswith("-") and name not in self.commands:
                error.message = f"No such command {name!r}{did_you_mean(name, self.commands)}."
            raise
