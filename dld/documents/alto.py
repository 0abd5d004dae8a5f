"""ALTO XML 4 (https://www.loc.gov/standards/alto/): pages, blocks, lines and strings in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from dld import __version__
from dld.documents.page import DocumentPage, blocks_of, certainty, outer_box, xml_text
from dld.structures.text_lines import TextLine
from dld.structures.word import Word

__all__ = ["NAMESPACE", "alto"]

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
SCHEMA = "http://www.loc.gov/standards/alto/v4/alto-4-4.xsd"


def alto(pages: Sequence[DocumentPage]) -> bytes:
    """Write the pages of one file as an ALTO document.

    A string has its outline as `Shape`, its score as WC and, where there is a probability for each character, CC (0 sure,
    9 unsure).
    """
    root = ET.Element(
        "alto",
        {
            "xmlns": NAMESPACE,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{NAMESPACE} {SCHEMA}",
            "SCHEMAVERSION": "4.4",
        },
    )
    description = ET.SubElement(root, "Description")
    ET.SubElement(description, "MeasurementUnit").text = "pixel"
    source = ET.SubElement(description, "sourceImageInformation")
    ET.SubElement(source, "fileName").text = xml_text((pages[0].result.file_name if pages else None) or "")
    software = ET.SubElement(ET.SubElement(description, "Processing", {"ID": "dld"}), "processingSoftware")
    ET.SubElement(software, "softwareName").text = "dld"
    ET.SubElement(software, "softwareVersion").text = __version__
    layout = ET.SubElement(root, "Layout")
    for number, page in enumerate(pages, 1):
        result = page.result
        size = {"WIDTH": str(result.width), "HEIGHT": str(result.height)}
        # counterclockwise, as the standard has it
        turn = {"ROTATION": str((360 - result.rotation) % 360)} if result.rotation else {}
        attributes = {"ID": f"page_{number}", "PHYSICAL_IMG_NR": str(number), **size, **turn}
        space = ET.SubElement(ET.SubElement(layout, "Page", attributes), "PrintSpace", {"HPOS": "0", "VPOS": "0", **size})
        for b, lines in enumerate(blocks_of(result), 1):
            place = _place(outer_box([line.box for line in lines]))
            block = ET.SubElement(space, "TextBlock", {"ID": f"block_{number}_{b}", **place})
            for k, line in enumerate(lines, 1):
                _add_line(block, line, f"{number}_{b}_{k}")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _add_line(block: ET.Element, line: TextLine, name: str) -> None:
    node = ET.SubElement(block, "TextLine", {"ID": f"line_{name}", **_place(line.box)})
    for w, word in enumerate(line.words, 1):
        if w > 1:
            ET.SubElement(node, "SP")
        attributes = {"ID": f"string_{name}_{w}", **_place(word.box), "CONTENT": xml_text(word.text)}
        string = ET.SubElement(node, "String", {**attributes, "WC": f"{certainty(word.score):.4f}", **_characters(word)})
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in word.polygon.tolist())
        ET.SubElement(ET.SubElement(string, "Shape"), "Polygon", {"POINTS": points})


def _characters(word: Word) -> dict[str, str]:
    if not word.text or len(word.char_scores) != len(word.text):
        return {}
    return {"CC": " ".join(str(round(9 * (1 - certainty(score)))) for score in word.char_scores)}


def _place(box: tuple[float, float, float, float]) -> dict[str, str]:
    x0, y0, x1, y1 = box
    return {"HPOS": f"{x0:.1f}", "VPOS": f"{y0:.1f}", "WIDTH": f"{x1 - x0:.1f}", "HEIGHT": f"{y1 - y0:.1f}"}
