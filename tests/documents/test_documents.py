"""Documents hold every word, in the order of reading, at its place: read back by other means than those that write them."""

import csv
import io
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from dld.documents.formats import FORMATS
from dld.documents.page import DocumentPage, xml_text
from dld.documents.table import CsvTable
from dld.structures.words import SpottingResult, Word

ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
HTML = "{http://www.w3.org/1999/xhtml}"
HOSTILE = 'a<b>&"\x00\x1f\ud800'


def word(text, x0, y0, x1, y1, score=0.875):
    return Word(text, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32), score, [0.9] * len(text))


@pytest.fixture
def result():
    words = [
        word("Öl", 150, 20, 210, 50),
        word("中文", 20, 70, 110, 100),
        word("Motor", 20, 20, 140, 50),
        word(HOSTILE, 20, 240, 90, 260),
    ]
    return SpottingResult("a", 'shop "1";.jpg', 400, 300, words)


def page(result, rotation=0):
    result.rotation = rotation
    return DocumentPage.with_picture(result, np.full((result.height, result.width, 3), 200, np.uint8))


def write(name, *results) -> bytes:
    return FORMATS[name].write([page(r, r.rotation) for r in results])


def test_plain_text_has_a_line_for_each_line_and_a_form_feed_between_pages(result):
    empty = SpottingResult("b", None, 9, 9, [])
    text = write("txt", result, empty, result).decode()
    lines = "Motor Öl\n中文\n" + HOSTILE.encode("utf-8", "backslashreplace").decode() + "\n"
    assert text == f"{lines}\f\f{lines}"


def test_hocr_has_the_structure_of_its_standard(result):
    root = ET.fromstring(write("hocr", result, result))
    metas = {m.get("name"): m.get("content") for m in root.iter(f"{HTML}meta")}
    assert metas["ocr-system"].startswith("dld ") and metas["ocr-number-of-pages"] == "2"
    used = {node.get("class") for node in root.iter() if node.get("class")}
    assert used == {"ocr_page", "ocr_carea", "ocr_par", "ocr_line", "ocrx_word"} <= set(metas["ocr-capabilities"].split())
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    first = next(root.iter(f"{HTML}div"))
    assert first.get("title") == 'image "shop %221%22%3B.jpg"; bbox 0 0 400 300; ppageno 0'
    spans = [n for n in root.iter(f"{HTML}span") if n.get("class") == "ocrx_word"]
    assert [n.text for n in spans[:4]] == ["Motor", "Öl", "中文", 'a<b>&"\ufffd\ufffd\ufffd']
    assert spans[0].get("title") == "bbox 20 20 140 50; poly 20 20 140 20 140 50 20 50; x_wconf 88"
    line = next(n for n in root.iter(f"{HTML}span") if n.get("class") == "ocr_line")
    assert line.get("title") == "bbox 20 20 210 50"
    # what stands inside of something lies inside of it
    parents = {child: parent for parent in root.iter() for child in parent}
    for node in root.iter():
        if node.get("class") in ("ocr_carea", "ocr_par", "ocr_line", "ocrx_word"):
            inner, outer = bbox(node), bbox(parents[node])
            assert outer[0] <= inner[0] <= inner[2] <= outer[2] and outer[1] <= inner[1] <= inner[3] <= outer[3]
    result.rotation = 90
    assert b"textangle 270" in write("hocr", result)


def bbox(node):
    properties = dict(p.strip().split(" ", 1) for p in node.get("title").split("; "))
    return [int(value) for value in properties["bbox"].split()]


# what ALTO 4.4 says of the elements that are written: children in order (with * for any number, ? for at most one), attributes
# that are needed, attributes that may be there
PLACE = {"HPOS", "VPOS", "WIDTH", "HEIGHT"}
ALTO_RULES = {
    "alto": (["Description", "Layout"], set(), {"SCHEMAVERSION", "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"}),
    "Description": (["MeasurementUnit", "sourceImageInformation", "Processing"], set(), set()),
    "MeasurementUnit": ([], set(), set()),
    "sourceImageInformation": (["fileName"], set(), set()),
    "fileName": ([], set(), set()),
    "Processing": (["processingSoftware"], {"ID"}, set()),
    "processingSoftware": (["softwareName", "softwareVersion"], set(), set()),
    "softwareName": ([], set(), set()),
    "softwareVersion": ([], set(), set()),
    "Layout": (["Page*"], set(), set()),
    "Page": (["PrintSpace"], {"ID", "PHYSICAL_IMG_NR"}, {"WIDTH", "HEIGHT", "ROTATION"}),
    "PrintSpace": (["TextBlock*"], set(), PLACE),
    "TextBlock": (["TextLine*"], {"ID"}, PLACE),
    "TextLine": (["String|SP*"], set(), {"ID", *PLACE}),
    "String": (["Shape"], {"CONTENT"}, {"ID", "WC", "CC", *PLACE}),
    "SP": ([], set(), set()),
    "Shape": (["Polygon"], set(), set()),
    "Polygon": ([], {"POINTS"}, set()),
}


def check_alto(node):
    name = node.tag.removeprefix(ALTO)
    children, needed, allowed = ALTO_RULES[name]
    assert needed <= set(node.attrib) <= needed | allowed, name
    found = [child.tag.removeprefix(ALTO) for child in node]
    if children and children[0].endswith("*"):
        assert set(found) <= set(children[0][:-1].split("|")), name
    else:
        assert found == children, name
    for key in PLACE & set(node.attrib):
        float(node.get(key))
    for child in node:
        check_alto(child)


def test_alto_follows_its_schema(result):
    result.rotation = 90
    root = ET.fromstring(write("alto", result, result))
    assert root.tag == f"{ALTO}alto"
    check_alto(root)
    ids = [node.get("ID") for node in root.iter() if node.get("ID")]
    assert len(ids) == len(set(ids)) and all(name[0].isalpha() for name in ids)
    assert root.find(f".//{ALTO}Page").get("ROTATION") == "270"
    strings = list(root.iter(f"{ALTO}String"))
    assert sorted(s.get("CONTENT") for s in strings[:4]) == sorted(["Motor", "Öl", "中文", 'a<b>&"\ufffd\ufffd\ufffd'])
    motor = next(s for s in strings if s.get("CONTENT") == "Motor")
    assert [motor.get(k) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT", "WC", "CC")] == [
        "20.0",
        "20.0",
        "120.0",
        "30.0",
        "0.8750",
        "1 1 1 1 1",
    ]
    assert motor.find(f".//{ALTO}Polygon").get("POINTS") == "20.0,20.0 140.0,20.0 140.0,50.0 20.0,50.0"


@pytest.mark.parametrize("name", ["hocr", "alto", "txt"])
def test_documents_of_nothing_and_of_words_without_a_place(name):
    lost = SpottingResult("a", None, 0, 0, [Word("x", np.zeros((0, 2)), float("nan")), Word("y", np.full((4, 2), np.nan))])
    for results in ([], [SpottingResult("a", None, 5, 5, [])], [lost]):
        content = FORMATS[name].write([DocumentPage(r) for r in results])
        if name != "txt":
            ET.fromstring(content)


@pytest.mark.parametrize("score, share", [(float("nan"), 0), (-1.0, 0), (2.0, 1)])
def test_scores_out_of_range_are_written_within_it(score, share):
    one = SpottingResult("a", None, 99, 99, [word("x", 10, 10, 20, 30, score)])
    assert f'WC="{share:.4f}"'.encode() in write("alto", one)
    assert f"x_wconf {100 * share}".encode() in write("hocr", one)


def test_text_of_xml_keeps_what_xml_can_hold():
    assert xml_text("a\tб中\U0001f600") == "a\tб中\U0001f600"
    assert xml_text("\x00\x0b\x1f\ud83d\ufffe\uffff") == "\ufffd" * 6


def test_a_table_has_a_row_for_each_word(result):
    file = io.StringIO(newline="")
    table = CsvTable(file)
    table.add(result)
    table.add(SpottingResult("b", "b.tif", 9, 9, [Word('say "a, b"', np.zeros((0, 2)), 0.5)]), page=2)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["text"] for row in rows] == ["Motor", "Öl", "中文", HOSTILE, 'say "a, b"']
    assert [(r["file"], r["page"], r["line"], r["word"]) for r in rows[:3]] == [
        ('shop "1";.jpg', "1", "1", "1"),
        ('shop "1";.jpg', "1", "1", "2"),
        ('shop "1";.jpg', "1", "2", "1"),
    ]
    assert [rows[1][k] for k in ("score", "x0", "y0", "x1", "y1")] == ["0.8750", "150.0", "20.0", "210.0", "50.0"]
    assert rows[1]["polygon"] == "150.0,20.0 210.0,20.0 210.0,50.0 150.0,50.0"
    assert (rows[4]["file"], rows[4]["page"], rows[4]["x0"], rows[4]["polygon"]) == ("b.tif", "2", "", "")


def test_a_data_frame_has_a_row_for_each_word(result):
    pandas = pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["text"].tolist() == ["Motor", "Öl", "中文", HOSTILE] and frame["x1"].tolist()[:2] == [140.0, 210.0]
    empty = SpottingResult("b", None, 9, 9, []).to_dataframe()
    assert len(empty) == 0 and list(empty.columns) == list(frame.columns)


@pytest.mark.parametrize("module, call", [("pandas", lambda r: r.to_dataframe()), ("reportlab", lambda r: write("pdf", r))])
def test_what_is_not_installed_is_named(module, call, result, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match='pip install (pandas|"dld\\[pdf\\]")'):
        call(result)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_words_of_a_pdf_are_found_where_they_stand(rotation):
    pytest.importorskip("reportlab")
    pdfium = pytest.importorskip("pypdfium2")
    words = [word("EXIT", 30, 40, 150, 80), word("straight", 165, 40, 330, 80), word("中文Ж😀", 30, 200, 170, 240)]
    upright = SpottingResult("a", "scan.png", 400, 300, words)
    result = turned(upright, rotation)
    document = pdfium.PdfDocument(write("pdf", result, result))
    assert len(document) == 2
    view = document[1]
    unit = 72 / 150
    assert view.get_size() == pytest.approx((result.width * unit, result.height * unit), abs=0.01)
    text = view.get_textpage()
    found = text.get_text_range().split()
    assert sorted(found) == sorted(["EXIT", "straight", "中文Ж\ufffd"]) and (rotation == 180 or found[0] == "EXIT")
    for expected in result.words[:2]:
        index, count = text.search(expected.text).get_next()
        boxes = np.array([text.get_charbox(i) for i in range(index, index + count)]) / unit
        left, bottom, right, top = boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
        x0, y0, x1, y1 = expected.box
        middle = (left + right) / 2, result.height - (top + bottom) / 2
        assert middle == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=3)
        along = max(x1 - x0, y1 - y0)
        assert max(right - left, top - bottom) == pytest.approx(along, rel=0.05)
    picture = view.render(scale=150 / 72).to_numpy()
    assert np.abs(picture.astype(int) - 200).max() <= 3, "the text is not seen"


SLANTS = {20: "RESTAURANT", -35: "CHURCH", 70: "hostel", 110: "down", 160: "turned"}


def slanted(text, degrees, middle, length=120, height=30):
    a = np.deg2rad(degrees)
    corners = np.array([[-length, -height], [length, -height], [length, height], [-length, height]]) / 2
    return Word(text, corners @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + middle)


@pytest.fixture
def slanted_words():
    words = [slanted(text, degrees, (100 + 150 * k, 200)) for k, (degrees, text) in enumerate(SLANTS.items())]
    return SpottingResult("a", "scan.png", 800, 400, words)


def test_words_on_a_slant_are_level_text(slanted_words):
    pytest.importorskip("reportlab")
    pdfium = pytest.importorskip("pypdfium2")
    text = pdfium.PdfDocument(write("pdf", slanted_words))[0].get_textpage()
    assert sorted(text.get_text_range().split()) == sorted(SLANTS.values())
    for expected in slanted_words.words:
        index, count = text.search(expected.text).get_next()
        boxes = np.array([text.get_charbox(i) for i in range(index, index + count)]) * 150 / 72
        x0, y0, x1, y1 = expected.box
        upright = y1 - y0 > x1 - x0
        middles = boxes.reshape(-1, 2, 2).mean(1)
        assert np.ptp(middles[:, int(not upright)]) < 3, "all characters on one level line"
        # from the lower left corner of the page
        assert middles.mean(0) == pytest.approx([(x0 + x1) / 2, 400 - (y0 + y1) / 2], abs=6)


def test_a_line_on_a_slant_stays_one_line():
    """44 and 46 degrees are nearest to different directions."""
    pytest.importorskip("reportlab")
    from dld.documents.searchable_pdf import _levelled

    words = [np.array([np.cos(a), np.sin(a)]) * 100 for a in np.deg2rad([44, 46, 44])]
    onward = sum(words)
    levelled = [end - start for start, end in (_levelled(np.zeros(2), word, onward) for word in words)]
    assert {int(np.argmax(np.abs(x))) for x in levelled} == {0}
    across = np.array([5.0, -100.0])
    start, end = _levelled(np.zeros(2), across, np.array([300.0, 10.0]))
    assert (end - start).tolist() == [0.0, -100.0]


def test_poppler_finds_the_words_of_a_pdf(slanted_words, tmp_path):
    pytest.importorskip("reportlab")
    program = shutil.which("pdftotext")
    if program is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    (tmp_path / "a.pdf").write_bytes(write("pdf", slanted_words))
    page = subprocess.run([program, "-bbox", str(tmp_path / "a.pdf"), "-"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r'<word xMin="([^"]*)".*>(.*?)</word>', page))
    assert sorted(found.values()) == sorted(SLANTS.values())


def test_each_pdf_of_a_process_has_its_own_characters():
    """reportlab keeps the first typeface of a name: pages that came later lost what was new in them."""
    pytest.importorskip("reportlab")
    pdfium = pytest.importorskip("pypdfium2")
    from dld.documents.searchable_pdf import FACES

    for text in ("exit", "(%é", "ждать", "exit", "Ωmega"):
        result = SpottingResult("a", "scan.png", 400, 300, [word(text, 30, 40, 150, 80)])
        document = pdfium.PdfDocument(write("pdf", result))
        assert document[0].get_textpage().get_text_range().split() == [text]
    made = FACES.name
    write("pdf", SpottingResult("a", "scan.png", 400, 300, [word("mega", 30, 40, 150, 80)]))
    assert FACES.name == made, "no new typeface where no character is new"


def turned(result, turn):
    """The page turned clockwise."""
    words = []
    for one in result.words:
        x, y = one.polygon.T
        points = {
            0: (x, y),
            90: (result.height - y, x),
            180: (result.width - x, result.height - y),
            270: (y, result.width - x),
        }[turn]
        words.append(Word(one.text, np.stack(points, 1), one.score))
    size = (result.width, result.height)[:: -1 if turn % 180 else 1]
    return SpottingResult("a", result.file_name, *size, words, rotation=turn)


def test_a_long_picture_becomes_a_page_that_pdf_allows():
    pytest.importorskip("reportlab")
    pdfium = pytest.importorskip("pypdfium2")
    result = SpottingResult("a", None, 200, 70_000, [word("AN", 10, 69_000, 80, 69_050), word("END", 95, 69_000, 190, 69_050)])
    page = DocumentPage.with_picture(result, np.zeros((70_000, 200, 3), np.uint8))
    assert max(Image.open(io.BytesIO(page.jpeg)).size) <= 65_500
    (view,) = pdfium.PdfDocument(FORMATS["pdf"].write([page]))
    assert view.get_height() == pytest.approx(14_400, abs=1)
    bounds = [one.get_bounds() for one in view.get_objects(filter=[pdfium.raw.FPDF_PAGEOBJ_TEXT])]
    unit = 14_400 / 70_000
    assert len(bounds) == 2 and bounds[1][:2] == pytest.approx((95 * unit, (70_000 - 69_050) * unit), abs=2)


def test_a_pdf_needs_its_picture(result):
    pytest.importorskip("reportlab")
    with pytest.raises(ValueError, match="give its pixels"):
        FORMATS["pdf"].write([DocumentPage(result)])
