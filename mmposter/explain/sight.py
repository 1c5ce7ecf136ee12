"""The picture of one poster as the cnn and style branches get it, from one pass of the image network.

Letters: C channels of the final map, C' of the tapped stage, h w height and width of a map, n copies of a map.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from fusion import Backbone, PosterModel
from fusion.backbones import global_average
from fusion.backbones.whole_networks import FeatureStage
from mmposter.branches.cnn import NAME as CNN
from mmposter.branches.style import NAME as STYLE


class Sight:
    """One pass of the image network, and the parts above its maps once more where they are asked for.

    Where the style gate re-weights the network's channels, the later stages run twice: with the weights and without.

    Args:
        model: with its tower, in evaluation mode.
        image: 1 x 3 x H x W.
        branches: that are looked through.

    Attributes:
        reweights: whether the gate is in use.
        tap: the map 1 x C' x h x w whose style is measured.
        final: the last map with places that the cnn branch reads, after the gate; None where cnn is not looked through.
    """

    def __init__(self, model: PosterModel, image: Tensor, branches: Collection[str]) -> None:
        assert model.tower is not None
        self._tower = model.tower
        self._backbone = self._tower.backbone
        self._gate = model.gate
        self._stage = cam_stage(self._backbone, self._tower.stage)
        self.reweights = model.reweight_cnn and {CNN, STYLE} <= set(branches)
        self.tap = self._backbone.forward_stages(image, stop=self._tower.stage)
        self._style = self.style(self.tap) if STYLE in branches else {}
        self.final: Tensor | None = None
        if CNN in branches:
            self._plain = self._onward(self.tap)
            self.final = self.gated(self._style) if self.reweights else self._plain

    @property
    def final_places(self) -> Tensor | None:
        """`final`, where it is a map of places."""
        return None if self.final is None else with_places(self.final, self._backbone, self._stage)

    @property
    def tap_places(self) -> Tensor | None:
        """`tap`, where it is a map of places."""
        return with_places(self.tap, self._backbone, self._tower.stage)

    def entries(self, *, gated: bool = True) -> dict[str, Tensor]:
        """What the branches read of a batch: cnn.pooled and style.*, one row each.

        Args:
            gated: with the gate's weights on the network's channels, where it is in use.
        """
        if self.final is None:
            return self._style
        return {**self._style, "cnn.pooled": self.pool(self.final if gated else self._plain)}

    def style(self, tap: Tensor) -> dict[str, Tensor]:
        """The style branch's entries of a map of the tapped stage, n x C' x h x w."""
        assert self._tower.statistics is not None  # the model has a style branch
        return {f"style.{name}": value for name, value in self._tower.statistics(tap).items()}

    def gated(self, style: dict[str, Tensor]) -> Tensor:
        """The final map behind the weights that the gate gives for these n entries of the style branch."""
        assert self._gate is not None
        weights = self._gate({name.removeprefix("style."): value for name, value in style.items()})
        return self._onward(self.tap * weights[:, :, None, None])

    def pool(self, final: Tensor) -> Tensor:
        """cnn.pooled n x C of a map like `final`."""
        return global_average(self._backbone.forward_stages(final.clone(), start=self._stage))

    def _onward(self, tap: Tensor) -> Tensor:
        # From a copy: a stage may begin with an activation that works in place.
        return self._backbone.forward_stages(tap.clone(), start=self._tower.stage, stop=self._stage)


def cam_stage(backbone: Backbone, tapped: str | None = None) -> str:
    """The stage whose map shows places to Grad-CAM: the last that has any, but none before the tapped one."""
    names = backbone.stage_names
    first = names[0] if tapped is None else tapped
    return max(backbone.map_stage, first, key=names.index)


def with_places(features: Tensor, backbone: Backbone, name: str) -> Tensor | None:
    """A stage's map 1 x C x h x w; None where it is one place, or tokens, which lie in a row, class token and all."""
    stage = backbone.stages[name]
    tokens = isinstance(stage, FeatureStage) and stage.layout == "NLC"
    return None if tokens or features.shape[2] * features.shape[3] == 1 else features
