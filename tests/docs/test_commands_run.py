"""Every command of README and docs is run by a test, or stands here with the reason why it is not.

What pages say is run as it is typed, over drawn posters, in the slow tests. The commands that made the numbers of a
page (its data are not in the checkout, its trainings take hours) are not; they stand in `MEASURED`.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


LINES = _load(Path(__file__).with_name("test_commands_and_links.py"))

ELSEWHERE = {"docs/tutorial.md": "test_tutorial.py", "docs/extending.md": "test_extending.py"}
"""Pages whose commands another test types, one after another."""

MEASURED = {
    f"docs/{name}.md" for name in ("results", "earlier-studies", "checks", "performance", "published", "limits")
}
"""Pages of results: each command stands beside the numbers that it gave, with data that are not in the checkout."""

_HOURS = "takes hours; a smaller one is run by tests/mmposter/distillation"
_PUBLISHED = "takes hours; tests/mmposter/published trains every network for some steps"
_MINUTES = "minutes without a GPU; tests/mmposter/training fine-tunes smaller networks"
_MANY = "many trainings; the tutorial runs a smaller grid"
_SOURCE = "its data are not in the checkout; tests/mmposter/data reads small ones"
_SEVERAL = "needs several machines; tests/mmposter/engines and features run shards and Ray"
_REASONS = {
    _HOURS: """
        distill data --out towers/densenet121
        distill data --out towers/mine
        distill data --out towers/small --student mobilenet_v3_small --teachers efficientnet_lite0
        distill data --out towers/trial --set 'phases=[{size: [96, 64], posters: 20000}]'
        train data --init towers/densenet121/tower.safetensors --set cnn.backbone=densenet121
        train data --init towers/mine/tower.safetensors --set cnn.backbone=densenet121
        """,
    _PUBLISHED: """
        reproduce p1 data --variant both
        reproduce p1/cnn6 data --variant both --posters 1400 --set crops.target=750 --set train.epochs=2
        reproduce p2,p3,p7 data --ours lite --device cuda
        reproduce p2/alexnet,p7 data --device cuda --ours lite
        reproduce p4/cnn4 data
        reproduce p4/cnn4 data --posters 1000 --set train.epochs=3 --out trial
        train data --config published/p4/cnn4
        """,
    _MINUTES: """
        train data --branches cnn,style --regime finetune --resume --out runs/tuned
        train data --branches cnn --init none --set cnn.backbone=timm/resnet26d --regime finetune
        """,
    _MANY: """
        ablate --branches cnn,yolo,style --seeds 3
        ablate data
        ablate data --axis fusion.head=sum,concat,gated --axis train.epochs=8,16,32 --seeds 3
        ablate data --branches cnn,style,ocr --grid leave-one-out --mode both --controls
        ablate DATA --axis ocr.encoding=embedded,ngrams,joined
        """,
    _SOURCE: """
        prepare MovieGenre.csv --out data --format kaggle --posters posters
        prepare ccu --out data --format ccu --vocabulary raw28 --seed 1
        prepare ccu /media/films --format ccu --format nfo --out both
        prepare ccu more/posters.csv --out both --format ccu --format csv --ratios 0.7 0.1 0.2 --ratios 1 0 0
        prepare ccu more/posters.csv --out data --format ccu --format csv --ratios 0.7 0.1 0.2 --ratios 0.92 0.03 0.05
        """,
    _SEVERAL: """
        extract data --engine ray
        extract data --engine ray --workers 32 --device cuda
        extract data --shard '$SLURM_ARRAY_TASK_ID/16'
        """,
    "asks the network; tests/mmposter/data/downloading and inference ask a server of their own": """
        predict https://example.org/poster.jpg
        predict poster.jpg posters/ https://example.org/poster.jpg --out genres.csv
        """,
    "asks the Hugging Face hub; tests/mmposter/hub has one of its own": """
        predict poster.jpg --model hf://films/poster-genres
        predict poster.jpg --model hf://films/poster-genres@v2
        evaluate hf://films/poster-genres data
        serve --model hf://films/poster-genres
        train data --start hf://films/poster-genres --out runs/mine
        train data --branches cnn --init hf://films/poster-genres
        push runs/all films/poster-genres --license cc-by-4.0
        push runs/all films/poster-genres --license mit
        push runs/all films/poster-genres --private --revision v2
        """,
    "several processes; tests/mmposter/training/test_torchrun.py starts them": """
        train data --device cpu --out runs/two
        train data --device cuda --out runs/four
        train data --device cpu
        train --out one
        train --out two
        """,
    "in a container": """
        predict /posters --listing --offline
        serve --host 0.0.0.0 --model /runs/all
        serve --host 0.0.0.0 --model hf://films/poster-genres
        """,
    "goes on with one that was stopped; tests/mmposter/audit stops one": "audit data --out check --resume",
    "wants data of several sources; tests/mmposter/measurement/test_parts.py has some": """
        evaluate RUN data --by source --by decade --by size
        """,
    "a part of a command, in a sentence": """
        prepare --corrections FILE
        train --resume
        train --overwrite
        """,
    "does not end; tests/security/server starts and asks servers": "serve --model runs/cnn-yolo --port 8000",
    "downloads 1.5 GB; tests/mmposter/features make small models of the kind": "train DATA --config siglip2",
    "a pattern; tests/docs/test_extending.py types real ones": "--plugin FILE train",
}
NOT_RUN = {line.strip(): reason for reason, lines in _REASONS.items() for line in lines.split("\n") if line.strip()}


def typed() -> dict[str, set[str]]:
    """Every command of the pages, as one line, and the pages that it stands on."""
    found: dict[str, set[str]] = {}
    for page in LINES.PAGES:
        name = page.relative_to(ROOT).as_posix()
        for words in LINES.commands_in(page.read_text(encoding="utf-8")):
            if len(words) > 1:  # a command's name alone is a word of the sentence
                found.setdefault(shlex.join(words), set()).add(name)
    return found


def to_run() -> list[str]:
    """Those that are run here."""
    pages = {*ELSEWHERE, *MEASURED}
    return [line for line, where in typed().items() if line not in NOT_RUN and not where <= pages]


def test_what_is_not_run_stands_on_a_page() -> None:
    assert [line for line in NOT_RUN if line not in typed()] == []
    assert all((ROOT / page).is_file() for page in (*ELSEWHERE, *MEASURED))


def test_most_commands_are_run() -> None:
    assert len(to_run()) > 60
    alone = {"ablate", "distill", "serve", "weights", "doctor"}  # see above, or typed without any word behind it
    assert {line.split()[0] for line in to_run()} >= set(LINES.COMMANDS) - alone


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the commands name: posters, tables, data, runs."""
    folder = tmp_path_factory.mktemp("stage")
    draw = [sys.executable, str(ROOT / "scripts" / "draw_posters.py"), "posters", "--count", "40"]
    subprocess.run(draw, cwd=folder, check=True, capture_output=True)
    with (folder / "posters" / "posters.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    _table(folder / "posters.csv", [{**row, "image": f"posters/{row['image']}"} for row in rows])
    _table(folder / "titles.csv", [{"title": "A Night of Knives", "genres": "Horror"}])
    _table(folder / "corrections.csv", [{"id": rows[0]["id"], "action": "keep"}])
    for name in ("new", "holiday_posters"):
        (folder / name).mkdir()
    for number, name in enumerate(("poster", "a", "b", "c", "new/d", "holiday_posters/e", "holiday_posters/f")):
        shutil.copy(folder / "posters" / rows[number]["image"], folder / f"{name}.jpg")
    for row in rows[:6]:  # a library of films
        film = folder / "films" / row["title"]
        film.mkdir(parents=True)
        shutil.copy(folder / "posters" / row["image"], film / "poster.jpg")
        genres = "".join(f"<genre>{genre}</genre>" for genre in row["genres"].split("|"))
        (film / "movie.nfo").write_text(f"<movie>\n<title>{row['title']}</title>{genres}\n</movie>\n")
    for line in (
        "prepare posters.csv --format csv --out data --ratios 0.6 0.2 0.2",
        "train data --branches cnn,style,yolo,ocr --out runs/all --set train.epochs=2",
        "train data --branches cnn,yolo --out runs/cnn-yolo --set train.epochs=2",
        "train data --branches cnn --out runs/cnn --set train.epochs=2",
        "train data --branches cnn,style,ocr --out runs/words --set train.epochs=2",
        "train --branches cnn,yolo,style --out runs/first --set train.epochs=2",
        "calibrate runs/all data",
        "evaluate runs/all data",
        "evaluate runs/words data",
        "evaluate runs/all data --branches cnn",
        "evaluate runs/words data --branches cnn",
        "extract data --config lite",
        "pack data --config lite --out posters.mmpack",
        "pack data --config lite --out mine.mmpack",
    ):
        done = _type(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs the weights of the object detector beside the checkout")
@pytest.mark.parametrize("line", to_run())
def test_it_runs_as_it_is_typed(line: str, stage: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(stage, here, copy_function=os.link)  # files are replaced, never written into
    words = [{"DATA": "data", "RUN": "runs/all", "/media/films": "films"}.get(word, word) for word in shlex.split(line)]
    if "--out" in words and not {"--resume", "--overwrite"} & set(words):
        out = here / words[words.index("--out") + 1]
        shutil.rmtree(out, ignore_errors=True)
        out.unlink(missing_ok=True)
    done = _type(shlex.join(words).replace("'posters/*.jpg'", "posters/*.jpg"), here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def _type(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -W ignore -m mmposter {line}"
    offline = {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true", "MMPOSTER_WEIGHTS": str(WEIGHTS)}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **offline},
        input="poster.jpg\na.jpg\n",  # what a list of paths in a pipe would say
        capture_output=True,
        text=True,
        check=False,
    )


def _table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
