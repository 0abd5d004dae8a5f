"""Configurations that were written by an earlier version."""

import pytest
from detectron2.config import CfgNode

from dld.config import get_dld_cfg
from dld.config_files import REMOVED, RENAMED, merge_file, merge_overrides, merge_stored

OLD = """
MODEL:
  SELECTOR:
    NAME: WordLossSelector
    CHANNELS: [8, 16]
    NORM: ''
    LEVEL: res4
    WORD_LOSS: spotting
    WORDS_PER_IMAGE: 3.0
    TARGET_TEMPERATURE: 0.2
    FORM: gumbel
    TEMPERATURE: 4.0
    DECAY: 0.9
    EPOCHS: 40
"""


def check(node: CfgNode) -> None:
    assert (node.WORDS.LOSS, node.WORDS.PER_IMAGE, node.WORDS.LEVEL) == ("spotting", 3.0, "res4")
    for own in (node.RESOLUTION, node.BACKBONE):
        assert (own.FORM, own.TEMPERATURE, own.DECAY, own.EPOCHS) == ("gumbel", 4.0, 0.9, 40)
    assert {own.TARGET_TEMPERATURE for own in (node.RESOLUTION, node.BACKBONE, node.WORDS)} == {0.2}
    assert node.RESOLUTION.CHANNELS == [8, 16] and node.BACKBONE.LEVEL == "res4"
    assert node.NAME == "WordLossSelector" and "WORD_LOSS" not in node and "NORM" not in node


def test_a_stored_configuration_of_an_earlier_version_is_read():
    cfg = get_dld_cfg()
    merge_stored(cfg, OLD)
    check(cfg.MODEL.SELECTOR)


def test_so_is_a_file(tmp_path):
    (tmp_path / "base.yaml").write_text(OLD)
    (tmp_path / "own.yaml").write_text("_BASE_: base.yaml\nMODEL:\n  SELECTOR:\n    MU: 2.0\n")
    cfg = get_dld_cfg()
    merge_file(cfg, str(tmp_path / "own.yaml"))
    check(cfg.MODEL.SELECTOR)
    assert cfg.MODEL.SELECTOR.MU == 2.0


def test_so_is_a_command_line():
    cfg = get_dld_cfg()
    old = ["MODEL.SELECTOR.WORD_LOSS", "spotting", "MODEL.SELECTOR.TARGET_TEMPERATURE", 1]
    merge_overrides(cfg, [*old, "MODEL.SELECTOR.MU", 3])
    node = cfg.MODEL.SELECTOR
    assert node.WORDS.LOSS == "spotting" and node.WORDS.TARGET_TEMPERATURE == node.BACKBONE.TARGET_TEMPERATURE == 1.0
    assert node.MU == 3.0


def test_what_is_no_longer_there_is_named():
    with pytest.raises(ValueError, match="MODEL.SELECTOR.NORM 'GN' is no longer there"):
        merge_stored(get_dld_cfg(), "MODEL:\n  SELECTOR:\n    NORM: GN\n")


def test_every_new_name_exists_and_no_old_one():
    cfg = get_dld_cfg()

    def exists(name):
        node = cfg
        for part in name.split("."):
            if not isinstance(node, CfgNode) or part not in node:
                return False
            node = node[part]
        return True

    assert not [name for name in (*RENAMED, *REMOVED) if exists(name)]
    assert all(exists(name) for names in RENAMED.values() for name in names)
