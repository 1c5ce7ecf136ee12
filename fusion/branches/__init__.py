"""The branches: ways of looking at a poster.

Adding one: a file beside this with a `fusion.base.Branch` under `register_branch`, and a line here that imports it.
"""

from fusion.branches.cnn import CnnBranch
from fusion.branches.objects import YoloBranch
from fusion.branches.style import StyleBranch, gram_descriptor
from fusion.branches.text import TextBranch

__all__ = ["CnnBranch", "StyleBranch", "TextBranch", "YoloBranch", "gram_descriptor"]
