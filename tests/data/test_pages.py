"""Pages of files, and the files that only an extra reads."""

import io
import logging
import sys

import numpy as np
import pytest
from PIL import Image

from dld.data.datasets.image_files import image_size
from dld.data.pages import count_pages, not_read, read_pages
from dld.data.picture import read_picture

GREYS = (40, 120, 200)


def pictures(size=(64, 48)):
    return [Image.new("RGB", size, (grey,) * 3) for grey in GREYS]


def save(path, **options):
    first, *more = pictures()
    first.save(path, save_all=True, append_images=more, **options)
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.webp", "a.png", "A.TIFF"])
def test_all_pages_are_read_in_their_order(tmp_path, name):
    path = save(tmp_path / name)
    pages = list(read_pages(path))
    assert [page.shape for page in pages] == [(48, 64, 3)] * 3
    assert [float(page.mean()) for page in pages] == pytest.approx(GREYS, abs=3)
    assert (count_pages(path), not_read(path)) == (3, 2)
    assert [page.mean() for page in read_pages(path.read_bytes())] == [page.mean() for page in pages]
    assert (read_picture(path) == pages[0]).all()


def test_usual_pictures_have_one_page(tmp_path):
    for name in ("a.jpg", "a.tif", "a.png", "a.bmp"):
        pictures()[0].save(tmp_path / name)
        assert (count_pages(tmp_path / name), not_read(tmp_path / name)) == (1, 0)
        assert len(list(read_pages(tmp_path / name))) == 1
    assert not_read(tmp_path / "missing.tif") == 0


def test_a_preview_in_a_jpeg_is_no_page(tmp_path):
    path = save(tmp_path / "phone.mpo").rename(tmp_path / "phone.jpg")
    with Image.open(path) as image:
        assert image.n_frames == 3, "the file is no test otherwise"
    assert count_pages(path) == 1 and len(list(read_pages(path))) == 1


def test_a_reduced_copy_in_a_tiff_is_no_page(tmp_path):
    first, second, third = pictures()
    second = second.resize((32, 24))
    second.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "pyramid.tif", save_all=True, append_images=[second, third])
    assert count_pages(tmp_path / "pyramid.tif") == 2
    assert [page.shape for page in read_pages(tmp_path / "pyramid.tif")] == [(48, 64, 3)] * 2


def test_a_damaged_page_is_named_and_those_before_it_are_read(tmp_path):
    path = save(tmp_path / "a.tif", compression="tiff_lzw")
    with Image.open(path) as image:
        image.seek(2)
        (offset,) = image.tag_v2[273][:1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    pages = read_pages(path)
    assert len([next(pages), next(pages)]) == 2
    with pytest.raises(ValueError, match=r"cannot read page 3 of .*a\.tif: "):
        next(pages)


def test_pages_that_cannot_be_found_are_said(tmp_path):
    path = save(tmp_path / "a.tif")
    with Image.open(path) as image:
        image.seek(1)
        (pixels,) = image.tag_v2[273]
    path.write_bytes(path.read_bytes()[: pixels - 1])  # within the directory of the second page
    pages = read_pages(path)
    assert next(pages).shape == (48, 64, 3)
    with pytest.raises(ValueError, match=r"cannot read the pages of .*a\.tif after the first: "):
        next(pages)


def test_a_file_that_is_no_picture_is_named():
    with pytest.raises(ValueError, match="cannot read image picture: not a picture in any known format"):
        list(read_pages(b"nothing of the kind"))


def pdf_of(path, count=3, size=(64, 48)):
    pictures(size)[0].save(path, save_all=True, append_images=pictures(size)[1:count])
    return path


def test_pages_of_a_pdf_are_drawn_at_200_pixels_to_an_inch(tmp_path):
    pytest.importorskip("pypdfium2")
    path = pdf_of(tmp_path / "scan.pdf")  # 72 pixels to an inch
    pages = list(read_pages(path))
    assert [page.shape for page in pages] == [(134, 178, 3)] * 3 and {page.dtype for page in pages} == {np.dtype(np.uint8)}
    assert [float(page[5:-5, 5:-5].mean()) for page in pages] == pytest.approx(GREYS, abs=3)
    assert (count_pages(path), not_read(path)) == (3, 2)
    renamed = path.rename(tmp_path / "scan.jpg")
    assert (read_picture(renamed) == pages[0]).all() and (read_picture(renamed.read_bytes()) == pages[0]).all()


def test_colours_of_a_pdf_are_in_opencv_s_order_and_a_poster_becomes_smaller(tmp_path):
    pytest.importorskip("pypdfium2")
    Image.new("RGB", (50, 10_000), (250, 20, 90)).save(tmp_path / "poster.pdf")
    pixels = read_picture(tmp_path / "poster.pdf")
    assert max(pixels.shape) == 8_000
    assert pixels[4000, 20].tolist() == pytest.approx([90, 20, 250], abs=4)


def test_damaged_pdfs_are_named(tmp_path):
    pytest.importorskip("pypdfium2")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    with pytest.raises(ValueError, match=r"cannot read image .*bad\.pdf: the PDF cannot be opened"):
        read_picture(tmp_path / "bad.pdf")
    assert count_pages(tmp_path / "bad.pdf") == 1


def heic(path, picture):
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(picture)
    file.save(path, quality=90)
    return path


def test_heic_is_read_whatever_it_is_called(tmp_path):
    picture = Image.new("RGB", (64, 48), (250, 20, 90))
    path = heic(tmp_path / "phone.heic", picture)
    for name in ("phone.heic", "phone.jpg"):
        path = path.rename(tmp_path / name)
        pixels = read_picture(path)
        assert pixels.shape == (48, 64, 3) and pixels[24, 32].tolist() == pytest.approx([90, 20, 250], abs=6)
        assert image_size(path) == (64, 48, 1)
    assert (read_picture(path.read_bytes()) == pixels).all() and (read_picture(io.BytesIO(path.read_bytes())) == pixels).all()
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read image .*phone\.jpg: "):
        read_picture(path)


def test_without_the_extras_their_files_name_them(tmp_path, monkeypatch):
    for module in ("pillow_heif", "pypdfium2"):
        monkeypatch.setitem(sys.modules, module, None)
    pdf_of(tmp_path / "scan.pdf")
    with pytest.raises(ValueError, match=r'scan\.pdf: PDF is read with an extra, pip install "dld\[pdf\]"'):
        list(read_pages(tmp_path / "scan.pdf"))
    assert count_pages(tmp_path / "scan.pdf") == 1


def test_a_spotter_says_what_it_does_not_read(tmp_path, tiny_weights):
    from dld import TextSpotter

    # a handler of its own: commands of other tests may have set up a log that passes nothing on
    class Said(logging.Handler):
        def emit(self, record):
            if "pages" in record.getMessage():
                messages.append(record.getMessage())

    messages, handler, log = [], Said(logging.WARNING), logging.getLogger("dld.data.picture_batches")
    spotter = TextSpotter.from_checkpoint(tiny_weights["teacher"], device="cpu")
    path = save(tmp_path / "a.tif")
    log.addHandler(handler)
    try:
        spotter(path)
        assert messages == [f"{path}: 2 more pages not read; dld.data.pages.read_pages gives all"]
        messages.clear()
        assert len(list(spotter(read_pages(path)))) == 3 and not messages
    finally:
        log.removeHandler(handler)
