"""YAML recipes, carried in the wheel as `mmposter.configs` and found through `importlib.resources`."""
