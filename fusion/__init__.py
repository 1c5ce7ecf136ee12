# This package belongs to mmposter (see mmposter/siblings.py, which looks for this line).

"""The model: from records and images to genre logits.

Plain `torch.nn` modules without files, YAML or detectors. A batch is a flat dict of tensors:

| key | shape | what |
|---|---|---|
| image | B x 3 x H x W | normalised by the backbone's own mean and std; only where the CNN itself runs |
| cnn.pooled | B x C | global average of the backbone's final feature map |
| photo.pooled | B x C | the same of a second backbone, which stays as it is |
| style.gram | B x R x R | Gram matrix at the tapped stage, reduced to R channels |
| style.mean, style.std | B x C' | mean and standard deviation of each channel at the tapped stage |
| yolo.boxes | B x N x 4 | xyxy in 0-1 of the poster |
| yolo.scores, yolo.labels, yolo.mask | B x N | float, int64, bool |
| ocr.document | B x E | one text embedding of all lines together |
| ocr.embeddings | B x T x E | one text embedding a line |
| ocr.geometry | B x T x 5 | centre x, centre y, width, height in 0-1, confidence |
| ocr.mask | B x T | bool |
| ocr.ngrams | B x S | int64, rows of the table of hashed n-grams |
| ocr.ngram_counts | B x S | how often each is there |
| ocr.ngram_mask | B x S | bool |

A mask is True where a slot is real. Letters, the same in all files: B posters, C channels, H W height and width,
N detections, T text lines, S n-grams, E text embedding, D embedding, G genres, R reduced channels, K branches.
"""

from fusion.averaging import follow, renew_batch_norms
from fusion.backbones import (
    Backbone,
    BackboneSpec,
    backbone_spec,
    build_backbone,
    hold_batch_norms,
    list_backbones,
    register_backbone,
    register_library,
)
from fusion.base import Branch, Inputs, branch_names, branch_options, build_branch, register_branch
from fusion.branches import CnnBranch, PhotoBranch, StyleBranch, TextBranch, YoloBranch
from fusion.classifier import Classifier, ImageClassifier, build_classifier, map_shape
from fusion.distillation import (
    ChannelStatistics,
    DistillationLoss,
    Distiller,
    Hint,
    HintLoss,
    SoftGenreLoss,
    crop_maps,
    genre_head,
    linear_classifier,
    match_stages,
    stage_shapes,
    stage_strides,
)
from fusion.gates import ChannelGate, GramGate, SEGate, SRMGate, build_gate, gate_names, gate_options, register_gate
from fusion.gram import StageStatistics, gram_matrix
from fusion.heads import (
    AttentionHead,
    ConcatHead,
    GatedHead,
    Head,
    SumHead,
    build_head,
    head_names,
    head_options,
    register_head,
)
from fusion.losses import (
    Loss,
    base_logits,
    build_loss,
    loss_class,
    loss_names,
    loss_options,
    probabilities,
    register_loss,
)
from fusion.model import FusionModel, PosterModel, parameter_groups
from fusion.muon import Muon, convolution_weights
from fusion.tower import ImageTower

__all__ = [
    "AttentionHead",
    "Backbone",
    "BackboneSpec",
    "Branch",
    "ChannelGate",
    "ChannelStatistics",
    "Classifier",
    "CnnBranch",
    "ConcatHead",
    "DistillationLoss",
    "Distiller",
    "FusionModel",
    "GatedHead",
    "GramGate",
    "Head",
    "Hint",
    "HintLoss",
    "ImageClassifier",
    "ImageTower",
    "Inputs",
    "Loss",
    "Muon",
    "PhotoBranch",
    "PosterModel",
    "SEGate",
    "SRMGate",
    "SoftGenreLoss",
    "StageStatistics",
    "StyleBranch",
    "SumHead",
    "TextBranch",
    "YoloBranch",
    "backbone_spec",
    "base_logits",
    "branch_names",
    "branch_options",
    "build_backbone",
    "build_branch",
    "build_classifier",
    "build_gate",
    "build_head",
    "build_loss",
    "convolution_weights",
    "crop_maps",
    "follow",
    "gate_names",
    "gate_options",
    "genre_head",
    "gram_matrix",
    "head_names",
    "head_options",
    "hold_batch_norms",
    "linear_classifier",
    "list_backbones",
    "loss_class",
    "loss_names",
    "loss_options",
    "map_shape",
    "match_stages",
    "parameter_groups",
    "probabilities",
    "register_backbone",
    "register_branch",
    "register_gate",
    "register_head",
    "register_library",
    "register_loss",
    "renew_batch_norms",
    "stage_shapes",
    "stage_strides",
]
