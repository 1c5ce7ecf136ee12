"""What a user installs: the packages, the recipes inside them, and the libraries they need."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml

from mmposter.config import load_config, recipe_names
from mmposter.data.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("detectors", "fusion", "mmposter")
YAML = sorted((ROOT / "configs").rglob("*.yaml"))
VOCABULARIES = [path for path in YAML if path.parent.name == "vocabularies"]
# Of published systems (mmposter.published), and names of genres (mmposter.data.genre_names).
FACTS = [path for path in YAML if path.name in ("system.yaml", "genre_names.yaml")]
RECIPES = [path for path in YAML if path not in (*VOCABULARIES, *FACTS)]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text: str) -> set[str]:
    """Names of distributions in a list of requirements, as the index compares them."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {_canonical(re.split(r"[^\w.-]", line)[0]) for line in lines if line}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(path: Path) -> str:
    """The name under which a user asks for a recipe."""
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


def test_the_list_of_packages_is_the_tree() -> None:
    listed = setup()["options"]["packages"].split()
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    }
    assert len(listed) == len(set(listed))
    # The recipes' folder becomes a package of this name (package_dir).
    assert set(listed) - {"mmposter.configs"} == found


def test_every_imported_library_is_declared() -> None:
    """A library that another package happens to bring may be gone with its next version."""
    options = setup()["options"]
    declared = requirements(options["install_requires"])
    extras = set().union(*(requirements(text) for text in setup()["options.extras_require"].values()))
    distributions = metadata.packages_distributions()
    missing = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in (module.partition(".")[0] for module in modules):
                if module in sys.stdlib_module_names or module in PACKAGES:
                    continue
                owners = {_canonical(name) for name in distributions.get(module, [module])}
                if not owners & (declared | extras):
                    missing.add((module, path.relative_to(ROOT).as_posix()))
    assert not missing


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    metadata_of_setup = setup()["metadata"]
    assert citation["version"] == metadata_of_setup["version"]
    assert citation["license"] == metadata_of_setup["license"]
    assert citation["authors"] == [{"name": metadata_of_setup["author"]}]
    assert citation["repository-code"] == metadata_of_setup["url"]


def test_the_source_archive_takes_what_is_there_and_no_weights_twice() -> None:
    words = [line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()]
    files = [name for word, *names in filter(None, words) if word == "include" for name in names]
    folders = [name for word, *names in filter(None, words) if word == "graft" for name in names]
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"} <= set(files)
    assert {"docs", "tests", "examples", "configs"} <= set(folders)
    assert all((ROOT / name).is_file() for name in files)
    large = [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file()]
    assert not [path.name for path in large if path.stat().st_size > 1_000_000]


def test_both_builds_of_opencv_leave_one_that_imports() -> None:
    """ultralytics asks for opencv-python and easyocr for opencv-python-headless: both write the folder cv2."""
    code = "import cv2, numpy; assert cv2.cvtColor(numpy.full((2, 2, 3), 9, 'uint8'), cv2.COLOR_RGB2GRAY)[0, 0] == 9"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_recipes_and_vocabularies() -> None:
    assert {"default", "lite"} <= {name_of(path) for path in RECIPES}
    assert VOCABULARIES
    assert recipe_names() == sorted(name_of(path) for path in RECIPES)


@pytest.mark.parametrize("path", YAML, ids=name_of)
def test_every_yaml_is_found_inside_the_package(path: Path) -> None:
    inside = resources.files("mmposter.configs").joinpath(f"{name_of(path)}.yaml")
    assert inside.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_every_recipe_parses_by_name_and_by_path(path: Path) -> None:
    assert load_config(name_of(path)) == load_config(path)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_every_recipe_opens_with_the_command_that_uses_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    name = re.escape(name_of(path))
    used = rf"(train|ablate) \S.* --config {name}( .*)?|reproduce {name.removeprefix('published/')} DATA"
    assert re.fullmatch(f"# mmposter ({used})", first), first


@pytest.mark.parametrize("path", VOCABULARIES, ids=name_of)
def test_every_vocabulary_opens_with_the_command_that_uses_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(rf"# mmposter prepare \S.* --vocabulary {re.escape(path.stem)}( .*)?", first), first
    assert Vocabulary.load(path.stem).name == path.stem


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    """Build from a copy (setuptools leaves its build folder behind), install beside this environment's libraries."""
    source = tmp_path / "source"
    for folder in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    pip = ["-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    run(sys.executable, *pip, "wheel", *offline, "--wheel-dir", tmp_path / "wheels", source, cwd=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("mmposter-*.whl")

    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # `addsitedir` is not used on purpose: it would run the .pth file of the editable checkout, which would win.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    run(sys.executable, *pip, "--python", python, "install", *offline, wheel, cwd=tmp_path)

    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(python, "-c", "import mmposter, fusion, detectors; print(mmposter.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(site)
    printed = run(home / "bin" / "mmposter", "config", "--config", "lite", cwd=empty)
    assert "backbone: efficientnet_lite0" in printed
    script = "from mmposter.config import recipe_names; print(*recipe_names(), sep='\\n')"
    assert run(python, "-c", script, cwd=empty).split() == sorted(name_of(path) for path in RECIPES)


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
