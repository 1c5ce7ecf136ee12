"""What the shell is proposed, through the program and, where there is one, through Bash itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmposter.cli import completion, main


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The proposals for the last word, as Bash gives the words."""

    def call(*words: str) -> list[str]:
        monkeypatch.setenv(completion.VARIABLE, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["mmposter", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setattr(sys, "argv", ["mmposter"])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        assert said.err == ""
        return said.out.split()

    return call


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pred"], ["predict"]),
        (["predict", "--bra"], ["--branches"]),
        (["predict", "--branches", "cnn,s"], ["cnn,style"]),
        (["predict", "--branches", "style,cnn,s"], []),
        (["train", "--config", "li"], ["lite"]),
        (["prepare", "x", "--format", "k"], ["kaggle"]),
        (["prepare", "x", "--vocabulary", "posters"], ["posters12", "posters20"]),
        (["train", "--set", "train.sch"], ["train.schedule=cosine", "train.schedule=constant"]),
        (["train", "--set", "fusion.options."], ["fusion.options.dropout=", "fusion.options.hidden="]),
        (["train", "--set", "train.patience"], ["train.patience=10"]),
        (["train", "--set", "cnn.frozen_nothing"], []),
        # Bash cuts at the sign, and takes the value alone.
        (["train", "--set", "fusion.head", "=", "ga"], ["gated"]),
        (["train", "--set", "fusion.head", "="], ["sum", "concat", "gated", "attention"]),
        (["train", "--set", "train.augment", "=", ""], ["true", "false"]),
        (["train", "--set", "no.key", "=", "x"], []),
        (["predict", "--branches", "=", "cnn,s"], ["cnn,style"]),
        (["train", "--device", "cu"], ["cuda"]),
    ],
)
def test_commands_options_and_values(ask, words: list[str], expected: list[str]):
    assert ask(*words) == expected


def test_models_are_those_that_travel_and_the_run_folders_there(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/one", "runs/deep/two", "else/three"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.json").write_text("{}")
    (tmp_path / "runs/none").mkdir()
    for odd in ("$(touch x)", "\\$(touch x)", "a b", "a\x1b[2Jb", "`touch x`", 'a"b', "a:b"):
        (tmp_path / "runs" / odd).mkdir()
        (tmp_path / "runs" / odd / "model.json").write_text("{}")
    assert ask("predict", "--model", "") == ["posters", "runs/deep/two", "runs/one"]
    assert ask("evaluate", "runs/o") == ["runs/one"]
    assert ask("predict", "--model", "else/") == ["else/three"]
    assert ask("predict", "--model", f"{tmp_path}/runs/o") == [f"{tmp_path}/runs/one"]
    assert ask("predict", "--model", "nowhere/x") == []


def test_every_proposed_key_is_one_of_the_configuration():
    from mmposter.config import load_config

    # Values are read as YAML: the default of every key fits, as do all names that a key may have.
    keys = completion.configuration_keys()
    assert {"seed", "cnn.size", "fusion.head", "ocr.enlarge"} <= set(keys)
    for key, values in keys.items():
        for value in values if key not in _TOGETHER else ():
            load_config(None, [f"{key}={value}"])


_TOGETHER = {"evaluation.thresholds", "evaluation.empty", "loss.name", "regime", "cnn.classifier", "ocr.reading"}
"""Keys of which a value alone is refused, as it needs others beside it."""


def test_a_fault_says_nothing_into_the_line_that_is_typed(ask, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("mmposter.files.recipes.recipe_names", fail)
    monkeypatch.setenv(completion.VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "mmposter train --config x")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setattr(sys, "argv", ["mmposter"])
    main()


def test_torch_is_not_loaded_for_an_answer():
    code = (
        "import json, sys\n"
        "from mmposter.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted({'torch', 'pandas', 'pyarrow', 'sklearn', 'matplotlib'} & set(sys.modules))))"
    )
    env = {
        **os.environ,
        completion.VARIABLE: "complete_bash",
        "COMP_WORDS": "mmposter train --set fusion.",
        "COMP_CWORD": "3",
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    *proposed, loaded = done.stdout.splitlines()
    assert "fusion.head=" in proposed
    assert json.loads(loaded) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no Bash here")
def test_bash_gets_the_value_behind_the_sign(tmp_path: Path):
    program = tmp_path / "mmposter"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmposter "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(mmposter --show-completion bash)"\n'
        "COMP_WORDS=(mmposter train --set fusion.head = ga); COMP_CWORD=5\n"
        '_mmposter_completion mmposter; echo "${COMPREPLY[@]}"\n'
    )
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "gated\n"
