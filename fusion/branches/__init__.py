"""The branches: each makes one embedding of a poster.

To add one, register a `fusion.base.Branch` with `register_branch`: in a file here that is imported below, or anywhere.
"""

from fusion.branches.cnn import CnnBranch, PhotoBranch
from fusion.branches.objects import YoloBranch
from fusion.branches.style import StyleBranch, gram_descriptor
from fusion.branches.text import TextBranch

__all__ = ["CnnBranch", "PhotoBranch", "StyleBranch", "TextBranch", "YoloBranch", "gram_descriptor"]
