"""What makes vectors of texts: a sentence encoder of transformers, or the text side of CLIP and SigLIP, from a folder.

Code that lies beside the weights is never run, and nothing is fetched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fusion.backbones import quiet_transformers, require_modest, require_no_code
from mmposter.errors import UserError
from mmposter.files.strict_json import mapping, read_json, shorten

_CONFIG, _ADAPTERS = "config.json", ("adapter_config.json",)
_MEND = "Get it again, or take another one with --set ocr.encoder=NAME_OR_FOLDER"

# For every file that transformers reads: none is fetched, and no code that lies beside the weights is run.
_AS_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}

# A line of a poster is short; the joined text of a crowded one is cut here (MiniLM was trained on 128 tokens).
_MAX_TOKENS = 128

# By the model_type of what sees texts and images: the class of its text side, and its output that images are compared
# with. SigLIP 2 of one size (all but NaFlex) says that it is a SigLIP.
_TEXT_SIDES = {
    "clip": ("CLIPTextModelWithProjection", "text_embeds"),
    "siglip": ("SiglipTextModel", "pooler_output"),
}


class TextEncoder(ABC):
    """An encoder on its device, see `load_encoder`."""

    def __init__(self, tokenizer: Any, model: Any, width: int) -> None:
        self.width = width  # E
        self._tokenizer, self._model = tokenizer, model

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings N x E of N texts (float32), L2-normalised: the direction is what encoders are trained on."""
        # Posters shout. Sentence encoders are uncased for words; CLIP and SigLIP 2 were trained on lower case, and the
        # published tokenizer of SigLIP 2 leaves it to who calls it.
        lowered = [text.lower() for text in texts]
        with torch.inference_mode():
            return normalize(self._pooled(lowered).float(), dim=1)

    @abstractmethod
    def _pooled(self, texts: list[str]) -> Tensor:
        """N x E."""


class SentenceEncoder(TextEncoder):
    """The mean of the last hidden states over real tokens, as sentence encoders are trained."""

    def _pooled(self, texts: list[str]) -> Tensor:
        options = {"padding": True, "truncation": True, "max_length": _MAX_TOKENS, "return_tensors": "pt"}
        tokens = self._tokenizer(texts, **options).to(self._model.device)
        hidden = self._model(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean: Tensor = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return mean


class PairedEncoder(TextEncoder):
    """The text side of CLIP or SigLIP: the embedding that images are compared with.

    CLIP projects its end-of-text token, which sees all before it and nothing behind. SigLIP pools the last of all
    places, padding too: it was trained on texts that are filled up to their greatest length, without a mask.
    """

    def __init__(self, tokenizer: Any, model: Any, width: int, output: str) -> None:
        super().__init__(tokenizer, model, width)
        self._output = output
        self._padding = True if output == "text_embeds" else "max_length"
        self._named = ["input_ids", "attention_mask"] if output == "text_embeds" else ["input_ids"]
        self._max_tokens = int(model.config.max_position_embeddings)  # CLIP 77, SigLIP 2 64

    def _pooled(self, texts: list[str]) -> Tensor:
        options = {"truncation": True, "max_length": self._max_tokens, "return_tensors": "pt"}
        tokens = self._tokenizer(texts, padding=self._padding, **options).to(self._model.device)
        pooled: Tensor = getattr(self._model(**{name: tokens[name] for name in self._named}), self._output)
        return pooled


def encoder_width(folder: Path) -> int:
    """E of the encoder in `folder`.

    Raises:
        UserError: its description cannot be used.
    """
    settings = _settings(folder)
    with _as_encoder(folder):
        return _width(settings)


def load_encoder(folder: Path, device: str, dtype: torch.dtype) -> TextEncoder:
    """The encoder in `folder`: config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    Raises:
        UserError: it is none, or not one that transformers can make of these files alone.
    """
    settings = _settings(folder)
    with _as_encoder(folder):
        if settings.model_type in _TEXT_SIDES:
            return _load_text_side(folder, settings, device, dtype)
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, **_AS_DATA)
        model = AutoModel.from_pretrained(folder, config=settings, use_safetensors=True, **_AS_DATA)
        return SentenceEncoder(tokenizer, model.to(device, dtype).eval(), _width(settings))


def _load_text_side(folder: Path, settings: Any, device: str, dtype: torch.dtype) -> PairedEncoder:
    import transformers

    name, output = _TEXT_SIDES[settings.model_type]
    text = settings.text_config
    if output == "text_embeds":
        text.projection_dim = settings.projection_dim  # the text side's own is not what the whole model goes by
    # What tokenizer.json says, whatever class is named beside it: that of SigLIP 2 is a plain Gemma tokenizer.
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder, **_AS_DATA)
    tokenizer.padding_side = "right"
    if (end := tokenizer.eos_token_id) is None or tokenizer("a")["input_ids"][-1] != end:
        raise ValueError(f"its tokenizer does not end a text as {name} was trained with")
    with quiet_transformers():  # it lists the image side, which is left out
        model, found = getattr(transformers, name).from_pretrained(
            folder, config=text, use_safetensors=True, output_loading_info=True, **_AS_DATA
        )
    if missing := sorted(key for key in found["missing_keys"] if not key.endswith("position_ids")):
        raise ValueError(f"model.safetensors lacks {len(missing)} tensors of {name}, {missing[0]} among them")
    return PairedEncoder(tokenizer, model.to(device, dtype).eval(), _width(settings), output)


def _width(settings: Any) -> int:
    if settings.model_type == "clip":
        return int(settings.projection_dim)
    text = settings.text_config if settings.model_type in _TEXT_SIDES else settings
    # Where SigLIP's text side is narrower than its image side, it is made as wide at its end.
    return int(getattr(text, "projection_size", None) or text.hidden_size)


def _settings(folder: Path) -> Any:
    """What ``config.json`` says, without what would make transformers run other code than its own."""
    from transformers import AutoConfig

    said = read_json(folder / _CONFIG, mend=_MEND)
    with _as_encoder(folder):
        require_modest(mapping(said, _CONFIG))
        if lying := [name for name in _ADAPTERS if (folder / name).exists()]:
            raise ValueError(f"it has {lying[0]}, and leads to another model")
        require_no_code(said)
        return AutoConfig.from_pretrained(folder, **_AS_DATA)


@contextmanager
def _as_encoder(folder: Path) -> Iterator[None]:
    """Around what transformers makes of the folder, which may be anybody's."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"the text encoder in {folder} cannot be used, or not without running code of its own, which is "
            f"never done ({shorten(str(error))}). {_MEND}"
        ) from error
