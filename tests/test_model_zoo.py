"""Facts about shipped weights: found by name, never without a look at their hash."""

import hashlib
import json

import pytest

from dld import model_zoo
from dld.cli.index_entries import file_facts
from dld.compare.readers import DldReader
from dld.compare.weights_choice import WeightsChoice
from dld.export.exporter import about_weights
from dld.inference.predictor import TextSpotter
from dld.model_zoo import (
    find_weights,
    list_weights,
    sha256_of,
    variant_id,
    variant_options,
    weights_address,
    weights_id,
    with_variants,
)
from dld.study.measure import StudiedSpotter
from dld.weights import config_from_checkpoint, stored_config

INDEX = json.loads(p.read_text()) if (p := model_zoo.FOLDER / "index.json").is_file() else {}
SHIPPED = sorted(INDEX)
VARIANTS = sorted(name for name, entry in INDEX.items() if "of" in entry)
OPTIONS = {"MODEL.SELECTOR.MU": 3.0, "MODEL.DISTILLATION.GAMMA": 0.3}


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
        assert line.split()[0] == name and entry["what"] in line
        assert (f"(the file of {entry['of']})" if "of" in entry else f"({entry['bytes'] / 1e6:.1f} MB)") in line


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


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - set(VARIANTS)))
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


@pytest.fixture
def variant(folder):
    """`third`, a variant of `first`."""
    entries = json.loads((folder / "index.json").read_text())
    entries["first"] |= {"what": "all", "bytes": 3, "packed_from": "0", "scores": {"photos": {}}}
    entries["first"]["config"] = {"MODEL": {"SELECTOR": {"MU": 0.0, "LEVEL": "res3"}}}
    entries["third"] = {"what": "cheap", "of": "first", "options": OPTIONS, "scores": {}, "recipe": []}
    (folder / "index.json").write_text(json.dumps(entries))
    return folder


def test_a_variant_has_the_file_of_what_it_is_of_and_options_of_its_own(variant):
    entry = list_weights()["third"]
    assert (entry["file"], entry["bytes"], entry["what"], entry["scores"]) == ("a.safetensors", 3, "cheap", {})
    assert entry["config"] == {"MODEL": {"SELECTOR": {"MU": 3.0, "LEVEL": "res3"}, "DISTILLATION": {"GAMMA": 0.3}}}
    assert "packed_from" not in entry and list_weights()["first"]["config"]["MODEL"]["SELECTOR"]["MU"] == 0
    path = str(variant / "a.safetensors")
    for name in ("third", "dld://third"):
        assert find_weights(name) == path and weights_address(name) == "dld://third"
        assert variant_options(name) == ["MODEL.SELECTOR.MU", 3.0, "MODEL.DISTILLATION.GAMMA", 0.3]
    for name in ("first", "dld://first", path):
        assert weights_address(name) == path and variant_options(name) == []


def test_studies_do_not_take_a_variant_for_what_it_is_of(variant):
    digest = sha256_of(variant / "a.safetensors")
    assert weights_id("first") == weights_id(variant / "a.safetensors") == digest
    assert weights_id("third") == weights_id("dld://third") == variant_id(digest, OPTIONS) != digest
    assert variant_id(digest, OPTIONS) == variant_id(digest, dict(reversed(OPTIONS.items())))
    assert (
        len({variant_id(digest, o) for o in (OPTIONS, {**OPTIONS, "MODEL.SELECTOR.MU": 2.0})} | {variant_id("0", OPTIONS)}) == 3
    )


def test_a_variant_of_what_is_not_there_is_named(variant):
    entries = json.loads((variant / "index.json").read_text())
    for base in ("none", "third"):
        with pytest.raises(ValueError, match=f"'fourth' is a variant of '{base}', which has no file"):
            with_variants({**entries, "fourth": {"of": base, "options": {}}})
    (variant / "a.safetensors").write_bytes(b"abd")
    with pytest.raises(ValueError, match="a.safetensors has SHA-256"):
        weights_address("third")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_options_of_a_shipped_variant_reach_whoever_opens_it(name):
    entry, base = list_weights()[name], INDEX[name]["of"]
    assert entry["scores"] and entry["recipe"] and not set(INDEX[name]) & {"file", "sha256", "bytes", "config"}
    wanted = config_from_checkpoint(find_weights(base))
    wanted.merge_from_list(variant_options(name))
    address = weights_address(name)
    assert (
        stored_config(name).MODEL == stored_config(address).MODEL == wanted.MODEL | {"WEIGHTS": ""} != stored_config(base).MODEL
    )
    whole = TextSpotter.from_checkpoint(find_weights(base), variant_options(name), "cpu", fuse=False)
    for spotter in (TextSpotter.from_pretrained(name, "cpu"), TextSpotter.from_checkpoint(name, device="cpu")):
        assert float(spotter.model.mu) == float(whole.model.mu) == INDEX[name]["options"]["MODEL.SELECTOR.MU"]
        assert spotter.cfg.MODEL.DISTILLATION == whole.cfg.MODEL.DISTILLATION
    # an override goes before what the variant says
    assert float(TextSpotter.from_pretrained(name, "cpu", ["MODEL.SELECTOR.MU", "1.5"]).model.mu) == 1.5
    keys = [StudiedSpotter.load("x", weights_address(n)).key() for n in (base, name)]
    assert keys[0]["weights"] != keys[1]["weights"] == weights_id(name) and keys[0]["model"] != keys[1]["model"]
    reader = DldReader(WeightsChoice.parse(name), 1)
    assert (
        reader.name == name
        and reader.about["sha256"] == weights_id(name)
        and float(reader.spotter.model.mu) == float(whole.model.mu)
    )
    about = about_weights(address)
    assert about["file"] == entry["file"] and about["sha256"] == entry["sha256"] and "MODEL.SELECTOR.MU" in about["options"]
    assert about_weights(find_weights(base)).keys() == {"file", "sha256"}
