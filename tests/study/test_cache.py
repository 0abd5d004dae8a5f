"""Facts about the cache of a study: it survives interruption, and knows what it holds."""

import json

from dld.study.cache import MeasurementCache, file_label, fingerprint

KEY = {"weights": "abc", "scale": 0.5}


def test_what_was_added_is_there_for_the_next_process(tmp_path):
    cache = MeasurementCache(tmp_path, "teacher", KEY)
    assert not cache.path.exists() and len(cache) == 0
    cache.add(3, {"ms": 1.5})
    cache.add(0, {"ms": 2.5})
    again = MeasurementCache(tmp_path, "teacher", dict(reversed(KEY.items())))
    assert again.path == cache.path and len(again) == 2
    assert 3 in again and 1 not in again and again[0] == {"ms": 2.5}
    assert json.loads(cache.path.read_text().splitlines()[0]) == {"key": KEY}


def test_another_key_is_another_file(tmp_path):
    MeasurementCache(tmp_path, "teacher", KEY).add(0, {"ms": 1})
    assert 0 not in MeasurementCache(tmp_path, "teacher", {**KEY, "scale": 0.6})


def test_a_line_cut_off_by_an_interruption_is_measured_again(tmp_path, caplog):
    cache = MeasurementCache(tmp_path, "x", KEY)
    for index in range(3):
        cache.add(index, {"ms": index})
    text = cache.path.read_text()
    cache.path.write_text(text[:-4])
    again = MeasurementCache(tmp_path, "x", KEY)
    assert 1 in again and 2 not in again and "measured again" in caplog.text
    again.add(2, {"ms": 2})
    assert cache.path.read_text() == text


def test_names_become_parts_of_file_names():
    assert file_label("DLD, gamma=0.1/b") == "DLD_gamma_0.1_b"
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
