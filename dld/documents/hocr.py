"""hOCR 1.2 (https://kba.github.io/hocr-spec/1.2/): pages, areas, lines and words as XHTML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from dld import __version__
from dld.documents.page import DocumentPage, blocks_of, certainty, outer_box, xml_text
from dld.structures.text_lines import TextLine

__all__ = ["hocr"]

NAMESPACE = "http://www.w3.org/1999/xhtml"
CAPABILITIES = "ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_poly"
DOCTYPE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
)


def hocr(pages: Sequence[DocumentPage]) -> bytes:
    """Write the pages of one file as a hOCR document.

    Boxes and outlines are whole pixels, confidences (`x_wconf`) per cent.
    """
    root = ET.Element("html", {"xmlns": NAMESPACE, "lang": "en"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "title").text = xml_text((pages[0].result.file_name if pages else None) or "")
    ET.SubElement(head, "meta", {"http-equiv": "Content-Type", "content": "text/html; charset=utf-8"})
    ET.SubElement(head, "meta", {"name": "ocr-system", "content": f"dld {__version__}"})
    ET.SubElement(head, "meta", {"name": "ocr-capabilities", "content": CAPABILITIES})
    ET.SubElement(head, "meta", {"name": "ocr-number-of-pages", "content": str(len(pages))})
    body = ET.SubElement(root, "body")
    for number, page in enumerate(pages, 1):
        result = page.result
        name = xml_text(result.file_name or "").replace('"', "%22").replace(";", "%3B")
        title = f'image "{name}"; bbox 0 0 {result.width} {result.height}; ppageno {number - 1}'
        node = ET.SubElement(body, "div", {"class": "ocr_page", "id": f"page_{number}", "title": title})
        turn = f"; textangle {(360 - result.rotation) % 360}" if result.rotation else ""
        for b, lines in enumerate(blocks_of(result), 1):
            box = _bbox(outer_box([line.box for line in lines]))
            area = ET.SubElement(node, "div", {"class": "ocr_carea", "id": f"block_{number}_{b}", "title": box})
            paragraph = ET.SubElement(area, "p", {"class": "ocr_par", "id": f"par_{number}_{b}", "title": box})
            for k, line in enumerate(lines, 1):
                _add_line(paragraph, line, f"{number}_{b}_{k}", turn)
    ET.indent(root, " ")
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{DOCTYPE}\n{ET.tostring(root, encoding="unicode")}\n'
    return text.encode("utf-8")


def _add_line(parent: ET.Element, line: TextLine, name: str, turn: str) -> None:
    node = ET.SubElement(parent, "span", {"class": "ocr_line", "id": f"line_{name}", "title": _bbox(line.box) + turn})
    for w, word in enumerate(line.words, 1):
        outline = " ".join(str(round(value)) for point in word.polygon.tolist() for value in point)
        confidence = round(100 * certainty(word.score))
        title = f"{_bbox(word.box)}; poly {outline}; x_wconf {confidence}"
        span = ET.SubElement(node, "span", {"class": "ocrx_word", "id": f"word_{name}_{w}", "title": title})
        span.text = xml_text(word.text)


def _bbox(box: tuple[float, float, float, float]) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)
