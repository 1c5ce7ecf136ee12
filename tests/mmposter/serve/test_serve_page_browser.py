"""The page as a visitor has it: the model that travels with mmposter, in a headless chromium."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageDraw

from mmposter.explain.classifier import PosterClassifier
from mmposter.serve import ServeSettings, create_app
from mmposter.shipped import POSTERS

pytestmark = [pytest.mark.slow, pytest.mark.figures]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


def chromium() -> str:
    found = os.environ.get("MMPOSTER_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is here, and MMPOSTER_CHROMIUM names none")
    return found


@pytest.fixture(scope="module")
def address(serve_app) -> Iterator[str]:
    pytest.importorskip("playwright")
    pytest.importorskip("gradio")
    chromium()
    from mmposter.serve.gradio_page import add_page

    classifier = PosterClassifier.load(POSTERS, branches=["cnn", "style"], device="cpu", offline=True)
    settings = ServeSettings(max_posters=3)
    with serve_app(create_app(classifier, settings, add_page)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Visit:
    """A page with what it asked for and complained about."""

    def __init__(self, browser, address: str, viewport=WIDE, **more) -> None:
        self.page = browser.new_page(viewport=viewport, accept_downloads=True, **more)
        self.hosts: set[str | None] = set()
        self.complaints: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(60_000)
        self.page.goto(address)

    def _asked(self, request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.hosts.add(urlsplit(request.url).hostname)

    def drop(self, *files: Path) -> None:
        self.page.locator("#posters input[type=file]").set_input_files([str(file) for file in files])

    def scores(self) -> dict[str, float]:
        """Of the first poster, also those that are folded away."""
        self.page.locator("#scores .mm-card").first.wait_for()
        rows = self.page.locator("#scores .mm-card").first.locator("li").all()
        lines = [row.locator(".line > span") for row in rows]
        return {line.first.text_content(): float(line.last.text_content()) for line in lines}

    def switch(self, branch: str) -> None:
        self.page.locator("#branches label", has_text=f"{branch}:").click()

    def explain(self) -> None:
        self.page.get_by_role("button", name="Show why").click()
        self.page.locator("#why h2").wait_for()

    def saved(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.page.locator(f'#downloads a[download="{name}"]').click()
        return Path(download.value.path()).read_bytes()

    def shot(self, folder: Path, name: str) -> None:
        self.page.wait_for_timeout(400)
        folder = Path(os.environ.get("MMPOSTER_SCREENSHOTS", folder))
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)

    def close(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        width = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        self.page.close()
        assert self.complaints == []
        assert self.hosts == {"127.0.0.1"}
        assert width <= 0  # nothing to scroll sideways


@pytest.fixture(scope="module")
def posters(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    drawn = []
    for name, ground, colour in (("night.jpg", "#101018", "#b01010"), ("summer <b>day.png", "#ffd8e8", "#ff5090")):
        image = Image.new("RGB", (300, 450), ground)
        draw = ImageDraw.Draw(image)
        draw.ellipse((80, 60, 220, 200), fill=colour)
        draw.rectangle((110, 200, 190, 380), fill=colour)
        draw.text((60, 400), "THE LONG NIGHT", fill="white", font_size=24)
        image.save(folder / name)
        drawn.append(folder / name)
    return drawn


def test_scores_move_with_the_branches_and_can_be_saved(browser, address, posters, tmp_path):
    visit = Visit(browser, address)
    visit.drop(posters[0])
    both = visit.scores()
    assert len(both) > 10
    visit.shot(tmp_path, "scores-1280")
    visit.switch("style")
    visit.page.locator("#scores .change").first.wait_for(state="attached")
    alone = visit.scores()
    assert set(alone) == set(both)
    assert any(abs(alone[genre] - both[genre]) > 0.01 for genre in both)
    genre = next(iter(alone))
    change = visit.page.locator("#scores li", has_text=genre).first.locator(".change").text_content()
    assert float(change.replace("−", "-")) == pytest.approx(alone[genre] - both[genre], abs=0.015)
    visit.shot(tmp_path, "one-branch-1280")
    saved = json.loads(visit.saved("posters.json"))
    assert saved["prediction"]["branches"] == ["cnn"]
    assert saved["prediction"]["posters"][0]["scores"][genre] == pytest.approx(alone[genre], abs=0.006)
    assert saved["explanations"] == []
    visit.switch("cnn")
    visit.page.get_by_text("Switch on at least one branch").wait_for()
    visit.close()


def test_the_explanation_is_shown_and_saved(browser, address, posters, tmp_path):
    visit = Visit(browser, address)
    visit.drop(posters[0])
    surest = next(iter(visit.scores()))
    visit.explain()
    assert surest in visit.page.locator("#why h2").text_content()
    assert visit.page.locator("#why img.heat").count() == 2
    assert visit.page.locator("#why .share").count() == 2
    visit.page.locator('#downloads a[download="card.png"]').wait_for()
    visit.shot(tmp_path, "why-1280")
    assert Image.open(io.BytesIO(visit.saved("card.png"))).width == 1200
    explained = json.loads(visit.saved("posters.json"))["explanations"][0]["posters"][0]
    assert surest in [genre["genre"] for genre in explained["genres"]]
    # Another genre, by the keyboard.
    visit.page.locator("#genre input").focus()
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function("old => !document.querySelector('#why h2')?.textContent.includes(old)", arg=surest)
    visit.page.locator("#why h2").wait_for()
    visit.close()


def test_several_posters_stand_side_by_side(browser, address, posters, tmp_path):
    visit = Visit(browser, address)
    text = tmp_path / "notes.jpg"
    text.write_text("this is no picture")
    visit.drop(*posters, text)
    visit.page.locator("#scores .mm-card").nth(2).wait_for()
    cards = visit.page.locator("#scores .mm-card")
    assert cards.nth(0).bounding_box()["y"] == cards.nth(1).bounding_box()["y"]
    assert "notes.jpg cannot be used: the content is none of" in cards.nth(2).text_content()
    visit.page.locator("#which label").nth(1).click()
    visit.explain()
    assert "day" in visit.page.locator("#why h2").text_content()
    visit.shot(tmp_path, "several-1280")
    rows = list(csv.DictReader(io.StringIO(visit.saved("posters.csv").decode())))
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    visit.close()


def test_a_file_that_is_no_picture_gives_a_sentence(browser, address, tmp_path):
    visit = Visit(browser, address)
    text = tmp_path / "notes.txt"
    text.write_text("this is no picture")
    visit.drop(text)
    said = visit.page.locator("#scores .wrong")
    said.wait_for()
    assert re.match(r"notes\.txt cannot be used: the content is none of .*\.$", said.text_content())
    assert "Traceback" not in visit.page.content()
    assert not visit.page.locator("#why-button").is_visible()
    visit.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone(browser, address, posters, tmp_path, scheme):
    visit = Visit(browser, address, NARROW, color_scheme=scheme)
    visit.drop(*posters)
    visit.scores()
    visit.explain()
    visit.shot(tmp_path, f"telephone-{scheme}-390")
    visit.close()
