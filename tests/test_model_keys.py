"""Keys that a package of one's own adds to every configuration."""

import pytest
from detectron2.config import CfgNode

import dld.config
from dld.config import add_model_keys, get_dld_cfg
from dld.config_files import merge_overrides, merge_stored


@pytest.fixture(autouse=True)
def own_keys(monkeypatch):
    monkeypatch.setattr(dld.config, "_ADDED", {})


def test_every_configuration_has_the_keys_with_values_of_its_own():
    node = CfgNode({"WIDTH": 32})
    add_model_keys("CELLS", node)
    node.WIDTH = 1
    first, second = get_dld_cfg(), get_dld_cfg()
    merge_overrides(first, ["MODEL.CELLS.WIDTH", "8"])
    assert (first.MODEL.CELLS.WIDTH, second.MODEL.CELLS.WIDTH) == (8, 32)
    merge_stored(second, first.dump())
    assert second.MODEL.CELLS.WIDTH == 8


def test_a_module_that_is_loaded_again_changes_its_keys():
    for width in (32, 64):
        add_model_keys("CELLS", CfgNode({"WIDTH": width}))
    assert get_dld_cfg().MODEL.CELLS.WIDTH == 64


def test_a_name_that_is_taken_is_refused():
    for name in ("STRIPS", "BACKBONE"):
        with pytest.raises(ValueError, match=rf"MODEL\.{name} is a key of detectron2 or DLD"):
            add_model_keys(name, CfgNode())


def test_weights_with_keys_of_a_package_that_is_not_imported_say_so():
    add_model_keys("CELLS", CfgNode({"WIDTH": 32}))
    text = get_dld_cfg().dump()
    dld.config._ADDED.clear()
    with pytest.raises(KeyError, match="MODEL.CELLS"):
        merge_stored(get_dld_cfg(), text)
