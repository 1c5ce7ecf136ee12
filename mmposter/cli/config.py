"""`mmposter config`: the configuration as it would be used."""

from __future__ import annotations

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_line


def config_command(config: opt.ConfigSource = None, set: opt.Overrides = None, branches: opt.Branches = None) -> None:
    """Print the complete configuration as YAML, with all defaults.

    Examples:

      mmposter config > mine.yaml

      mmposter config --config lite --set fusion.head=gated
    """
    import yaml

    from mmposter.config import load_config

    resolved = load_config(config, set or (), branches=branches)
    answer_line(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False).rstrip("\n"))
