"""Good requests: the right scores for the right poster, whoever else asks."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests


def test_posters_are_answered_in_order(served, picture, expected_scores):
    posters = [picture(number) for number in (5, 1, 3)]
    answer = served.post(*posters)
    assert answer.status_code == 200
    values = answer.json()
    assert list(values) == ["model", "branches", "thresholds", "posters"]
    assert (values["model"], values["branches"]) == ("fake", ["cnn", "style"])
    assert values["thresholds"] == {"Comedy": 0.5, "Drama": 0.5, "Horror": 0.5}
    assert [entry["name"] for entry in values["posters"]] == ["0.png", "1.png", "2.png"]
    for poster, entry in zip(posters, values["posters"], strict=True):
        scores = expected_scores(poster)
        assert entry["scores"] == pytest.approx(scores, abs=1e-6)
        assert entry["genres"] == [genre for genre, score in scores.items() if score >= 0.5]
        assert entry["error"] is None


def test_a_file_that_is_no_picture_is_an_error_of_its_own(served, picture, expected_scores):
    good = picture(9)
    entries = served.post(b"no picture", good, b"", good[:60]).json()["posters"]
    assert [entry["error"] and entry["error"].split(":")[0] for entry in entries] == [
        "not_an_image",
        None,
        "empty",
        "truncated",
    ]
    assert entries[1]["scores"] == pytest.approx(expected_scores(good), abs=1e-6)
    assert entries[0]["scores"] == {}


def test_branches_and_top_k(served, picture, expected_scores):
    poster = picture(2)
    values = served.post(poster, path="/api/v1/predict?branches=style&top_k=2").json()
    scores = expected_scores(poster, ("style",))
    assert values["branches"] == ["style"]
    assert values["posters"][0]["scores"] == pytest.approx(scores, abs=1e-6)
    assert values["posters"][0]["genres"] == sorted(scores, key=lambda genre: -scores[genre])[:2]
    # The order in which they are asked for is not the model's.
    both = served.post(poster, path="/api/v1/predict?branches=style,cnn").json()
    assert both["branches"] == ["cnn", "style"]


def test_names_come_back_as_they_were_sent(served, picture):
    files = [("x", ("Amélie; 2001 \u65e5.jpg", picture(1))), ("y", ("a" * 300, picture(2)))]
    names = [
        e["name"] for e in requests.post(served.address + "/api/v1/predict", files=files, timeout=20).json()["posters"]
    ]
    assert names == ["Amélie; 2001 \u65e5.jpg", "a" * 255]


def test_a_file_field_that_was_left_empty_is_none(served, picture):
    files = [("x", ("", b"")), ("y", ("a.png", picture(1)))]
    body, boundary = multipart(files)
    answer = requests.post(
        served.address + "/api/v1/predict",
        data=body,
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        timeout=20,
    )
    assert [entry["name"] for entry in answer.json()["posters"]] == ["a.png"]


def multipart(files: list[tuple[str, tuple[str, bytes]]]) -> tuple[bytes, str]:
    """A body as browsers write it."""
    parts = [
        f'--frame\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for field, (name, data) in files
    ]
    return b"".join(parts) + b"--frame--\r\n", "frame"


def test_waiting_requests_are_computed_together_and_none_is_lost(serve, picture, expected_scores, eventually):
    """Forty requests while the model is busy: as few batches as there can be, and everyone gets his own scores."""
    served = serve(queue=64, max_posters=4)
    served.classifier.open.clear()
    rng = random.Random(0)
    orders = [[picture(rng.randrange(60_000)) for _ in range(rng.randint(1, 4))] for _ in range(40)]
    paths = [f"/api/v1/predict?branches={rng.choice(['cnn', 'style', 'cnn,style'])}" for _ in orders]
    with ThreadPoolExecutor(41) as pool:
        first = pool.submit(served.post, picture(0))
        assert served.classifier.busy.wait(20)
        others = [pool.submit(served.post, *order, path=path) for order, path in zip(orders, paths, strict=True)]
        count = sum(map(len, orders))
        eventually(lambda: served.worker.waiting == count)
        served.classifier.open.set()
        assert first.result().status_code == 200
        for order, path, other in zip(orders, paths, others, strict=True):
            branches = path.partition("=")[2].split(",")
            entries = other.result().json()["posters"]
            assert [e["scores"] for e in entries] == [
                pytest.approx(expected_scores(p, branches), abs=1e-6) for p in order
            ]
    batches = served.classifier.batches
    assert sum(batches) == 1 + count
    assert max(batches) <= 32
    # Three sets of branches, each in full batches but for its last one.
    assert len(batches) <= 1 + count // 32 + 3
    assert served.classifier.threads == {"model"}


def test_more_posters_than_a_batch(serve, picture, expected_scores):
    served = serve(max_posters=70)
    posters = [picture(number) for number in range(70)]
    entries = served.post(*posters).json()["posters"]
    assert [e["scores"] for e in entries] == [pytest.approx(expected_scores(p), abs=1e-6) for p in posters]
    assert served.classifier.batches == [32, 32, 6]


def test_large_pictures_are_not_decoded_beside_each_other(serve, picture, make_png_header):
    served = serve()
    big = make_png_header(9_000, 9_000)  # 81 of the 100 million pixels that one poster may have
    entries = served.post(picture(1), big, big, picture(2)).json()["posters"]
    assert [entry["error"] is None for entry in entries] == [True, False, False, True]
    assert served.classifier.batches == [2, 2]


def test_model_and_health_and_metrics(served, picture):
    values = served.get("/api/v1/model").json()
    assert (values["name"], values["genres"], values["branches"]) == (
        "fake",
        ["Comedy", "Drama", "Horror"],
        ["cnn", "style"],
    )
    assert values["limits"]["posters"] == 4
    assert values["limits"]["bytes_a_poster"] == 20_000
    health = served.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "ready"})
    before = metrics(served)
    served.post(picture(1), b"text")
    served.get("/nowhere")
    served.get("/nowhere/else")
    after = metrics(served)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown['mmposter_requests_total{endpoint="/api/v1/predict",status="200"}'] == 1
    assert grown['mmposter_requests_total{endpoint="other",status="404"}'] == 2
    assert grown['mmposter_posters_total{result="usable"}'] == 1
    assert grown['mmposter_posters_total{result="unusable"}'] == 1
    assert grown['mmposter_request_seconds_bucket{endpoint="/api/v1/predict",le="+Inf"}'] == 1
    assert grown['mmposter_request_seconds_bucket{endpoint="/api/v1/predict",le="60"}'] == 1
    assert grown['mmposter_request_seconds_count{endpoint="/api/v1/predict"}'] == 1
    assert after["mmposter_inside_requests"] == after["mmposter_inside_bytes"] == after["mmposter_waiting_posters"] == 0
    assert after["mmposter_resident_bytes"] > 1e7


def metrics(served) -> dict[str, float]:
    """Every sample; a line that Prometheus could not read fails."""
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (\S+)', line)
            assert match, line
            found[match[1]] = float(match[2])
    return found
