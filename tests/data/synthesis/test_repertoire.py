"""A word list of another script: drawn in the fonts that have it; what no font has is said, and not drawn as boxes."""

import shutil
from pathlib import Path

import pytest

from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.fonts import load_faces
from dld.data.synthesis.repertoire import check_repertoire
from dld.data.synthesis.scene import render_synthwords
from dld.data.synthesis.synthwords import register_synthwords


@pytest.fixture
def fonts(tmp_path):
    """A folder with DejaVu Sans, which has Greek and no Chinese."""
    import matplotlib

    folder = tmp_path / "fonts"
    folder.mkdir()
    shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", folder)
    return str(folder)


def words_file(folder, text) -> str:
    path = Path(folder) / "words.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_words_of_another_script_come_up_as_they_are_written(tmp_path, fonts):
    greek = ("\u03ba\u03b1\u03c6\u03ad\u03c2", "\u03bf\u03b4\u03cc\u03c2", "\u03b8\u03ac\u03bb\u03b1\u03c3\u03c3\u03b1")
    path = words_file(tmp_path, " ".join(greek))
    assert check_repertoire(path, fonts) == ""
    config = SynthWordsConfig(size=(192, 192), words_file=path, fonts_dir=fonts, density=1.0, max_words=12)
    texts = [word.text for index in range(6) for word in render_synthwords(index, config=config).words]
    styles = {style(word) for word in greek for style in (str, str.upper, str.title)}
    assert len(styles & set(texts)) >= 3
    face = load_faces(fonts, "".join(sorted({c for w in greek for c in w + w.upper()})))["DejaVu Sans"][0]
    assert all(face.can_draw(text) for text in texts if not text.isascii())


def test_characters_without_a_font_are_named_and_their_words_never_drawn(tmp_path, fonts, caplog):
    path = words_file(tmp_path, "K\u00e4se \u6771\u4eac caf\u00e9")
    assert check_repertoire(path, fonts) == "\u4eac\u6771"
    assert "1 of 3 words are never drawn" in caplog.text and "\u4eac\u6771" in caplog.text
    config = SynthWordsConfig(size=(160, 160), words_file=path, fonts_dir=fonts, density=1.0)
    texts = "".join(word.text for index in range(8) for word in render_synthwords(index, config=config).words)
    assert not set(texts) & set("\u4eac\u6771")


def test_a_list_that_no_font_can_draw_is_refused_before_training(tmp_path, fonts):
    path = words_file(tmp_path, "\u6771\u4eac \u5927\u962a")
    with pytest.raises(ValueError, match="can draw none of its words.*FONTS_DIR"):
        register_synthwords("of_a_script_without_fonts", words_file=path, fonts_dir=fonts)


def test_a_list_that_is_not_there_is_named_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        register_synthwords("of_no_list", words_file=str(tmp_path / "nowhere.txt"))
