"""The folders that commands write, and every name in them; a writer that gets a new file adds its name here."""

from __future__ import annotations

from mmposter.outputs.folder import Kind

_EVALUATION_PLOTS = ("average_precision", "precision_recall", "together", "confusion", "reliability")

EVALUATION = Kind(
    "an evaluation",
    {"predictions.parquet": ("mmposter",)},
    (
        "predictions.parquet",
        "evaluation.json",
        "listing.txt",
        "report.html",
        *(f"plots/{name}.png" for name in _EVALUATION_PLOTS),
    ),
)

POSTERS_DECODED = Kind("decoded posters", {}, ("*.npy", "*.json"))
"""What a training keeps of its posters while it runs."""

RUN = Kind(
    "a run",
    {"model.json": ("config", "vocabulary")},
    (
        "model.json",
        "best.safetensors",
        "last.safetensors",
        "tower.safetensors",
        "metrics.jsonl",
        "metrics.csv",
        "validation.json",
        "README.md",
        "subsets.json",
        "seen.parquet",
        "plots/training.png",
        "plots/genres.png",
        "plots/average_precision.png",
        "tensorboard/events.out.tfevents.*",
        *POSTERS_DECODED.under("posters"),
        *EVALUATION.under("evaluation/*"),
        *EVALUATION.under("evaluation/*/*"),  # on other data than the run's own
    ),
)

TEACHERS = Kind("maps of teachers", {}, ("*.npy", "*.json"))
"""What a distillation keeps of its teachers while it runs."""

DISTILLATION = Kind(
    "a distillation",
    {"distillation.json": ("config", "history")},
    (
        "distillation.json",
        "tower.safetensors",
        "state.safetensors",
        "genres.safetensors",
        "seen.parquet",
        "metrics.csv",
        "README.md",
        "plots/curves.png",
        *TEACHERS.under("teachers"),
    ),
)

ABLATION = Kind(
    "an ablation",
    {"plan.json": ("manifest", "cells"), "ablation.json": ("provenance", "cells")},
    (
        "plan.json",
        *(f"ablation.{ending}" for ending in ("html", "md", "csv", "tex", "json")),
        "cells/*/seed-*/scores.npz",
        "cells/*/seed-*/training.json",
        *RUN.under("cells/*/seed-*/run"),
    ),
    left=("plots/*.png",),  # named by what was compared; the next report replaces its own
)

PREPARED = Kind(
    "prepared data",
    # Each of the three is the first that one of the writers makes.
    {
        "dataset.json": ("manifest_sha256",),
        "manifest.parquet": ("raw_genres",),
        "dropped.csv": ("id,path,reason,message",),
    },
    (
        "dataset.json",
        "manifest.parquet",
        "vocabulary.json",
        "titles.parquet",
        "report.md",
        "dropped.csv",
        "issues.csv",
        "dead_links.csv",
        "plots/genres.png",
    ),
)

EXPLANATIONS = Kind("explanations", {}, ())
"""Two files a poster, named after it: `mmposter.explain.folder` looks at each by itself."""

INDEX = Kind(
    "an index of posters",
    {"index.json": ("made_with", "parts")},
    ("index.json", "part-*.safetensors", "part-*.parquet"),
)

PUBLISHED = Kind(
    "a page of published systems",
    {"published.json": ("metrics",)},
    ("published.json", "published.md", "published.html"),
)

PUBLISHED_RESULT = Kind("a result", {"result.json": ("metrics", "variant")}, ("result.json",))
"""Beside the run folder of one network."""

COMPARISON = Kind(
    "a comparison",
    {"compare.csv": ("run,seeds,branches,metric",)},
    ("compare.csv", "compare.md", "compare.html"),
)

AUDIT = Kind(
    "an audit",
    {"plan.json": ("manifest", "folds"), "audit.json": ("posters", "findings")},
    (
        "plan.json",
        "audit.html",
        "audit.csv",
        "audit.json",
        "folds/*/scores.npz",
        "folds/*/training.json",
        *RUN.under("folds/*/run"),
    ),
)
