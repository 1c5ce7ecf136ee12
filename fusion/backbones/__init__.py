"""Image networks cut into stages: what can be built, and how.

To add one, register a function that makes the network with `register_backbone`: in a file here that is imported below,
or anywhere. Any model of timm and of the Hugging Face hub can be named, and those of
libraries that `register_library` adds.
"""

# The first line imports what registers its networks and is used for nothing else here.
from fusion.backbones import efficientnet_lite, gated_resnets, published_cnns, torchvision_families  # noqa: F401
from fusion.backbones.base import RESIZES, Backbone, BackboneSpec, Undrawn, global_average, hold_batch_norms
from fusion.backbones.catalogue import (
    backbone_spec,
    build_backbone,
    count_parameters,
    list_backbones,
    of_library,
    register_backbone,
    register_library,
    to_be_loaded,
)
from fusion.backbones.descriptions import require_modest, require_no_code
from fusion.backbones.huggingface import DESCRIPTION_FILES, HF, HF_WEIGHTS, quiet_transformers
from fusion.backbones.timm_models import TIMM

__all__ = [
    "DESCRIPTION_FILES",
    "HF",
    "HF_WEIGHTS",
    "RESIZES",
    "TIMM",
    "Backbone",
    "BackboneSpec",
    "Undrawn",
    "backbone_spec",
    "build_backbone",
    "count_parameters",
    "global_average",
    "hold_batch_norms",
    "list_backbones",
    "of_library",
    "quiet_transformers",
    "register_backbone",
    "register_library",
    "require_modest",
    "require_no_code",
    "to_be_loaded",
]
