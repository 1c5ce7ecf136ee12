"""Progress says what is true: only the work of this run counts, and nothing is told before it is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from mmposter import progress as shown
from mmposter.engines.task import Task, finished, run_here
from mmposter.pace import Pace, duration
from mmposter.progress import PlainConsole, Ticker, begin_part, begin_step, progress, say, stage, step_on, warn
from mmposter.verbosity import Verbosity, set_verbosity


class Clock:
    """Stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(shown, "_clock", clock)
    return clock


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The lines on a standard error that is no terminal."""
    console = PlainConsole(width=120)
    console.file = io.StringIO()
    monkeypatch.setattr(shown, "console", console)
    return lambda: console.file.getvalue().splitlines()


@pytest.fixture
def quietly() -> Iterator[None]:
    set_verbosity(Verbosity.QUIET)
    yield
    set_verbosity(Verbosity.DEFAULT)


def pace(clock: Clock, unit: str = "poster") -> Pace:
    return Pace(unit, clock)


def test_nothing_is_told_before_anything_is_known():
    clock = Clock()
    found = pace(clock)
    assert found.text(100) == ""
    clock.go(10)
    assert found.text(100) == ""  # waiting is no work that is finished
    found.finish(1)
    assert found.text(99) == ""  # of a batch that has only begun to come


def test_a_batch_that_comes_at_once_is_no_speed():
    clock = Clock()
    found = pace(clock)
    for _ in range(2):
        clock.go(16)
        for _ in range(32):
            found.finish(1)
            clock.go(0.0001)
    assert found.text(96) == "2.0/s, 48 s left"  # not 160875/s


def test_a_batch_that_is_written_slowly_is_still_one():
    clock = Clock()
    found = pace(clock)
    for _ in range(3):
        clock.go(10)
        for _ in range(10):
            clock.go(0.2)
            found.finish(1)
    assert found.rate() == pytest.approx(10 / 12, rel=0.2)
    assert found.left(10) == pytest.approx(10, abs=2)


def test_time_left_counts_down_and_a_late_batch_counts_against_it():
    clock = Clock()
    found = pace(clock)
    for _ in range(3):
        clock.go(10)
        found.finish(10)
    assert found.left(20) == pytest.approx(20)
    clock.go(5)
    assert found.left(20) == pytest.approx(15)
    clock.go(45)  # five times as long as expected
    assert found.left(20) == pytest.approx(20 * 80 / 30)


def test_the_rate_follows_a_run_that_gets_slower():
    clock = Clock()
    found = pace(clock)
    for _ in range(100):
        clock.go(0.1)
        found.finish(1)
    for _ in range(20):
        clock.go(10)
        found.finish(1)
    assert found.rate() == pytest.approx(0.1, rel=0.1)
    assert found.text(54) == "10.0 s/poster, 9 min left"


def test_loading_is_no_work():
    clock = Clock()
    found = pace(clock)
    with found.paused():
        clock.go(60)
        assert found.text(10) == ""
    for _ in range(3):
        clock.go(2)
        found.finish(4)
    assert found.text(8) == "2.0/s, 4 s left"


@pytest.mark.parametrize(
    ("each", "unit", "text"),
    [
        (0.005, "poster", "200/s"),
        (0.25, "poster", "4.0/s"),
        (2.4, "poster", "2.4 s/poster"),
        (90, "training", "1.5 min/training"),
    ],
)
def test_a_slow_rate_has_its_own_unit(each: float, unit: str, text: str):
    clock = Clock()
    found = pace(clock, unit)
    for _ in range(3):
        clock.go(1000 * each)
        found.finish(1000)
    assert found.text(0) == text


def test_durations():
    assert [duration(s) for s in (0.2, 59, 61, 3600, 3601, 7260)] == [
        "1 s",
        "59 s",
        "2 min",
        "1 h 0 min",
        "1 h 1 min",
        "2 h 1 min",
    ]


def test_what_an_earlier_run_did_is_no_speed_of_this_one(clock: Clock):
    ticker = Ticker("explain", 1000, None, done=900, quiet=True)
    for _ in range(50):
        ticker.skip()
    clock.go(10)
    ticker.advance()
    clock.go(10)
    ticker.advance()
    assert ticker.text() == "explain: 952/1000 (10.0 s/poster, 8 min left)"


def test_a_log_begins_with_the_first_unit_and_then_has_a_line_every_ten_seconds(clock: Clock, log):
    with progress("extract", 100, unit="poster") as ticker:
        clock.go(2)
        ticker.advance(4)
        for _ in range(24):
            clock.go(2)
            ticker.advance(4)
    lines = log()
    assert lines[0] == "extract: 4/100"
    assert lines[1] == "extract: 24/100 (2.0/s, 38 s left)"
    assert lines[-1] == "extract: 100/100 (2.0/s)"
    assert len(lines) == 6


def test_a_log_tells_nothing_twice_of_what_takes_no_time(clock: Clock, log):
    with progress("reading posters", 3) as ticker:
        for _ in range(3):
            ticker.advance()
    assert log() == ["reading posters: 3/3"]


def test_a_part_moves_the_bar_poster_by_poster_and_no_number(clock: Clock, log):
    with progress("extract", 25) as ticker:
        begin_part(25, 2)
        begin_step("cnn", 25)
        assert (ticker.done, ticker.part_done) == (0, 0)
        begin_step("ocr", 25)
        assert ticker.part_done == 12.5
        for _ in range(20):
            clock.go(1)
            step_on()
        assert (ticker.done, ticker.part_done) == (0, 12.5 * 1.8)
        ticker.advance(25)
        assert (ticker.done, ticker.part_done) == (25, 0)
    assert log() == ["extract: 0/25 ocr 10 of 25", "extract: 0/25 ocr 20 of 25", "extract: 25/25 (1.2/s)"]


class Slow(Task[int, int, int]):
    """Models that load for a minute, and a second a part."""

    device = "cpu"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def start(self, threads: int) -> None:
        self.clock.go(60)

    def load(self, part: int) -> int:
        return part

    def compute(self, loading: int):
        self.clock.go(1)
        return finished(loading)

    def stop(self) -> None:
        pass


def test_models_that_load_are_a_stage_of_their_own(clock: Clock, log):
    with progress("extract", 12) as ticker:
        for _ in run_here(Slow(clock), range(12), threads=1):
            ticker.advance()
        assert ticker.pace.rate(ended=True) == pytest.approx(1)
    lines = log()
    assert lines[0] == "loading models: 60 s"
    assert lines[-1] == "extract: 12/12 (1.0/s)"


def test_a_stage_is_told_where_it_took_long(clock: Clock, log):
    with stage("loading models"):
        clock.go(12)
    with stage("loading models"):
        clock.go(1)
    assert log() == ["loading models: 12 s"]


def test_quiet_leaves_what_a_person_must_act_on(quietly: None, clock: Clock, log):
    with progress("extract", 2) as ticker:
        clock.go(20)
        ticker.advance(2)
    with stage("loading models"):
        clock.go(20)
    say("done")
    warn("warning: few posters")
    assert log() == ["warning: few posters"]
    assert ticker.done == 2


def drawn(monkeypatch: pytest.MonkeyPatch, width: int) -> PlainConsole:
    from rich.console import Console

    console = PlainConsole(width=width)
    console.file = io.StringIO()
    console._force_terminal = True
    console.legacy_windows = False
    assert isinstance(console, Console)
    monkeypatch.setattr(shown, "console", console)
    return console


@pytest.mark.parametrize("width", [60, 80])
def test_a_bar_cuts_no_number(monkeypatch: pytest.MonkeyPatch, width: int):
    clock, console = Clock(), drawn(monkeypatch, width)
    monkeypatch.setattr(shown, "_clock", clock)
    with progress("extract", 12_000, unit="poster") as ticker:
        for _ in range(3):
            clock.go(480)
            ticker.advance(200)
        bar = shown._bars[-1]
        with console.capture() as found:
            console.print(bar.get_renderable())
    line = found.get()
    assert "600/12000" in line
    assert "2.4 s/poster" in line
    assert "left" in line
    assert "…" not in line


def test_standard_output_in_a_pipe_is_left_alone_while_a_bar_is_drawn(monkeypatch, capsys):
    console = drawn(monkeypatch, 80)
    with progress("predict", 1):
        print("one line of JSON")
    assert capsys.readouterr().out == "one line of JSON\n"
    assert "JSON" not in console.file.getvalue()
