"""Faces: how many there are, what they can draw, and the label of what they draw."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from dld.data.synthesis.fonts import PRINTABLE, find_font_files, load_faces

needs_packages = pytest.mark.skipif(
    importlib.util.find_spec("fontpkg_bebas_neue") is None, reason="the fontpkg-* packages are not installed"
)


def dejavu() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@needs_packages
def test_at_least_twenty_families():
    assert len(load_faces()) >= 20


@needs_packages
@pytest.mark.parametrize("family", ["Bebas Neue", "Bungee", "Cinzel", "Luckiest Guy", "Permanent Marker"])
def test_families_that_draw_lower_case_as_capitals_are_labelled_in_capitals(family):
    for face in load_faces()[family]:
        assert face.label("Cafe 9b") == "CAFE 9B"


@needs_packages
@pytest.mark.parametrize("family", ["Roboto", "Oswald", "Lobster", "Press Start 2P", "Orbitron", "Titan One", "Caveat"])
def test_families_with_a_lower_case_keep_it_in_the_label(family):
    for face in load_faces()[family]:
        assert face.label("Cafe") == "Cafe"


@needs_packages
def test_a_face_without_a_glyph_refuses_the_word():
    face = load_faces()["Orbitron"][0]  # has no circumflex
    assert face.can_draw("A1")
    assert not face.can_draw("A^1")


def test_a_folder_of_fonts_replaces_the_packages(tmp_path):
    shutil.copy(dejavu() / "DejaVuSans.ttf", tmp_path / "a.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    families = load_faces(str(tmp_path))
    assert list(families) == ["DejaVu Sans"]
    assert families["DejaVu Sans"][0].characters == frozenset(PRINTABLE)
    assert not families["DejaVu Sans"][0].unicase


def test_an_empty_folder_is_named_in_the_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        load_faces(str(tmp_path))


def test_without_font_packages_dejavu_is_used_and_said(monkeypatch, caplog):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    files = find_font_files()
    assert files and all(path.name.startswith("DejaVu") for path in files)
    assert "falls back to DejaVu" in caplog.text


def test_capitals_have_the_height_asked_for(tmp_path):
    shutil.copy(dejavu() / "DejaVuSans.ttf", tmp_path / "a.ttf")
    face = load_faces(str(tmp_path))["DejaVu Sans"][0]
    for wanted in (10, 25, 60):
        ink, _, top = face.mask("HIE", wanted)
        assert abs(ink.shape[0] - wanted) <= 1
        assert abs(top + wanted) <= 1  # capitals stand on the baseline
    assert face.mask("gap", 40)[2] > -40  # lower case starts below the height of capitals
    assert face.mask("HIE", 25, tracking=0.5)[0].shape[1] >= face.mask("HIE", 25)[0].shape[1] + 20


def test_nothing_is_drawn_for_an_empty_word():
    face = next(iter(load_faces().values()))[0]
    assert not np.any(face.mask("", 20)[0])


@needs_packages
def test_other_characters_are_known_only_where_there_is_a_glyph():
    more = "\u00e4\u00df\u03c9\u4e2d"  # a with dots, sharp s, omega, a Chinese character
    with_more = load_faces(None, more)
    assert {name: len(faces) for name, faces in with_more.items()} == {n: len(f) for n, f in load_faces().items()}
    from fontTools.ttLib import TTFont

    for name, faces in with_more.items():
        mapped = set(TTFont(faces[0].path, lazy=True).getBestCmap())
        assert {c for c in more if c in faces[0].characters} <= {c for c in more if ord(c) in mapped}
        assert faces[0].characters & set(PRINTABLE) == load_faces()[name][0].characters
        if faces[0].unicase:
            assert "\u00df" not in faces[0].characters  # drawn as SS, as a capital of its own, or small
    assert any("\u00e4" in faces[0].characters for faces in with_more.values())
    assert not any(faces[0].can_draw("\u4e2d") for faces in with_more.values())
