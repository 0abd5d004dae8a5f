"""Facts about shipped weights: found by name, never without a look at their hash."""

import hashlib
import json

import pytest

from dld import model_zoo
from dld.cli.pack import file_facts
from dld.inference.predictor import TextSpotter
from dld.model_zoo import find_weights, list_weights, sha256_of

SHIPPED = sorted(json.loads(p.read_text()) if (p := model_zoo.FOLDER / "index.json").is_file() else {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    entries = {"first": {"file": "a.safetensors", "sha256": digest}, "second": {"file": "b.safetensors", "sha256": "0"}}
    (tmp_path / "index.json").write_text(json.dumps(entries))
    monkeypatch.setattr(model_zoo, "FOLDER", tmp_path)
    return tmp_path


def test_weights_are_found_by_name(folder):
    assert list(list_weights()) == ["first", "second"]
    assert find_weights("first") == str(folder / "a.safetensors")


def test_an_unknown_name_is_answered_with_the_known_ones(folder):
    with pytest.raises(KeyError, match="no shipped weights are called 'frist'; there are: first, second"):
        find_weights("frist")


def test_an_unknown_name_is_answered_with_a_line_for_each_known_one():
    with pytest.raises(KeyError) as caught:
        TextSpotter.from_pretrained("nonsense")
    assert "'nonsense'" in str(caught.value) and "\n" not in str(caught.value)
    lines = caught.value.__notes__[0].splitlines()  # what a traceback shows below the message
    assert len(lines) == len(SHIPPED)
    for line, (name, entry) in zip(lines, sorted(list_weights().items()), strict=True):
        assert line.split()[0] == name and entry["what"] in line and f"({entry['bytes'] / 1e6:.1f} MB)" in line


def test_a_file_that_is_gone_is_named(folder):
    with pytest.raises(FileNotFoundError, match="b.safetensors is missing"):
        find_weights("second")


def test_a_changed_file_is_refused(folder):
    (folder / "a.safetensors").write_bytes(b"abd")
    with pytest.raises(ValueError, match="a.safetensors has SHA-256 .* the index says ba7816bf"):
        find_weights("first")


def test_the_hash_of_a_file_longer_than_one_block(tmp_path):
    content = bytes(range(256)) * 8195
    (tmp_path / "long").write_bytes(content)
    assert len(content) > 1 << 21 and sha256_of(tmp_path / "long") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_what_the_index_says(name):
    """Hash, size, parameters, charset and every key of the configuration."""
    entry, facts = list_weights()[name], file_facts(find_weights(name))
    assert {key: entry[key] for key in facts} == facts
    assert facts["bytes"] <= 20e6
    assert entry["licence"] and entry["training_data"] and entry["words_seen"] and entry["scores"]
    assert "icdar2015_val" not in {data["name"] for data in entry["training_data"]} | set(facts["config"]["DATASETS"]["TRAIN"])


def test_a_name_an_address_and_a_path_are_the_same_weights(folder, monkeypatch):
    path = str(folder / "a.safetensors")
    for name in ("first", "dld://first", path, folder / "a.safetensors"):
        assert find_weights(name) == path
    monkeypatch.chdir(folder)
    (folder / "first").touch()
    assert find_weights("first") == path, "a stray file is not taken for shipped weights"
    assert find_weights("./first") == "./first"
    (folder / "own").touch()
    assert find_weights("own") == "own"


@pytest.mark.parametrize("name", ["deep/none.pth", "none.pth", "./first", "dld"])
def test_a_path_that_is_no_file_is_named(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "dld").mkdir()
    with pytest.raises(FileNotFoundError, match=f"weights {name}"):
        find_weights(name)


def test_readers_are_listed_where_one_is_asked_for(folder):
    entry = {"file": "a.safetensors", "what": "reads strips"}
    (folder / "readers.json").write_text(json.dumps({"strips": entry}))
    for name in ("strip", "dld://strip"):
        message = "no shipped weights are called 'strip'; there are: first, second"
        with pytest.raises(KeyError) as caught:
            find_weights(name, readers=True)
        assert str(caught.value) == f"{message}; readers of strips: strips" and "reads strips" in caught.value.__notes__[0]
        with pytest.raises(KeyError) as caught:
            find_weights(name)
        assert str(caught.value) == message and "reads strips" not in caught.value.__notes__[0]
