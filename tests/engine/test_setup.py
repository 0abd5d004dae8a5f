import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.synthesis.config import SynthStripsConfig
from dld.engine.setup import load_config, register_datasets


def test_overrides_win_over_the_file_and_the_file_over_the_defaults():
    cfg = load_config("configs/teacher_tiny.yaml", ["SOLVER.BASE_LR", "0.5", "DATASETS.TRAIN", "('a', 'b')"])
    assert cfg.SOLVER.BASE_LR == 0.5 and cfg.DATASETS.TRAIN == ("a", "b")
    assert cfg.MODEL.RECOGNITION.WIDTH == 96 and cfg.MODEL.TEXT.IGNORE_OVERLAP == 0.5


def test_the_device_falls_back_to_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert load_config("configs/teacher_R50.yaml").MODEL.DEVICE == "cpu"


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="configs/teacher_huge.yaml"):
        load_config("configs/teacher_huge.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL:\n  RECOGNISER: 1\n", "RECOGNISER"),
        ("SOLVER:\n  BASE_LR: fast\n", "BASE_LR"),
        ("MODEL: [\n", "bad.yaml"),
        ("_BASE_: nowhere.yaml\n", "nowhere.yaml"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(str(tmp_path / "bad.yaml"))
    assert "bad.yaml" in str(caught.value)


def test_a_file_that_builds_python_objects_is_refused_and_runs_nothing(tmp_path):
    sprung = tmp_path / "sprung"
    for name, text in (("a.yaml", "OUTPUT_DIR: !!python/object/apply:os.mkdir ['{}']\n"), ("b.yaml", "_BASE_: a.yaml\n")):
        (tmp_path / name).write_text(text.format(sprung))
        with pytest.raises(ValueError, match=rf"{name}.*python/object"):
            load_config(str(tmp_path / name))
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        (["SOLVER.BASE_LR"], ValueError, "odd number of words: SOLVER.BASE_LR"),
        (["SOLVER.BASE_RATE", "1"], KeyError, "SOLVER.BASE_RATE"),
        (["SOLVER.BASE_LR", "fast"], ValueError, "BASE_LR"),
        (["MODEL.DEVICE.KIND", "1"], KeyError, "MODEL.DEVICE.KIND"),
    ],
)
def test_mistakes_in_overrides_are_named(opts, error, message):
    with pytest.raises(error, match=message):
        load_config("", opts)


def test_a_json_of_ones_own_is_registered_from_the_command_line(tmp_path):
    image = {"file_name": "a.jpg", "id": "a", "width": 9, "height": 9, "words": []}
    (tmp_path / "own.json").write_text(json.dumps({"schema": "dld-text/1", "name": "own", "images": [image]}))
    entry = f"[['own_signs', '{tmp_path}/own.json', '{tmp_path}', 'totaltext']]"
    try:
        register_datasets(load_config("", ["DATASETS.REGISTER", entry]))
        assert [d["image_id"] for d in DatasetCatalog.get("own_signs")] == ["a"]
        assert MetadataCatalog.get("own_signs").protocol == "totaltext"
    finally:
        if "own_signs" in DatasetCatalog.list():
            DatasetCatalog.remove("own_signs")
            MetadataCatalog.remove("own_signs")


@pytest.mark.parametrize("entry", ["['own', 'a.json', 'images']", "[['own', 'a.json']]"])
def test_an_entry_of_another_shape_is_shown(entry):
    with pytest.raises(ValueError, match="DATASETS.REGISTER.*own"):
        register_datasets(load_config("", ["DATASETS.REGISTER", entry]))


def test_generated_strips_follow_the_configuration_and_the_looks_of_pages(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("caf\u00e9 na\u00efve")
    options = [["words_file", str(words)], ["curved_rate", 0.1]]
    given = ["DATASETS.SYNTHWORDS.OPTIONS", str(options), "DATASETS.SYNTHSTRIPS.WORDS", "5", "DATASETS.SYNTHSTRIPS.SEED", "3"]
    try:
        register_datasets(load_config("", [*given, "DATASETS.SYNTHSTRIPS.OPTIONS", "[['warp', 0.5]]"]))
        val = DatasetCatalog.get("synthstrips_val")
        assert len(val) == 200 and val.config == SynthStripsConfig(words=5, seed=3, warp=0.5, words_file=str(words))
    finally:
        register_datasets(load_config(""))
    assert DatasetCatalog.get("synthstrips_train").config == SynthStripsConfig()


@pytest.mark.parametrize("options", ["['curved_rate', 0.2]", "[['curved_rate']]", "[['curved_rate', 1, 2]]"])
@pytest.mark.parametrize("node", ["SYNTHWORDS", "SYNTHSTRIPS"])
def test_options_of_another_form_are_shown(node, options):
    message = rf"^DATASETS\.{node}\.OPTIONS must be a list of \[name, value\] such as .*, got .*curved_rate.*$"
    with pytest.raises(ValueError, match=message):
        register_datasets(load_config("", [f"DATASETS.{node}.OPTIONS", options]))


def test_the_generated_set_follows_the_configuration():
    register_datasets(load_config("", ["DATASETS.SYNTHWORDS.VAL_LENGTH", "7", "DATASETS.SYNTHWORDS.SIZE", "[64, 96]"]))
    try:
        val = DatasetCatalog.get("synthwords_val")
        assert len(val) == 7 and val.config.size == (64, 96)
    finally:
        register_datasets(load_config(""))
