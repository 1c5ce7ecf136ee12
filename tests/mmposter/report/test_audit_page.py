"""The page of an audit: it holds what was found, runs its own script alone, and what strangers write is text."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mmposter.document.page import resource_text
from mmposter.document.review import render_review
from mmposter.evaluation.audited import Audited, AuditedPoster, find_mistakes
from mmposter.files.spreadsheets import unguarded
from mmposter.report.audit import review_page, write_audit

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "</script><b>",
    "=cmd|' /C calc'!A0",
    "a\u202eb\x1b[2J",
    "{{ 7 * 7 }}",
)
GENRES = ("Drama", "War", 'A "quoted" <b>', "Sci-Fi, Fantasy", "=Sum", "Horror")


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def found() -> Audited:
    rng = np.random.default_rng(0)
    probs = 1 / (1 + np.exp(-rng.normal(-1, 2, (120, len(GENRES)))))
    target = rng.random(probs.shape) < probs
    target[~target.any(axis=1), 0] = True
    posters = [
        AuditedPoster(
            f"{HOSTILE[row % 6]}{row}",
            "more" if row % 2 else None,
            HOSTILE[(row + 1) % 6] if row % 3 else None,
            1990,
            "train",
            f"g{row // 2}",
        )
        for row in range(120)
    ]
    facts = {"folds": 3, "data": "<i>data</i>", "manifest": "0"}
    return find_mistakes(posters, GENRES, target, probs, most=10, facts=facts)


@pytest.fixture(scope="module")
def page(found: Audited) -> str:
    picture = "data:image/png;base64,AAAA"
    return render_review(review_page(found, {found.posters[found.findings[0].row].id: picture}))


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_each_poster_is_one_item_with_all_that_was_found(found: Audited, read: Reader):
    items = [attrs for tag, attrs in read.tags if tag == "article"]
    assert len(items) == len({finding.row for finding in found.findings})
    for attrs in items:
        row_id, source = json.loads(attrs["data-key"])
        poster = next(row for row, poster in enumerate(found.posters) if poster.id == row_id)
        assert source == (found.posters[poster].source or "")
        kinds = {finding.kind for finding in found.findings if finding.row == poster}
        assert set(attrs["data-kinds"].split()) == kinds


def test_what_strangers_write_is_text(page: str, read: Reader):
    assert [attrs["src"] for tag, attrs in read.tags if tag == "img"] == ["data:image/png;base64,AAAA"]
    assert [attrs for tag, attrs in read.tags if tag == "script"] == [{}]
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on") or name == "style"]
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "{{ 7 * 7 }}" in "".join(read.text)
    assert "<i>data</i>" in "".join(read.text)


def test_the_policy_lets_the_own_script_run_and_loads_nothing(page: str, read: Reader):
    policy = next(attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'")
    assert not re.search(r"https?://|@import|url\(", page)


def test_suggestions_are_marked_on_the_genres(found: Audited, page: str):
    changes = {(f.row, f.genre) for f in found.findings if f.add is not None}
    marked = re.findall(r'data-given="(\d)" data-suggested="(\d)"', page)
    assert sum(given != wanted for given, wanted in marked) == len(changes)


def test_other_data_have_other_decisions(found: Audited):
    one, other = (
        review_page(Audited(**{**vars(found), "facts": {**found.facts, "manifest": name}}), {}).state for name in "ab"
    )
    assert one != other


def test_the_files_are_written(found: Audited, tmp_path: Path):
    assert write_audit(found, tmp_path / "out") == tmp_path / "out" / "audit.html"
    with (tmp_path / "out" / "audit.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {unguarded(row["id"]) for row in rows} == {found.posters[f.row].id for f in found.findings}
    assert all(row["id"].startswith("'=") for row in rows if "cmd" in row["id"])


STUB = """
const decisions = %s;
const listeners = {};
let blob = "";
class Button {
  constructor(column, given) {
    this.dataset = { column: String(column), given: given ? "1" : "0", suggested: "0" };
    this.attributes = {};
    this.classList = { toggle() {}, contains: () => false, add() {}, remove() {} };
  }
  getAttribute(name) { return this.attributes[name]; }
  setAttribute(name, value) { this.attributes[name] = value; }
}
const item = (key, given) => {
  const buttons = [0, 1, 2, 3, 4, 5].map((column) => new Button(column, given.includes(column)));
  return {
    dataset: { key: key, kinds: "wrong" }, classList: { toggle() {}, add() {}, remove() {} }, hidden: false,
    querySelectorAll: (what) => (what === ".genre" ? buttons : []), querySelector: () => ({ textContent: "" }),
  };
};
const items = %s.map(([key, given]) => item(key, given));
const thing = (name) => ({ addEventListener: (kind, act) => { listeners[name] = act; }, textContent: "" });
const things = { kind: thing("kind"), download: thing("download"), count: thing("count") };
globalThis.localStorage = { getItem: () => JSON.stringify(decisions), setItem() {} };
globalThis.document = {
  body: { dataset: { genres: JSON.stringify(%s), state: "s", file: "c.csv" } },
  querySelectorAll: () => items, getElementById: (name) => things[name], addEventListener() {},
  createElement: () => ({ click() {} }),
};
globalThis.Blob = class { constructor(parts) { blob = parts.join(""); } };
URL.createObjectURL = () => "blob:x";
URL.revokeObjectURL = () => {};
globalThis.setTimeout = () => 0;
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run the page's script")
def test_the_downloaded_table_is_what_prepare_reads(tmp_path: Path):
    from mmposter.data.corrections import read_corrections

    keys = [json.dumps([name, source]) for name, source in (("=cmd", ""), ('a "b", c', "more"), ("skipped", ""))]
    decisions = {
        keys[0]: {"action": "fix", "genres": [1, 2, 3]},
        keys[1]: {"action": "keep"},
        keys[2]: {"action": "skip"},
    }
    items = json.dumps([[key, [0, 1]] for key in keys])
    stub = STUB % (json.dumps(decisions), items, json.dumps(GENRES))
    script = stub + resource_text("review.js") + "\nlisteners.download();\nprocess.stdout.write(blob);\n"
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True)
    rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    assert rows[0] == ["id", "source", "action", "add", "remove"]
    assert rows[1][0] == "'=cmd"
    file = tmp_path / "corrections.csv"
    file.write_bytes(done.stdout.encode())
    fix, keep = read_corrections(file).rows
    assert (fix.id, fix.action, fix.add, fix.remove) == ("=cmd", "fix", (GENRES[2], GENRES[3]), ("Drama",))
    assert (keep.id, keep.source, keep.action) == ('a "b", c', "more", "keep")
