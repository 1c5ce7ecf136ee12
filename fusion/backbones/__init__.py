"""Image networks cut into stages: what can be built, and how.

Adding one: a file beside this that calls `add_backbone`, and its name in `_FAMILIES` of `catalogue.py`. The models of
timm and of the Hugging Face hub are there by name (`LIBRARIES`).
"""

from fusion.backbones.base import Backbone, global_average
from fusion.backbones.catalogue import (
    DESCRIPTION_FILES,
    HF,
    HF_WEIGHTS,
    LIBRARIES,
    TIMM,
    BackboneSpec,
    add_backbone,
    backbone_spec,
    build_backbone,
    count_parameters,
    list_backbones,
)
from fusion.backbones.descriptions import require_modest, require_no_code

__all__ = [
    "DESCRIPTION_FILES",
    "HF",
    "HF_WEIGHTS",
    "LIBRARIES",
    "TIMM",
    "Backbone",
    "BackboneSpec",
    "add_backbone",
    "backbone_spec",
    "build_backbone",
    "count_parameters",
    "global_average",
    "list_backbones",
    "require_modest",
    "require_no_code",
]
