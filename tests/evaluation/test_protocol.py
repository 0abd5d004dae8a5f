import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from dld.evaluation.protocol import PROTOCOLS, LexiconRule, Protocol, get_protocol, icdar2015, totaltext


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="icdar2017.*known: icdar2013, icdar2015, totaltext, ctw1500, mango"):
        get_protocol("icdar2017")
    assert all(get_protocol(name).name == name for name in PROTOCOLS)


def test_every_rule_is_reported_and_is_json():
    for protocol in PROTOCOLS.values():
        rules = json.loads(json.dumps(protocol.rules()))
        assert set(rules) == {item.name for item in fields(Protocol)}
        assert set(rules["lexicon_rule"]) == {item.name for item in fields(LexiconRule)}


def test_rules_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        icdar2015.iou_threshold = 0.4


def test_mango_is_a_looser_total_text():
    loose, strict = get_protocol("mango").rules(), totaltext.rules()
    changed = {key: (loose[key], strict[key]) for key in strict if loose[key] != strict[key]}
    assert changed == {"name": ("mango", "totaltext"), "iou_threshold": (0.1, 0.5), "dont_care_overlap": (0.1, 0.5)}


@pytest.mark.parametrize("text, icdar, total", [("###", 1, 1), ("#", 0, 1), ("##", 0, 1), ("#####", 0, 1), ("", 0, 0)])
def test_dont_care_texts(text, icdar, total):
    assert icdar2015.is_dont_care(text) == bool(icdar)
    assert totaltext.is_dont_care(text) == bool(total)
    assert not icdar2015.is_dont_care("A" + text)


@pytest.mark.parametrize("change", [{"layout": "circle"}, {"matching_order": "best"}, {"self_intersecting_area": "hull"}])
def test_rules_that_do_not_exist_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(icdar2015, **change)


def test_lexicon_rules_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="beyond_limit must be one of keep, drop"):
        LexiconRule(beyond_limit="lose")
