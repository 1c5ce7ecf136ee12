"""When things go wrong on our side: the queue is full, a client hangs up, the model raises, the server stops."""

from __future__ import annotations

import logging
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakSet

import pytest
import requests

from mmposter.inference.classifier import Prediction
from mmposter.serve import ServeSettings, create_app
from mmposter.serve.errors import RequestError
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.places import Places
from mmposter.serve.work import Predict
from mmposter.serve.worker import Worker

PREDICT = "/api/v1/predict"


def test_a_full_queue_refuses_and_says_when_to_come_back(serve, picture):
    served = serve(queue=3)
    served.classifier.open.clear()
    with ThreadPoolExecutor(3) as pool:
        inside = [pool.submit(served.post, picture(number)) for number in range(3)]
        answer = refused_when_full(served, picture)
        served.classifier.open.set()
        assert [future.result().status_code for future in inside] == [200, 200, 200]
    assert answer.json()["error"]["code"] == "queue_full"
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert served.post(picture(1)).status_code == 200


def refused_when_full(served, picture):
    for number in range(2000):
        answer = served.post(picture(number)) if "mmposter_inside_requests 3" in served.get("/metrics").text else None
        if answer is not None and answer.status_code == 503:
            return answer
    raise AssertionError("never full")


def test_bodies_together_may_take_no_more_than_so_much():
    places = Places(8, 100, lambda: 7)
    with places.enter() as hold:
        with places.enter() as hold_more:
            hold_more(60)
            hold(40)
            with pytest.raises(RequestError, match="busy") as caught:
                hold(1)
        assert caught.value.headers == {"Retry-After": "7"}
        hold(60)
        assert (places.taken, places.held) == (1, 100)
    assert (places.taken, places.held) == (0, 0)


def hang_up(served, data: bytes) -> None:
    """Send a whole request and go away without waiting."""
    body = b'--frame\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n' + data + b"\r\n--frame--\r\n"
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=frame\r\n\r\n"
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + body)


def test_nothing_is_computed_for_a_client_that_hung_up(serve, picture, eventually):
    served = serve()
    served.classifier.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.post, picture(0))
        assert served.classifier.busy.wait(20)
        for number in range(5):
            hang_up(served, picture(100 + number))
        last = pool.submit(served.post, picture(1))
        eventually(lambda: "mmposter_inside_requests 2" in served.get("/metrics").text and served.worker.waiting == 1)
        served.classifier.open.set()
        assert first.result().status_code == last.result().status_code == 200
    assert served.classifier.batches == [1, 1]
    text = served.get("/metrics").text
    assert 'mmposter_requests_total{endpoint="/api/v1/predict",status="499"} 5' in text
    assert "mmposter_inside_bytes 0" in text


def test_a_client_that_hangs_up_in_the_middle_of_its_body(serve, picture, eventually):
    served = serve()
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n"
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=f\r\n\r\n--f\r\n")
        eventually(lambda: "mmposter_inside_requests 1" in served.get("/metrics").text)
    eventually(lambda: "mmposter_inside_requests 0" in served.get("/metrics").text)
    assert served.classifier.batches == []


def test_one_request_on_which_the_model_raises_is_not_the_others(serve, picture, caplog, eventually):
    served = serve()
    served.classifier.poison = picture(66)
    served.classifier.open.clear()
    with ThreadPoolExecutor(4) as pool, caplog.at_level(logging.ERROR):
        first = pool.submit(served.post, picture(0))
        assert served.classifier.busy.wait(20)
        others = [pool.submit(served.post, picture(number)) for number in (1, 66, 2)]
        eventually(lambda: served.worker.waiting == 3)
        served.classifier.open.set()
        answers = [future.result() for future in (first, *others)]
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    assert served.classifier.batches == [1, 3, 1, 1, 1]
    told = answers[2]
    assert "secret" not in told.text
    assert "Traceback" not in told.text
    error = told.json()["error"]
    assert error["code"] == "internal_error"
    number = re.search(r"under the id (\w+)$", error["message"])[1]
    (record,) = [record for record in caplog.records if number in record.getMessage()]
    assert "a secret of the server" in str(record.exc_info[1])
    assert record.exc_info[2] is not None


def test_a_branch_that_fails_goes_to_the_log_not_to_the_client(serve, picture, caplog, monkeypatch):
    served = serve()
    found = Prediction(None, ["Drama"], {"Comedy": 0.1, "Drama": 0.9, "Horror": 0.1}, "ocr: RuntimeError: a secret")
    lost = Prediction(None, [], {}, "cnn: RuntimeError: a secret")
    monkeypatch.setattr(served.classifier, "predict", lambda posters, **_: [found, lost])
    with caplog.at_level(logging.ERROR):
        answer = served.post(picture(1), picture(2))
    assert answer.status_code == 200
    assert "secret" not in answer.text
    entries = answer.json()["posters"]
    assert entries[0]["genres"] == ["Drama"]
    for entry in entries:
        number = re.search(r"under the id (\w+)$", entry["error"])[1]
        assert any(number in r.getMessage() and "a secret" in str(r.exc_info[1]) for r in caplog.records)
    # Where all posters fail for reasons of ours, that is no mistake of the client's.
    monkeypatch.setattr(served.classifier, "predict", lambda posters, **_: [lost])
    answer = served.post(picture(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_requests_wait_while_the_model_loads(unloadable, serve_app, picture, eventually):
    """And /health says so."""
    unloadable.broken = None
    loading, predict = threading.Event(), unloadable.predict

    def slow(posters, **more):
        assert loading.wait(20)
        return predict(posters, **more)

    unloadable.predict = slow
    app = create_app(unloadable)
    with serve_app(app, until="loading") as address, ThreadPoolExecutor(1) as pool:
        eventually(lambda: requests.get(address + "/api/v1/model", timeout=20).ok)
        health = requests.get(address + "/health", timeout=20)
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        early = pool.submit(requests.post, address + PREDICT, files={"p": picture(1)}, timeout=20)
        eventually(lambda: app.state.worker.waiting == 1)
        loading.set()
        assert early.result().status_code == 200
        assert requests.get(address + "/health", timeout=20).json() == {"status": "ready"}


def test_a_model_that_cannot_be_loaded_ends_the_worker(unloadable):
    worker = Worker(unloadable)
    job = worker.submit([UploadedPoster("a", b"")], Predict(("cnn",)))
    worker.start()
    assert worker.ended.exception(timeout=20) is unloadable.broken
    assert worker.state == "stopped"
    assert job.future.exception(timeout=20).status == 503
    with pytest.raises(RequestError, match="stopping"):
        worker.submit([UploadedPoster("a", b"")], Predict(("cnn",)))


def test_closing_gives_every_job_an_answer(serve, picture, eventually):
    served = serve()
    served.classifier.open.clear()
    with ThreadPoolExecutor(3) as pool:
        inside = [pool.submit(served.post, picture(0))]
        assert served.classifier.busy.wait(20)
        inside += [pool.submit(served.post, picture(number)) for number in (1, 2)]
        eventually(lambda: served.worker.waiting == 2)
        served.worker.close()
        assert {future.result().status_code for future in inside} == {503}
    served.classifier.open.set()


def test_bodies_are_let_go(serve, picture, monkeypatch, eventually):
    served = serve()
    seen, count, submit = WeakSet(), [], served.worker.submit

    def watched(posters, work):
        seen.update(posters)
        count.append(len(seen))
        return submit(posters, work)

    monkeypatch.setattr(served.worker, "submit", watched)
    for number in range(3):
        assert served.post(picture(number), b"no picture").status_code == 200
    assert count[0] == 2
    eventually(lambda: not seen)


def test_the_settings_bound_what_is_held():
    assert ServeSettings(max_posters=16, max_mb=10).max_body_bytes == 16 * (10_000_000 + 4096)
    assert ServeSettings().max_held_bytes == 512_000_000
    assert ServeSettings(max_posters=100).max_held_bytes == 100 * (10_000_000 + 4096)
