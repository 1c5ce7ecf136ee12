"""The picture of one poster as the branches get it that read the image network, from one pass of that.

Which branches these are their modules say (`Branch.tower_inputs`, `Branch.channel_gate`), not their names.

Letters: C channels of the final map, C' of the tapped stage, h w height and width of a map, n copies of a map.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from fusion import Backbone, PosterModel
from fusion.backbones import global_average
from fusion.backbones.whole_networks import FeatureStage
from fusion.base import POOLED, STYLE


class Sight:
    """One pass of the image network, and the parts above its maps once more where they are asked for.

    Where a branch's gate re-weights the network's channels, the later stages run twice: with the weights and without.

    Args:
        model: with its tower, in evaluation mode.
        image: 1 x 3 x H x W.
        branches: that are looked through.

    Attributes:
        pooling: the branches that read the network's pooled features.
        tapping: those that read the statistics of the tapped stage.
        gating: the one of them whose gate re-weights what `pooling` read; None where no gate is in use.
        tap: the map 1 x C' x h x w whose style is measured.
        measured: the style.* entries of `tap`; empty where no branch reads them.
        final: the last map with places before pooling, after the gate; None where no branch reads the pooled features.
    """

    def __init__(self, model: PosterModel, image: Tensor, branches: Collection[str]) -> None:
        assert model.tower is not None
        self._tower = model.tower
        self._backbone = self._tower.backbone
        self._gate = model.gate
        self._stage = cam_stage(self._backbone, self._tower.stage)
        modules = {name: model.fusion.branch(name) for name in branches}
        read = {name: module.tower_inputs() for name, module in modules.items()}
        self.pooling = [name for name, entries in read.items() if POOLED in entries]
        self.tapping = [name for name, entries in read.items() if any(entry.startswith(STYLE) for entry in entries)]
        gates = [name for name, module in modules.items() if module.channel_gate() is not None]
        self.gating = gates[0] if gates and model.reweight_cnn and self.pooling else None
        self.tap = self._backbone.forward_stages(image, stop=self._tower.stage)
        self.measured = self.style(self.tap) if self.tapping else {}
        self.final: Tensor | None = None
        if self.pooling:
            self._plain = self._onward(self.tap)
            self.final = self._plain if self.gating is None else self.gated(self.measured)

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
            return self.measured
        return {**self.measured, POOLED: self.pool(self.final if gated else self._plain)}

    def style(self, tap: Tensor) -> dict[str, Tensor]:
        """The style.* entries of a map of the tapped stage, n x C' x h x w."""
        assert self._tower.statistics is not None  # a branch of the model reads them
        return {f"{STYLE}{name}": value for name, value in self._tower.statistics(tap).items()}

    def gated(self, style: dict[str, Tensor]) -> Tensor:
        """The final map behind the weights that the gate gives for these n rows of style.* entries."""
        assert self._gate is not None
        weights = self._gate({name.removeprefix(STYLE): value for name, value in style.items()})
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
