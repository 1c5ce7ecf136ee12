"""The downloader against a server on loopback that fails in every way."""

from __future__ import annotations

import email.utils
import json
import threading
import time

import pytest
from PIL import Image

from mmposter.data.downloading import DownloadOptions, download
from mmposter.data.downloading.fetch import Fetcher
from mmposter.data.downloading.ledger import Ledger
from mmposter.data.downloading.schedule import DownloadJob, HostSchedule
from mmposter.errors import UserError

QUICK = {"timeout": 3.0, "attempts": 3, "backoff": 0.01, "hopeless": 1000, "max_bytes": 300_000}


def options(**changes):
    return DownloadOptions(**(QUICK | changes))


def get(server, folder, *names, base=None, **changes):
    """Download the paths `names`; the outcomes by name."""
    links = {folder / f"{name}.jpg": f"{base or server.url}/{name}.jpg" for name in names}
    found = download(links, folder, options(**changes), quiet=True)
    assert set(found) == set(links)
    return {path.stem: outcome for path, outcome in found.items()}


# How the server fails; what that is called; how often it is asked; whether another run asks again.
FAILURES = [
    ("404", "http_404", 1, False),
    ("403", "http_403", 1, False),
    ("410", "http_410", 1, False),
    ("503", "http_503", 3, True),
    ("429", "http_429", 3, True),
    ("silent", "timeout", 3, True),
    ("reset", "no_connection", 3, True),
    ("cut", "cut_off", 3, True),
    ("cutchunked", "cut_off", 3, True),
    ("cutnolength", "cut_off", 3, True),
    ("toolong", "cut_off", 3, True),
    ("tooshort", "truncated", 1, False),
    ("html", "not_an_image", 1, False),
    ("empty", "empty", 1, False),
    ("loop", "redirect_loop", 6, False),
    ("tofile", "bad_redirect", 1, False),
    ("huge", "too_many_bytes", 1, False),
    ("saidhuge", "too_many_bytes", 1, False),
]


@pytest.mark.parametrize(("kind", "reason", "asked", "again"), FAILURES, ids=[kind for kind, *_ in FAILURES])
def test_every_failure_has_its_word_and_leaves_no_file(poster_server, tmp_path, kind, reason, asked, again):
    changes = {"timeout": 0.1} if kind == "silent" else {}
    outcome = get(poster_server, tmp_path, f"{kind}-1", **changes)[f"{kind}-1"]
    assert outcome.reason == reason
    assert outcome.message
    assert poster_server.times(f"/{kind}-1.jpg") == asked
    assert [path.name for path in tmp_path.iterdir()] == ["downloads.jsonl"]
    second = get(poster_server, tmp_path, f"{kind}-1", **changes)[f"{kind}-1"]
    assert second.reason == reason
    assert poster_server.times(f"/{kind}-1.jpg") == asked * (2 if again else 1)


def test_a_trickle_is_not_read_for_ever(poster_server, tmp_path):
    """Every piece comes in time, and the whole answer would take ten seconds and more."""
    assert len(poster_server.picture("/trickle-1.jpg")) > 1000
    start = time.monotonic()
    outcome = get(poster_server, tmp_path, "trickle-1", timeout=0.1, attempts=1)["trickle-1"]
    assert outcome.reason in ("cut_off", "timeout")  # the second on a machine so busy that a piece is late
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["good", "500once", "429once", "resetonce", "cutonce", "moved", "nolength"])
def test_what_comes_in_the_end_is_saved_whole(poster_server, tmp_path, kind):
    assert get(poster_server, tmp_path, f"{kind}-1")[f"{kind}-1"].saved
    expected = poster_server.picture(f"/{'good' if kind == 'moved' else kind}-1.jpg")
    assert (tmp_path / f"{kind}-1.jpg").read_bytes() == expected
    assert Image.open(tmp_path / f"{kind}-1.jpg").size == (48, 64)
    assert {path.name for path in tmp_path.iterdir()} == {f"{kind}-1.jpg", "downloads.jsonl"}


def test_one_failure_does_not_touch_the_others(poster_server, tmp_path):
    kinds = [kind for kind, *_ in FAILURES if kind != "silent"]
    names = [f"{kind}-{number}" for number in range(3) for kind in (*kinds, "good", "500once", "cutonce")]
    outcomes = get(poster_server, tmp_path, *names)
    expected = {kind: reason for kind, reason, *_ in FAILURES}
    assert {name: outcome.reason for name, outcome in outcomes.items()} == {
        name: expected.get(name.rpartition("-")[0], "") for name in names
    }


def test_retry_after_is_honoured_for_the_whole_host(poster_server, tmp_path):
    poster_server.retry_after = "1"
    times = []
    answer = poster_server.answer
    poster_server.answer = lambda *call: (times.append((call[1], time.monotonic())), answer(*call))
    names = ["429once-0", *(f"good-{number}" for number in range(3))]
    assert all(outcome.saved for outcome in get(poster_server, tmp_path, *names, connections=1).values())
    assert times[0][0] == "/429once-0.jpg"
    assert min(when for _, when in times[1:]) - times[0][1] >= 0.99
    assert poster_server.times("/429once-0.jpg") == 2


def test_retry_after_may_be_a_date(poster_server, tmp_path):
    poster_server.retry_after = email.utils.formatdate(time.time() + 600, usegmt=True)
    start = time.monotonic()
    assert get(poster_server, tmp_path, "429once-0", longest_wait=0.3)["429once-0"].saved
    assert 0.3 <= time.monotonic() - start < 2


@pytest.mark.parametrize("value", ["86400", "9" * 400, "soon", "-5"])
def test_retry_after_is_bounded_and_nonsense_is_borne(poster_server, tmp_path, value):
    poster_server.retry_after = value
    start = time.monotonic()
    assert get(poster_server, tmp_path, "429once-0", longest_wait=0.2)["429once-0"].saved
    assert time.monotonic() - start < 2


def test_connections_to_a_host_are_limited_and_used(poster_server, tmp_path):
    poster_server.delay = 0.03
    names = [f"good-{number}" for number in range(24)]
    assert all(outcome.saved for outcome in get(poster_server, tmp_path, *names, connections=3).values())
    assert poster_server.busiest == 3


def test_it_says_who_asks_and_what_it_takes(poster_server, tmp_path):
    get(poster_server, tmp_path, "good-1")
    assert poster_server.headers[0]["User-Agent"].startswith("mmposter/")
    assert poster_server.headers[0]["Accept"] == "image/*"


def test_a_link_that_two_posters_share_is_asked_once(poster_server, tmp_path):
    link = f"{poster_server.url}/good-1.jpg"
    outcomes = download({tmp_path / "a.jpg": link, tmp_path / "b.jpg": link}, tmp_path, options(), quiet=True)
    assert [outcome.saved for outcome in outcomes.values()] == [True, True]
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert poster_server.log == ["/good-1.jpg"]


def test_dead_links_are_asked_again_only_when_told(poster_server, tmp_path):
    get(poster_server, tmp_path, "404-1")
    assert get(poster_server, tmp_path, "404-1")["404-1"].reason == "http_404"
    assert poster_server.times("/404-1.jpg") == 1
    get(poster_server, tmp_path, "404-1", retry_dead=True)
    assert poster_server.times("/404-1.jpg") == 2
    # The poster is put up again, found, and then no longer known as dead.
    poster_server.kind = lambda path: "good"
    assert get(poster_server, tmp_path, "404-1", retry_dead=True)["404-1"].saved
    assert not Ledger(tmp_path).dead


def test_the_ledger_survives_a_line_that_was_cut_off(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.record("http://a/1", "dead", reason="http_404", message="no", files=["1.jpg"])
    ledger.record("http://a/2", "dead", reason="http_410", message="no", files=["2.jpg"])
    path = tmp_path / "downloads.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # SIGKILL or a full disk in the middle of the second line
    again = Ledger(tmp_path)
    assert again.dead == {"http://a/1": ("http_404", "no")}
    again.record("http://a/3", "dead", reason="http_404", message="nö", files=["3.jpg"])
    again.record("http://a/1", "saved", reason="", message="", files=["1.jpg"])
    assert Ledger(tmp_path).dead == {"http://a/3": ("http_404", "nö")}
    assert json.loads(path.read_text().splitlines()[-1])["status"] == "saved"


def test_a_host_that_is_not_there_is_given_up_and_others_go_on(poster_server, tmp_path, capfd):
    poster_server_port = poster_server.url.rpartition(":")[2]
    nobody = "http://127.0.0.1:9"  # the discard service: refused
    links = {tmp_path / f"gone{number}.jpg": f"{nobody}/{number}.jpg" for number in range(500)}
    links |= {tmp_path / f"good{number}.jpg": f"{poster_server.url}/good-{number}.jpg" for number in range(10)}
    start = time.monotonic()
    outcomes = download(links, tmp_path, options(hopeless=20, backoff=0.05), quiet=False)
    assert time.monotonic() - start < 5
    reasons = [outcome.reason for path, outcome in outcomes.items() if path.name.startswith("gone")]
    assert set(reasons) <= {"host_given_up", "no_connection"}
    assert reasons.count("host_given_up") > 450
    assert all(outcome.saved for path, outcome in outcomes.items() if path.name.startswith("good"))
    said = capfd.readouterr().err
    assert f"{reasons.count('host_given_up')} posters were not asked: 127.0.0.1:9 failed" in said
    assert "The same command asks for them again" in said
    assert poster_server_port not in said
    # Not the links' fault: none of them is called dead.
    assert not Ledger(tmp_path).dead


def test_a_host_that_answers_is_not_given_up_for_its_broken_links(poster_server, tmp_path):
    names = [f"{kind}-{number}" for number in range(10) for kind in ("500", "cut")]
    outcomes = get(poster_server, tmp_path, *names, hopeless=5)
    assert {outcome.reason for outcome in outcomes.values()} == {"http_500", "cut_off"}


def test_links_that_fail_by_themselves_do_not_speak_for_their_host(poster_server, tmp_path):
    """Between good ones no five fail in a row; their further attempts, and those of a second run, come in a row."""
    names = [f"{kind}-{number}" for number in range(20) for kind in ("good", "503")]
    for attempt in (1, 2):
        outcomes = get(poster_server, tmp_path, *names, hopeless=5, connections=2)
        assert {name: outcome.reason for name, outcome in outcomes.items()} == {
            name: "http_503" if name.startswith("503") else "" for name in names
        }
        assert poster_server.times("/503-7.jpg") == 3 * attempt
        names = [name for name in names if name.startswith("503")]


def test_a_host_that_asks_for_patience_for_ever_is_given_up(poster_server, tmp_path):
    outcomes = get(poster_server, tmp_path, *(f"429-{number}" for number in range(50)), hopeless=5)
    assert {outcome.reason for outcome in outcomes.values()} == {"host_given_up"}
    assert len(poster_server.log) < 5 + 4


def test_a_name_that_nobody_knows_is_a_failure_of_its_host(tmp_path):
    link = {tmp_path / "1.jpg": "http://posters.invalid/1.jpg"}
    (outcome,) = download(link, tmp_path, options(attempts=2), quiet=True).values()
    assert outcome.reason == "no_connection"


def test_a_mirror_is_asked_for_the_path_and_query(poster_server, tmp_path):
    link = "https://images.example/M/good-1.jpg?size=3"
    (outcome,) = download(
        {tmp_path / "1.jpg": link}, tmp_path, options(mirror=poster_server.url + "/copy/"), quiet=True
    ).values()
    assert outcome.saved
    assert poster_server.log == ["/copy/M/good-1.jpg?size=3"]


def test_what_a_mirror_lacks_is_not_dead_at_its_own_host(poster_server, tmp_path):
    link = {tmp_path / "1.jpg": f"{poster_server.url}/404-1.jpg"}
    download(link, tmp_path, options(mirror=poster_server.url + "/copy"), quiet=True)
    download(link, tmp_path, options(), quiet=True)
    assert poster_server.log == ["/copy/404-1.jpg", "/404-1.jpg"]


def test_offline_asks_nobody_and_says_what_is_known(poster_server, tmp_path):
    get(poster_server, tmp_path, "404-1")
    outcomes = get(poster_server, tmp_path, "404-1", "good-1", offline=True)
    assert {name: outcome.reason for name, outcome in outcomes.items()} == {"404-1": "http_404", "good-1": "not_asked"}
    assert poster_server.log == ["/404-1.jpg"]
    # It writes nothing either, not even the folder.
    get(poster_server, tmp_path / "new", "good-1", offline=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "link", ["file:///etc/passwd", "ftp://a/1.jpg", "http:///1.jpg", "http://a:b/1.jpg", "http://[a/1.jpg", "1.jpg"]
)
def test_only_http_is_asked(tmp_path, link):
    (outcome,) = download({tmp_path / "1.jpg": link}, tmp_path, options(), quiet=True).values()
    assert outcome.reason == "bad_link"


def test_the_proxy_of_the_environment_is_used(poster_server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", poster_server.url)
    link = {tmp_path / "1.jpg": "http://posters.invalid/good-1.jpg"}
    (outcome,) = download(link, tmp_path, options(), quiet=True).values()
    assert outcome.saved
    assert poster_server.log == ["http://posters.invalid/good-1.jpg"]


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(poster_server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot be written.*\n.*--posters FOLDER"):
        get(poster_server, tmp_path / "file" / "posters", "good-1")


def test_a_fault_of_ours_is_raised_and_not_waited_for(poster_server, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(Fetcher, "__call__", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        get(poster_server, tmp_path, "good-1", "good-2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connections": 0, "timeout": 0.0}, r"--connections must be 1 or more, got 0\n--timeout must be more"),
        ({"mirror": "file:///posters"}, "--mirror must be an address"),
        ({"mirror": "http://a", "offline": True}, "give one of them"),
    ],
)
def test_bad_options_are_told(changes, message):
    with pytest.raises(UserError, match=message):
        DownloadOptions(**changes)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def job(host, name="x"):
    return DownloadJob(f"http://{host}/{name}", f"http://{host}/{name}", [])


def test_hosts_take_turns_and_each_has_its_limit():
    schedule = HostSchedule(2, 9)
    for host in "aaab":
        schedule.add(job(host))
    out = [schedule.take() for _ in range(3)]
    assert [it.url[7] for it in out] == ["a", "b", "a"]
    # The third of host a waits until one of the others is answered.
    waiting = threading.Thread(target=lambda: out.append(schedule.take()), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    schedule.answered(out[0])
    waiting.join(2)
    assert out[3].url == "http://a/x"


def test_a_pause_is_the_hosts_and_a_wait_is_the_jobs():
    clock = Clock()
    schedule = HostSchedule(1, 9, clock)
    first, second = job("a", "1"), job("a", "2")
    schedule.add(first)
    schedule.add(second)
    assert schedule.take() is first
    assert schedule.failed(first, "busy", 5.0) == []
    assert schedule.put_back(first, 20.0)
    clock.now = 5.0
    assert schedule.take() is second
    schedule.answered(second)
    schedule.finished()
    clock.now = 20.0
    assert schedule.take() is first
    schedule.answered(first)
    schedule.finished()
    assert schedule.take() is None


def test_a_hopeless_host_gives_its_jobs_back_once_and_a_success_forgives():
    schedule = HostSchedule(3, 2)
    jobs = [job("a", str(number)) for number in range(5)]
    for each in jobs:
        schedule.add(each)
    out = [schedule.take() for _ in range(3)]
    assert schedule.failed(out[0], "refused", 0) == []
    schedule.answered(out[1])
    assert schedule.put_back(out[0])
    assert schedule.failed(out[2], "refused", 0) == []
    out = [schedule.take(), schedule.take()]
    assert out == jobs[3:]
    assert schedule.failed(out[0], "refused", 0) == [jobs[0]]
    assert not schedule.put_back(out[0])
    assert "a failed 2 times in a row, the last time so: refused" in schedule.given_up(out[0])
    assert schedule.failed(out[1], "refused", 0) == []


def test_stop_lets_everyone_go():
    schedule = HostSchedule(1, 9)
    schedule.add(job("a"))
    schedule.stop()
    assert schedule.take() is None
