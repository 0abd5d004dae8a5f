"""Our configuration files are found from any folder, and nothing else is."""

import pytest

from dld.engine import setup
from dld.engine.setup import find_config, load_config


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with its own `configs`, and another working folder."""
    for name in ("dld/engine/setup.py", "dld/configs/Base-X.yaml", "dld/configs/x.yaml", "dld/configs/deep/y.yaml", "z.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("OUTPUT_DIR: packaged\n")
    (tmp_path / "dld/configs/deep/y.yaml").write_text("_BASE_: ../x.yaml\nSEED: 5\n")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(setup, "__file__", str(tmp_path / "dld" / "engine" / "setup.py"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_from_any_folder_the_files_of_the_checkout_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config("configs/ablations/skd_only.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch" and cfg.OUTPUT_DIR == "output/ablations/skd_only"


def test_an_installed_package_brings_its_own(package):
    assert find_config("configs/x.yaml") == find_config("x.yaml") == str(package / "dld" / "configs" / "x.yaml")
    cfg = load_config("configs/deep/y.yaml")
    assert cfg.OUTPUT_DIR == "packaged" and cfg.SEED == 5


def test_a_file_of_ones_own_goes_first(package):
    (package / "work" / "configs").mkdir()
    (package / "work" / "configs" / "x.yaml").write_text("OUTPUT_DIR: own\n")
    assert load_config("configs/x.yaml").OUTPUT_DIR == "own"


@pytest.mark.parametrize("name", ["configs/none.yaml", "configs/../../z.yaml", "../configs/x.yaml", "/configs/x.yaml", "deep"])
def test_what_does_not_exist_is_named_with_what_does(package, name):
    with pytest.raises(FileNotFoundError) as caught:
        find_config(name)
    expected = f"configuration file {name} does not exist; configs/ holds Base-X.yaml, deep/y.yaml, x.yaml"
    assert str(caught.value) == expected
