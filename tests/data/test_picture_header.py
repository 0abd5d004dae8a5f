"""The head of a file tells what decoding it gives."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dld.data.picture import read_picture
from dld.data.picture_header import picture_header


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_kinds(kind):
    file = io.BytesIO()
    Image.new("RGB", (31, 17)).save(file, kind)
    assert picture_header(file.getvalue()) == (kind, 31, 17)


def test_deep_pictures_that_pillow_does_not_open():
    values = np.random.default_rng(0).random((9, 12, 3), np.float32)
    content = cv2.imencode(".tiff", values)[1].tobytes()
    assert picture_header(content) == ("TIFF", 12, 9) and read_picture(content).shape == (9, 12, 3)


def test_a_page_of_pdf_has_the_size_that_it_is_drawn_with():
    pytest.importorskip("pypdfium2")
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    for size in ((200, 100), (20_000, 100)):
        file = io.BytesIO()
        page = canvas.Canvas(file, pagesize=size)
        page.drawString(10, 10, "text")
        page.save()
        height, width = read_picture(file.getvalue()).shape[:2]
        assert picture_header(file.getvalue()) == ("PDF", width, height)


def test_no_pictures():
    assert picture_header(b"") is None and picture_header(b"plain text") is None and picture_header(b"%PDF-1.4 broken") is None
    with pytest.raises(Image.DecompressionBombError):
        picture_header(b"P6 100000 100000 255\n")
