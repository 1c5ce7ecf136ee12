"""Image networks cut into stages: what can be built, and how.

Adding one: a file beside this that calls `add_backbone`, and its name in `_FAMILIES` of `catalogue.py`.
"""

from fusion.backbones.base import Backbone, global_average
from fusion.backbones.catalogue import BackboneSpec, add_backbone, backbone_spec, build_backbone, list_backbones

__all__ = [
    "Backbone",
    "BackboneSpec",
    "add_backbone",
    "backbone_spec",
    "build_backbone",
    "global_average",
    "list_backbones",
]
