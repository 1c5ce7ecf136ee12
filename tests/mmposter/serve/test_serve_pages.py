"""The documentation says everything, and asks nobody else for anything."""

from __future__ import annotations

import re
from html import unescape

import pytest
import requests

ENDPOINTS = {
    ("POST", "/api/v1/predict"),
    ("POST", "/api/v1/explain"),
    ("GET", "/api/v1/model"),
    ("GET", "/health"),
    ("GET", "/metrics"),
}


def test_openapi_names_endpoints_parameters_and_errors(served):
    document = served.get("/openapi.json").json()
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == ENDPOINTS
    for verb, parameters in (("predict", ["branches", "top_k"]), ("explain", ["branches", "genres", "heat_maps"])):
        endpoint = document["paths"][f"/api/v1/{verb}"]["post"]
        assert [parameter["name"] for parameter in endpoint["parameters"]] == parameters
        assert list(endpoint["requestBody"]["content"]) == ["multipart/form-data"]
        assert set(endpoint["responses"]) == {"200", "400", "408", "413", "415", "422", "500", "503"}
        for status, answer in endpoint["responses"].items():
            name = f"{verb.title()}Answer" if status == "200" else "ErrorAnswer"
            assert answer["content"]["application/json"]["schema"]["$ref"] == f"#/components/schemas/{name}"
    schemas = document["components"]["schemas"]
    assert "example" in schemas["PredictAnswer"]
    assert "example" in schemas["ErrorAnswer"]


def test_the_examples_look_like_the_answers(served, picture):
    schemas = served.get("/openapi.json").json()["components"]["schemas"]
    answer, example = served.post(picture(1)).json(), schemas["PredictAnswer"]["example"]
    assert set(answer) == set(example)
    assert set(answer["posters"][0]) == set(example["posters"][0])
    error, example = served.get("/nowhere").json(), schemas["ErrorAnswer"]["example"]
    assert set(error["error"]) == set(example["error"])


def test_the_page_says_what_the_document_says(served):
    document = served.get("/openapi.json").json()
    page = re.sub("</?code>", "`", unescape(served.get("/docs").text))
    for method, path in ENDPOINTS:
        assert f"{method} {path}" in page
    for parameter in document["paths"]["/api/v1/predict"]["post"]["parameters"]:
        assert parameter["name"] in page
    for name, schema in document["components"]["schemas"].items():
        assert name in page
        for field, values in schema["properties"].items():
            assert field in page
            assert values.get("description", "") in page
    assert "Retry-After" in page


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing(served, path):
    answer = served.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"<(script|link|img|iframe|object|base)\b|\bsrc=|url\(|@import", answer.text)
    assert "default-src 'none'" in answer.text
    # Every address on the page is this server's own, with the port that it has.
    assert set(re.findall(r"https?://[\w.:\[\]-]+", answer.text)) == {served.address}
    assert not re.search(r'href="(?!#)', answer.text)


def test_the_first_page_names_the_endpoints(served):
    page = served.get("/").text
    for method, path in [*ENDPOINTS, ("GET", "/docs"), ("GET", "/openapi.json")]:
        assert f"{method} {path}" in page


def test_an_address_in_the_page_is_escaped(served):
    answer = requests.get(served.address + "/", headers={"Host": 'x"><b>'}, timeout=20)
    assert "<b>" not in answer.text
