"""Readers: what they are told, what they ask for when something is missing, and that ours read as `TextSpotter` does."""

import os
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from dld.compare import readers
from dld.compare.readers import DldReader, RapidOcrReader, TesseractReader
from dld.compare.weights_choice import WeightsChoice
from dld.inference.predictor import TextSpotter

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)


@pytest.fixture
def big_word():
    """A white picture with one black word in large letters, and the box of its ink (x0, y0, x1, y1)."""
    image = np.full((200, 500, 3), 255, np.uint8)
    cv2.putText(image, "Stone", (80, 130), cv2.FONT_HERSHEY_DUPLEX, 3, (0, 0, 0), 6, cv2.LINE_AA)
    y, x = np.nonzero(image[:, :, 0] < 128)
    return image, np.array([x.min(), y.min(), x.max(), y.max()])


@pytest.fixture
def rapidocr(monkeypatch):
    """A package `rapidocr` with the names of the real one; what it was told lies in `seen`."""
    module, part = ModuleType("rapidocr"), SimpleNamespace(value="PP-OCRv6")
    models = {"ocr_version": part, "task_type": SimpleNamespace(value="rec"), "model_type": part, "lang_type": "ch"}

    class Config(dict):
        model_path = None

    class Engine:
        def __init__(self, params):
            module.seen = {**params, "pixels": None}
            self.cfg = SimpleNamespace(Det=Config(models), Cls=Config(models), Rec=Config(models))

        def __call__(self, pixels):
            module.seen["pixels"] = pixels
            box = [[1, 2], [9, 2], [9, 6], [1, 6]]
            return SimpleNamespace(txts=("exit",), scores=(0.9,), boxes=np.array([box]), word_results=((("exit", 1.0, box),),))

    module.RapidOCR = Engine
    monkeypatch.setitem(sys.modules, "rapidocr", module)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="1.2"))
    monkeypatch.setattr(readers, "version", lambda package: f"{package} 3.4")
    return module


@pytest.fixture
def pytesseract(monkeypatch):
    """The same of `pytesseract`."""
    module = ModuleType("pytesseract")
    module.TesseractNotFoundError = type("TesseractNotFoundError", (EnvironmentError,), {})
    module.Output = SimpleNamespace(DICT="dict")
    module.get_tesseract_version = lambda: "5.3.0"
    module.get_languages = lambda: ["eng", "osd"]

    def image_to_data(image, **options):
        limits = {name: os.environ.get(name) for name in ("OMP_THREAD_LIMIT", "OMP_NUM_THREADS")}
        module.seen = {"image": image, **options, **limits}
        return {"text": ["", "exit"], "conf": [-1, 80], "left": [0, 1], "top": [0, 2], "width": [80, 8], "height": [60, 4]}

    module.image_to_data = image_to_data
    monkeypatch.setitem(sys.modules, "pytesseract", module)
    monkeypatch.setattr(readers, "version", lambda package: "0.3")
    return module


def test_rapidocr_is_told_its_threads_and_asked_for_words(rapidocr):
    reader = RapidOcrReader(3)
    assert rapidocr.seen["EngineConfig.onnxruntime.intra_op_num_threads"] == 3
    assert rapidocr.seen["Global.return_word_box"] is True
    result = reader(PIXELS)
    assert rapidocr.seen["pixels"] is PIXELS  # BGR, in the resolution of the file
    assert [word.text for word in result.words] == ["exit"] and (result.width, result.height) == (80, 60)
    assert reader.about["models"]["Rec"] == "PP-OCRv6 rec PP-OCRv6 ch"
    assert reader.about["versions"] == {"rapidocr": "rapidocr 3.4", "onnxruntime": "1.2"}


def test_tesseract_gets_an_rgb_picture_a_mode_and_a_limit_of_threads(pytesseract, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    reader = TesseractReader(2, 6)
    result = reader(PIXELS)
    seen = pytesseract.seen
    assert (seen["OMP_THREAD_LIMIT"], seen["OMP_NUM_THREADS"]) == ("2", "2")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "OMP_THREAD_LIMIT" not in os.environ
    assert (seen["config"], seen["lang"], seen["image"].format) == ("--psm 6", "eng", "PPM")
    assert np.array_equal(np.asarray(seen["image"]), PIXELS[:, :, ::-1])
    assert reader.name == "tesseract psm 6"
    assert [(word.text, word.polygon.tolist()) for word in result.words] == [("exit", [[1, 2], [9, 2], [9, 6], [1, 6]])]


@pytest.mark.parametrize("package", ["rapidocr", "onnxruntime", "pytesseract"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(rapidocr, pytesseract, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    reader = TesseractReader if package == "pytesseract" else RapidOcrReader
    with pytest.raises(ImportError, match=rf'{package}.*pip install "dld\[readers\]"'):
        reader(1)


def test_a_missing_program_or_language_is_named_with_its_package(pytesseract):
    pytesseract.get_languages = lambda: ["osd"]
    with pytest.raises(FileNotFoundError, match="apt install tesseract-ocr-eng"):
        TesseractReader(1)

    def missing():
        raise pytesseract.TesseractNotFoundError("tesseract is not installed")

    pytesseract.get_tesseract_version = missing
    with pytest.raises(FileNotFoundError, match="apt install tesseract-ocr "):
        TesseractReader(1)


@pytest.mark.parametrize("mode", [0, 2, 14, -1])
def test_modes_that_read_nothing_are_refused(mode):
    with pytest.raises(ValueError, match=f"got {mode}"):
        TesseractReader(1, mode)


def test_ours_read_as_the_spotter_does(tiny_weights, make_record):
    pixels = make_record()["image"]
    path = tiny_weights["student"]
    spotter = TextSpotter.from_checkpoint(path, ["INPUT.MIN_SIZE_TEST", 128], "cpu")
    for text, options in ((path, {}), (f"{path}@0.5", {"scale": 0.5}), (f"{path}@budget=0.9", {"budget": 0.9})):
        reader = DldReader(WeightsChoice.parse(text), 1, short_side=128)
        assert reader(pixels).to_dict() == spotter(pixels, **options).to_dict()
        assert reader.about["short_side"] == 128 and options.items() <= reader.about.items()


def test_what_decides_the_words_of_ours_is_in_their_description(tiny_weights):
    choice = WeightsChoice.parse(tiny_weights["teacher"])
    plain, small = DldReader(choice, 1), DldReader(choice, 1, short_side=100)
    strict = DldReader(choice, 1, opts=["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.9"])
    other = DldReader(WeightsChoice.parse(tiny_weights["student"]), 1)
    described = [reader.about for reader in (plain, small, strict, other)]
    assert all(a != b for i, a in enumerate(described) for b in described[:i])
    assert DldReader(choice, 1).about == plain.about


def test_an_exported_folder_is_read_in_the_threads_of_the_others(monkeypatch, tmp_path):
    class Graphs:
        def __init__(self, folder, device, threads):
            self.told, self.settings = (folder, device, threads), {"short_side": 640}

    monkeypatch.setattr(readers, "OnnxTextSpotter", Graphs)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="1.2"))
    choice = WeightsChoice("graphs", str(tmp_path))
    reader = DldReader(choice, 2, short_side=320)
    assert reader.spotter.told == (str(tmp_path), "cpu", 2) and reader.spotter.settings["short_side"] == 320
    assert reader.about["versions"] == {"onnxruntime": "1.2"} and DldReader(choice, 2).about["short_side"] == 640
    with pytest.raises(ValueError, match="takes no --opts"):
        DldReader(choice, 2, opts=["MODEL.DEVICE", "cpu"])


def test_the_installed_rapidocr_reads_a_large_word(big_word):
    pytest.importorskip("rapidocr")
    image, box = big_word
    (word,) = RapidOcrReader(1)(image).words
    assert word.text == "Stone"
    # its boxes leave a good part of a letter's height above and below
    assert np.abs(np.concatenate([word.polygon.min(0), word.polygon.max(0)]) - box).max() < 40


def test_the_installed_tesseract_reads_a_large_word(big_word):
    pytest.importorskip("pytesseract")
    image, box = big_word
    try:
        reader = TesseractReader(1)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    (word,) = reader(image).words
    assert word.text == "Stone"
    assert np.abs(np.concatenate([word.polygon.min(0), word.polygon.max(0)]) - box).max() < 5
