"""Facts about a server that reads: the words of the API, alone and in batches, in every format."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from dld.serve.network import Network
from dld.structures.words import SpottingResult, read_results


@pytest.fixture
def client(start_server, spotter):
    return start_server(Network(spotter), batch_size=4)


def same(found: dict, expected: SpottingResult) -> None:
    wanted = expected.to_dict()
    words, own = found.pop("words"), wanted.pop("words")
    assert found == wanted
    for a, b in zip(words, own, strict=True):
        assert a["text"] == b["text"] and np.allclose(a["polygon"], b["polygon"], atol=0.01)
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)


def test_a_picture_gives_the_json_of_the_api(client, spotter, pictures):
    for picture in pictures[:3]:
        answer = client.read(picture)
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        assert answer.content.decode() == spotter(picture).to_json()


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("?scale=0.5", {"scale": 0.5}),
        ("?budget=0.4", {"budget": 0.4}),
        ("?rotation=90", {"rotation": 90}),
        ("?rotation=auto", {"rotation": "auto"}),
        ("?tile=64", {"tile": 64}),
        ("?scale=0.5&tile=off&budget=", {"scale": 0.5}),
    ],
)
def test_options_are_those_of_the_api(client, spotter, pictures, query, options):
    assert client.read(pictures[3], query).json == spotter(pictures[3], **options).to_dict()


def test_concurrent_requests_are_read_in_batches_and_get_their_own_words(start_server, spotter, pictures):
    client = start_server(Network(spotter), batch_size=3, batch_wait=2.0)
    answers = client.read_at_once(pictures)
    for answer, picture in zip(answers, pictures, strict=True):
        assert answer.status == 200
        same(answer.json, spotter(picture))
    assert client.metric("dld_batch_size_sum") == 6 and client.metric("dld_batch_size_count") == 2
    assert client.metric("dld_batch_size_bucket", le="2.0") == 0, "each batch had three"


def test_broken_pictures_harm_no_other(start_server, spotter, pictures):
    client = start_server(Network(spotter), batch_size=4, batch_wait=0.5)
    sent = [pictures[0], b"no picture", pictures[1], pictures[2][:200], pictures[3], b""]
    answers = client.read_at_once(sent)
    assert [answer.status for answer in answers] == [200, 415, 200, 400, 200, 400]
    for index in (0, 2, 4):
        same(answers[index].json, spotter(sent[index]))
    for index in (1, 3, 5):
        error = answers[index].json
        assert list(error) == ["error"] and "\n" not in error["error"]
    assert client.metric("dld_batch_size_sum") == 3


def test_forms(client, spotter, pictures, tmp_path):
    one = client.form(("file", "a.png", pictures[0]))
    assert one.json == spotter(pictures[0]).to_dict() | {"file_name": "a.png"}
    several = client.form(("files", "a.png", pictures[0]), ("files", "bad.png", b"oops"), ("files", "c.png", pictures[2]))
    assert several.status == 200
    (error,) = several.json["errors"]
    assert (error["file_name"], error["status"]) == ("bad.png", 415) and "bad.png" in error["error"]
    (tmp_path / "results.json").write_bytes(several.content)
    results = read_results(tmp_path / "results.json")
    assert [result.file_name for result in results] == ["a.png", "c.png"]
    same(several.json["images"][1], _named(spotter(pictures[2]), "c.png"))
    assert "errors" not in client.form(("files", "a.png", pictures[0])).json
    assert client.form(("files", "a", b"x"), ("files", "b", b"y")).status == 415, "none of them is a picture"


def _named(result, name):
    result.file_name = name
    return result


@pytest.mark.parametrize("fields", ["photo", "file file", "file files", ""])
def test_forms_of_other_fields_are_told_what_is_expected(client, fields):
    answer = client.form(*((field, "a.png", b"x") for field in fields.split()))
    assert answer.status == 400 and '"file"' in answer.json["error"] and '"files"' in answer.json["error"]


def test_other_formats(client, spotter, pictures):
    result = spotter(pictures[0])
    text = client.read(pictures[0], "?format=txt")
    assert text.content.decode() == result.text + "\n" and text.headers["content-type"].startswith("text/plain")
    rows = client.read(pictures[0], "?format=csv").content.decode().splitlines()
    assert rows[0].startswith("file,page,block") and len(rows) == 1 + len(result.words)
    assert b"ocrx_word" in client.read(pictures[0], "?format=hocr").content
    assert b"<alto" in client.read(pictures[0], "?format=alto").content
    pages = client.form(("files", "a.png", pictures[0]), ("files", "b.png", pictures[1]), query="?format=txt").content.decode()
    assert pages.count("\f") == 1
    broken = client.form(("files", "a.png", pictures[0]), ("files", "b.png", b"x"), query="?format=txt")
    assert broken.status == 415, "a document has no place for errors"
    wrong = client.read(pictures[0], "?format=docx")
    assert wrong.status == 400 and "json, txt, csv" in wrong.json["error"]


def test_searchable_pdf(client, pictures):
    pytest.importorskip("reportlab")
    answer = client.read(pictures[0], "?format=pdf")
    assert answer.content.startswith(b"%PDF-") and answer.headers["content-type"] == "application/pdf"


def test_pdf_without_its_extra(client, pictures, monkeypatch):
    def missing():
        raise ImportError('writing PDF needs reportlab: pip install "dld[pdf]"')

    monkeypatch.setattr("dld.serve.answers.check_installed", missing)
    answer = client.read(pictures[0], "?format=pdf")
    assert answer.status == 501 and "dld[pdf]" in answer.json["error"]


def test_any_kind_of_content_type(client, spotter, pictures):
    file = io.BytesIO()
    Image.open(io.BytesIO(pictures[0])).save(file, "WEBP", lossless=True)
    expected = spotter(pictures[0]).to_dict()
    for kind in ("image/webp", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"):
        assert client.send("/read", file.getvalue(), {"Content-Type": kind}).json == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?scale=9", "scale must be"),
        ("?scale=half", "scale must be"),
        ("?budget=-1", "budget must be"),
        ("?scale=0.5&budget=0.5", "not both"),
        ("?rotation=45", "rotation must be"),
        ("?tile=3", "tile must be"),
        ("?scael=0.5", "there is no option 'scael'"),
        ("?allow=123", "needs a reader of strips"),
    ],
)
def test_options_that_make_no_sense(client, pictures, query, says):
    answer = client.read(pictures[0], query)
    assert answer.status == 400 and says in answer.json["error"], answer.content


def test_too_many_tiles_are_refused_before_anybody_waits_for_them(client):
    file = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(file, "PNG")
    answer = client.read(file.getvalue(), "?tile=64")
    assert answer.status == 400 and "tiles, more than 100" in answer.json["error"]
    assert client.metric("dld_batch_size_count") == 0


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.send("/docs").content.decode()
    assert "/static-offline-docs/swagger-ui-bundle.js" in page and "https://" not in page
    assert client.send("/static-offline-docs/swagger-ui-bundle.js").status == 200
    described = json.loads(client.send("/openapi.json").content)
    assert set(described["paths"]) == {"/read", "/health", "/metrics"}
    names = {parameter["name"] for parameter in described["paths"]["/read"]["post"]["parameters"]}
    assert names == {"scale", "budget", "rotation", "tile", "allow", "format"}


def test_what_is_counted(client, spotter, pictures):
    client.read(pictures[0])
    client.read(b"bad")
    client.send("/nothing/here")
    assert client.metric("dld_requests_total", path="/read", status="200") == 1
    assert client.metric("dld_requests_total", path="/read", status="415") == 1
    assert client.metric("dld_requests_total", path="other", status="404") == 1
    assert client.metric("dld_request_seconds_count") == 2 and client.metric("dld_request_seconds_sum") > 0
    assert client.metric("dld_pictures_total") == 1 and client.metric("dld_queue_length") == 0
    assert client.metric("dld_words_total") == len(spotter(pictures[0]).words) > 0
    assert client.metric("process_resident_memory_bytes") > 1e7
