"""All that the application needs to know of a branch, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mmposter.branches.settings import ConfigSection

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.branches.cnn import CnnConfig
    from mmposter.config import Config
    from mmposter.data.dataset import Dataset
    from mmposter.explain.parts import Parts
    from mmposter.features.extractors import BranchExtractors, Making, Phrases
    from mmposter.features.pins import Pins
    from mmposter.features.ragged import Features
    from mmposter.features.sizes import Sizes
    from mmposter.features.store import Record
    from mmposter.pretrained.resolver import WeightSource


class BranchDeclaration(ABC):
    """A branch as the application knows it: one way of looking at a poster.

    A file that declares one holds an instance of it as ``BRANCH``. Heavy libraries are imported inside the methods: the
    configuration reads the declarations, and must stay quick.

    Attributes:
        name: in ``--branches``, of its section in the configuration, and what its entries of a batch begin with.
        meaning: what it looks at, in a word or two.
        colour: in plots and cards, ``#RRGGBB``.
        section: its keys of the configuration, with defaults.
        libraries: that it imports beside torch.
        usual: whether it is on where nothing is said; one of ours that is not leaves no trace in a run without it.
        on_images: whether it looks through the image network (`cnn`): it is then a part of the model in the finetune
            regime, can be exported, and is explained by heat maps.
        weights_may_differ: whether other files of the same kind will do for a model that says so: what a detector finds
            is much the same from any copy; features of another network mean nothing.
        feature: the extractor whose records the fusion reads; empty: the one that is called as the branch is.
        weighted: its extractors that have pretrained weights, whose digest a pack must tell.
        record_keys: keys of the configuration, dotted, that decide its records.
        earlier: keys of its section that came later, dotted, with what was done before there was such a key: runs,
            packs and ablations of that time say nothing of it, and mean this.
        model_names: of these the ones that name a model, and how many names with ``/`` between may stand there.
        widths: of its entries of a batch, what the metadata beside the records call their columns.
        items_title: of what it finds on a poster and an explanation lists, such as ``objects``; None: no such things.
        nothing_found: the noun and the participle for a poster without any, such as ``("object", "found")``.
        quoted: whether the label of an item is text from the poster.
        axes: keys, dotted, whose alternatives an ablation compares.
        controls: keys, dotted, with values that an ablation trains as controls, and their labels.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    colour: ClassVar[str] = "#56B4E9"
    section: ClassVar[type[ConfigSection]] = ConfigSection
    libraries: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[bool] = True
    on_images: ClassVar[bool] = False
    weights_may_differ: ClassVar[bool] = False
    feature: ClassVar[str] = ""
    weighted: ClassVar[tuple[str, ...]] = ()
    record_keys: ClassVar[tuple[str, ...]] = ()
    earlier: ClassVar[Mapping[str, Any]] = {}
    model_names: ClassVar[Mapping[str, int]] = {}
    widths: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    items_title: ClassVar[str | None] = None
    nothing_found: ClassVar[tuple[str, str] | None] = None
    quoted: ClassVar[bool] = False
    axes: ClassVar[tuple[str, ...]] = ()
    controls: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @abstractmethod
    def describe(self, config: Config) -> str:
        """What it looks at and how, for the model card."""

    @abstractmethod
    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        """Its frozen half.

        Raises:
            UserError: pretrained files are missing.
        """

    @abstractmethod
    def module(self, config: Config, sizes: Sizes) -> Branch:
        """Its half that learns.

        Args:
            config: with its section.
            sizes: widths of the frozen parts.
        """

    def check(self, config: Config) -> None:  # noqa: B027
        """Look at the whole configuration.

        Raises:
            ValueError: its settings do not go with the others.
        """

    def sizes(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        """The fields of `Sizes` that what its extractor says beside the records fills; None: all of it is kept in
        ``sizes.further``, by the name of the branch."""
        return None

    def imports(self, config: Config) -> tuple[str, ...]:
        """Libraries that it imports beside torch with these settings."""
        return self.libraries

    def sources(self, config: Config) -> Iterable[tuple[str, WeightSource]]:
        """Its pretrained files, and what each is in a word where there are several."""
        return ()

    def network(self, config: Config) -> CnnConfig | None:
        """The image network that it looks through with these settings; None: none."""
        return None

    def control(self, config: Config) -> tuple[str, str] | None:
        """The setting that makes a run a control and no model for use, and what that means; None where none is on."""
        return None

    def own_classifier(self, values: Mapping[str, Any]) -> str | None:
        """The classifier that stands in the place of a fusion, in the plain values of a run's configuration, of any
        version; None where the branches are joined."""
        return None

    def unpackable(self, config: Config) -> str | None:
        """Why its records cannot go into a pack with these settings; None: they can."""
        return None

    def spared(self, config: Config) -> Mapping[str, Any] | None:
        """Changes of its section with which a trained model does without some of the pretrained files, and says less.

        What is left is what the extractors of the whole are made of: its identity is theirs under ``source``. None:
        the branch needs all of its files.
        """
        return None

    def for_others(self, config: Config) -> Mapping[str, Any]:
        """Changes of its section with which a run can go to other people: no path of this machine is in it.

        Raises:
            ValueError: it needs a file that nobody else has; with what to do.
        """
        return {}

    def phrases(self, dataset: Dataset, config: Config) -> Mapping[str, Phrases] | None:
        """What it must know of each poster of a data set beside the picture."""
        return None

    def titles(self, titles: Sequence[str], config: Config) -> tuple[Features, float] | None:
        """What it reads of films without a poster.

        Args:
            titles: of M films.
            config: with its section.

        Returns:
            Its entries of a batch, M rows each, and the weight of these films in the loss; None where it reads none.
        """
        return None

    def same_records(self, key: str, asked: Any, config: Config, pins: Pins) -> bool | None:
        """Whether one of `record_keys` with the value `asked` means the records of a pack; None: where it is equal."""
        return None

    def parts(self, extractors: BranchExtractors, record: Record, config: Config, sizes: Sizes) -> Parts | None:
        """What it found on one poster, which an explanation leaves out piece by piece; None: nothing of that kind.

        Args:
            extractors: started.
            record: of the first of them.
            config: of the run.
            sizes: of the run.
        """
        return None

    @property
    def feature_extractor(self) -> str:
        """The name of the extractor whose records the fusion reads."""
        return self.feature or self.name
