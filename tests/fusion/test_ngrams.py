"""N-grams as a vector: TF-IDF as scikit-learn computes it, and what a branch makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer

from fusion import TextBranch
from fusion.ngrams import GAIN, LEAST, NgramEncoder

BUCKETS = 12


def texts(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers, counts and mask of B texts; each number at most once in a text."""
    rng = np.random.default_rng(seed)
    numbers = np.stack([rng.permutation(BUCKETS)[:5] for _ in range(count)])
    mask = torch.arange(5)[None] < torch.from_numpy(rng.integers(1, 6, count))[:, None]
    return torch.from_numpy(numbers), torch.from_numpy(rng.integers(1, 9, (count, 5))).float(), mask


def dense(numbers: torch.Tensor, counts: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    table = torch.zeros(len(numbers), BUCKETS)
    return table.scatter_add(1, numbers, counts * mask).numpy()


def encoder_of(train) -> NgramEncoder:
    encoder = NgramEncoder(BUCKETS, BUCKETS)
    encoder.measure([(train[0], train[2])])
    with torch.no_grad():
        encoder.weight.copy_(torch.eye(BUCKETS))  # the vector is then the weights themselves
    return encoder


def test_the_weights_are_tf_idf_as_scikit_learn_has_it():
    train, other = texts(40), texts(7, seed=1)
    reference = TfidfTransformer(sublinear_tf=True).fit(dense(*train))
    found = encoder_of(train)(*other).detach().numpy()
    np.testing.assert_allclose(found, GAIN * reference.transform(dense(*other)).toarray(), rtol=1e-5, atol=1e-6)


def test_the_training_texts_may_come_in_parts():
    train = texts(40)
    parts = NgramEncoder(BUCKETS, 2)
    parts.measure((train[0][rows], train[2][rows]) for rows in torch.arange(40).split(7))
    assert torch.equal(parts.idf, encoder_of(train).idf)


def test_an_n_gram_of_fewer_texts_than_the_least_says_nothing():
    numbers = torch.zeros(300, 1, dtype=torch.long)
    for bucket, holding in enumerate((LEAST - 1, LEAST), start=1):
        numbers[bucket * 10 : bucket * 10 + holding] = bucket
    encoder = NgramEncoder(BUCKETS, 2)
    encoder.measure([(numbers, torch.ones_like(numbers).bool())])
    assert encoder.idf[1] == 0
    assert encoder.idf[2] > encoder.idf[0] > 0


def test_of_a_handful_of_texts_no_n_gram_is_too_rare():
    encoder = NgramEncoder(BUCKETS, 2)
    encoder.measure([(torch.tensor([[1], [2]]), torch.ones(2, 1).bool())])
    assert (encoder.idf[1:3] > 0).all()


def test_a_text_without_n_grams_gives_zeros_and_finite_gradients():
    encoder = NgramEncoder(BUCKETS, 3)
    with torch.no_grad():
        encoder.weight.normal_()
    mask = torch.tensor([[True, True], [False, False]])
    out = encoder(torch.zeros(2, 2).long(), torch.ones(2, 2), mask)
    assert (out[1] == 0).all()
    out.sum().backward()
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.isfinite().all()


def branch_inputs(count: int = 5) -> dict[str, torch.Tensor]:
    numbers, counts, mask = texts(count)
    return {
        "ocr.document": torch.rand(count, 10),
        "ocr.embeddings": torch.rand(count, 3, 10),
        "ocr.geometry": torch.rand(count, 3, 5),
        "ocr.mask": torch.ones(count, 3).bool(),
        "ocr.ngrams": numbers,
        "ocr.ngram_counts": counts,
        "ocr.ngram_mask": mask,
    }


NGRAMS = ("ocr.ngrams", "ocr.ngram_counts", "ocr.ngram_mask")
READ = {
    "lines": ("ocr.embeddings", "ocr.geometry"),
    "document": ("ocr.document",),
    "embedded": ("ocr.embeddings", "ocr.geometry", "ocr.document"),
    "ngrams": ("ocr.ngram_counts",),
    "joined": ("ocr.embeddings", "ocr.geometry", "ocr.document", "ocr.ngram_counts"),
}


def branch(encoding: str) -> TextBranch:
    torch.manual_seed(0)
    made = TextBranch(10, dim=8, encoding=encoding, buckets=BUCKETS, ngram_dim=4).eval()
    if made.ngrams is not None:
        torch.nn.init.normal_(made.ngrams.weight)
    return made


@pytest.mark.parametrize("encoding", READ)
def test_an_encoding_reads_its_own_entries_and_no_others(encoding):
    inputs, made = branch_inputs(), branch(encoding)
    before, present = made(inputs)
    assert present.all()
    assert before.shape == (5, made.output_dim)
    for name, values in inputs.items():
        if values.is_floating_point():
            after, _ = made({**inputs, name: values + torch.rand_like(values)})
            assert (not torch.allclose(before, after)) == (name in READ[encoding]), name


def test_joined_are_the_two_parts_side_by_side():
    inputs, made = branch_inputs(), branch("joined")
    whole, _ = made(inputs)
    without_encoder, present = made({name: inputs[name] for name in NGRAMS})
    assert present.all()
    assert (without_encoder[:, :8] == 0).all()
    assert torch.equal(without_encoder[:, 8:], whole[:, 8:])
    without_ngrams, _ = made({name: values for name, values in inputs.items() if name not in NGRAMS})
    assert torch.equal(without_ngrams[:, :8], whole[:, :8])
    assert (without_ngrams[:, 8:] == 0).all()


def test_a_part_is_hidden_now_and_then_in_training_but_never_both_and_never_the_only_one():
    torch.manual_seed(0)
    inputs, made = branch_inputs(400), branch("joined")
    made.part_dropout = 0.5
    made.train()
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs["ocr.mask"][:100] = False
    out, _ = made(inputs)
    encoder, ngrams = (out[:, :8] != 0).any(dim=1), (out[:, 8:] != 0).any(dim=1)
    assert not encoder[:100].any()
    assert ngrams[:100].all()  # the only part that these have
    assert (encoder | ngrams).all()
    assert 0.15 < (~encoder[100:]).float().mean() < 0.35
    assert 0.15 < (~ngrams[100:]).float().mean() < 0.35


def test_without_any_entry_of_its_own_nothing_is_present():
    embedding, present = branch("joined")({"cnn.pooled": torch.rand(3, 4)})
    assert not present.any()
    assert (embedding == 0).all()
