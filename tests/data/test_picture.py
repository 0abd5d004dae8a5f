"""Pictures of every kind come out as upright BGR pixels, or are refused with a message that says why."""

import io
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

from dld.data import picture, pixel_values
from dld.data.dataset_mapper import read_dict_image
from dld.data.datasets.image_files import image_size
from dld.data.extra_formats import needed_extra
from dld.data.picture import is_picture, read_picture

# red, green, blue and white, two rows of two: each corner is told from the others
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
BGR = CORNERS[:, :, ::-1]


@pytest.fixture(autouse=True)
def no_warning_is_remembered():
    pixel_values._warn.cache_clear()


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def with_orientation(value: int, ending: str, path):
    """CORNERS stored so that a viewer who obeys the tag shows them upright."""
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    image = Image.fromarray(np.repeat(np.repeat(CORNERS, 8, 0), 16, 1))
    exif = Image.Exif()
    exif[0x0112] = value
    image = image.transpose(undo[value])
    return saved(image, path / f"turned{ending}", exif=exif, **({"quality": 100} if ending == ".jpg" else {}))


def test_channels_of_arrays_are_bgr_unless_said_otherwise():
    assert read_picture(BGR) is BGR
    assert (read_picture(CORNERS, "RGB") == BGR).all()
    for order in ("BGR", "RGB"):  # a PIL image knows its own
        assert (read_picture(Image.fromarray(CORNERS), order) == BGR).all()
    with pytest.raises(ValueError, match="channel_order must be one of BGR, RGB, got 'rgb'"):
        read_picture(BGR, "rgb")


def test_paths_bytes_files_and_pil_images_give_the_same(tmp_path):
    path = saved(Image.fromarray(CORNERS), tmp_path / "ä b.png")
    with open(path, "rb") as file, Image.open(path) as image:
        for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file, image):
            assert is_picture(source) and (read_picture(source) == BGR).all()


def test_training_and_evaluation_read_what_inference_reads(tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "photo.jpg"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "grey16.png"), rng.integers(0, 65536, (40, 60), np.uint16))
    Image.fromarray(rng.integers(0, 256, (40, 60, 4), np.uint8)).save(tmp_path / "clear.png")
    turned = with_orientation(6, ".tif", tmp_path)
    for path in (tmp_path / "photo.jpg", tmp_path / "grey16.png", tmp_path / "clear.png", turned):
        height, width = read_picture(path).shape[:2]
        record = {"file_name": str(path), "height": height, "width": width}
        assert (read_dict_image(record) == read_picture(path)).all(), path.name


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match=r"cannot read image .*pipe\.jpg: it is no regular file"):
        read_picture(tmp_path / "pipe.jpg")


def test_a_picture_of_another_size_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch):
    path = saved(Image.fromarray(np.zeros((20, 30, 3), np.uint8)), tmp_path / "a.png")
    assert read_picture(path, size=(30, 20)).shape == read_picture(path, size=(20, 30)).shape == (20, 30, 3)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(ValueError, match=r"cannot read image .*a\.png: it is 30 x 20, expected 31 x 20"):
        read_picture(path, size=(31, 20))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_are_turned_upright_once(tmp_path, ending, orientation):
    pixels = read_picture(with_orientation(orientation, ending, tmp_path))
    assert pixels.shape == (16, 32, 3)
    corners = pixels[[[2, 2], [13, 13]], [[2, 29], [2, 29]]].astype(int)
    assert np.abs(corners - BGR).max() < 70  # JPEG and WebP blur colours


def test_damaged_exif_leaves_the_picture_as_it_is_stored(tmp_path):
    path = saved(Image.fromarray(CORNERS), tmp_path / "a.png", exif=b"Exif\0\0II*\0garbage and more garbage")
    assert (read_picture(path) == BGR).all()


def test_grey_palette_and_bilevel_pictures(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    for source in (grey, grey[:, :, None], saved(Image.fromarray(grey), tmp_path / "g.png"), Image.fromarray(grey)):
        assert (read_picture(source) == grey[:, :, None]).all() and read_picture(source).shape == (2, 2, 3)
    palette = Image.fromarray(CORNERS).quantize(4)
    assert palette.mode == "P" and (read_picture(palette) == BGR).all()
    assert (read_picture(Image.fromarray(grey).convert("1", dither=0))[:, :, 0] == [[0, 0], [255, 255]]).all()


def test_what_is_transparent_is_white():
    rgba = np.dstack([CORNERS, np.array([[255, 0], [128, 255]], np.uint8)])
    expected = BGR.astype(int).copy()
    expected[0, 1] = 255
    expected[1, 0] = [255, 127, 127]  # blue at 128 / 255 over white
    bgra = np.ascontiguousarray(rgba[:, :, [2, 1, 0, 3]])
    for pixels in (read_picture(bgra), read_picture(rgba, "RGB"), read_picture(Image.fromarray(rgba))):
        assert np.abs(pixels.astype(int) - expected).max() <= 1
    keyed = Image.fromarray(CORNERS).quantize(4)
    keyed.info["transparency"] = keyed.getpixel((0, 0))
    assert (read_picture(keyed)[0, 0] == 255).all() and (read_picture(keyed)[0, 1] == BGR[0, 1]).all()
    grey = Image.fromarray(np.array([[[10, 0], [10, 255]]], np.uint8), "LA")
    assert read_picture(grey)[:, :, 0].tolist() == [[255, 10]]


def test_of_16_bits_the_upper_8_are_kept(tmp_path):
    deep = np.array([[0, 255], [256, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([deep, deep * 0, deep]))
    for source in (deep, tmp_path / "deep.png", tmp_path / "deep.tif", Image.fromarray(deep.astype(np.int32))):
        assert read_picture(source)[:, :, 0].tolist() == [[0, 0], [1, 255]], source
    assert read_picture(tmp_path / "colour.png")[:, :, 1:].tolist() == [[[0, 0], [0, 0]], [[0, 1], [0, 255]]]


RAMP = np.linspace(0, 255, 240).astype(np.uint8).reshape(12, 20)


def warned(caplog):
    said = [record.message for record in caplog.records]
    caplog.clear()
    return said


@pytest.mark.parametrize(
    ("values", "assumed"),
    [
        (RAMP / 255, None),
        ((RAMP / 255).astype(np.float16), None),
        (RAMP / 255 * 1.02 - 0.01, None),  # as resampling leaves it
        (RAMP.astype(np.uint16) * 257, None),
        (RAMP.astype(np.int64) * 257, None),
        (RAMP.astype(np.int64), "no value is above 255: read as 8 bits, not as 16"),
        (RAMP.astype(np.uint16), "no value is above 255: read as 8 bits, not as 16"),
        (RAMP.astype(np.uint16) * 4 + 3, "no value is above 1023: read as 10 bits"),
        (RAMP.astype(np.uint16) * 16 + 15, "no value is above 4095: read as 12 bits"),
        (RAMP.astype(np.float32), "fractions from 0 to 255 are read as a range of 0 to 255"),
        (RAMP * 12.0 - 500, "values from -500 to 2560 are of no known range: "),
        (RAMP.astype(np.int32) * 1000, "values from 0 to 255000 are of no known range: "),
        (RAMP.astype(np.int16) * 100 - 12_750, "values from -12750 to 12750 are of no known range: "),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value)[:30],
)
def test_whatever_range_values_have_they_are_read_alike_and_what_was_assumed_is_said(tmp_path, caplog, values, assumed):
    for index, source in enumerate((values, np.dstack([values] * 3), tmp_path / f"{values.dtype}_{values.max()}.tif")):
        pixel_values._warn.cache_clear()
        if index == 2:
            if values.dtype not in (np.uint16, np.int32, np.float32):
                return
            Image.fromarray(values).save(source)
        pixels = read_picture(source)
        assert pixels.shape == (12, 20, 3) and np.abs(pixels[:, :, 1].astype(int) - RAMP).max() <= 5
        said = warned(caplog)
        assert len(said) == (assumed is not None) and (not said or f": {assumed}" in said[0])


def test_a_lamp_and_what_is_no_number_do_not_decide_the_range(caplog):
    values = np.tile(RAMP * 0.01, (10, 10))
    values[0, 0], values[0, 1], values[0, 2] = 1e6, np.nan, np.inf
    pixels = read_picture(values)
    assert np.abs(pixels[1:, :, 0].astype(int) - np.tile(RAMP, (10, 10))[1:]).max() <= 5
    assert pixels[0, :3, 0].tolist() == [255, 0, 255]
    assert "values from 0 to 1e+06 are of no known range: 0.01 is read as black and 2.5" in warned(caplog)[0]
    assert (read_picture(np.full((4, 4), np.nan)) == 0).all() and (read_picture(np.full((4, 4), 9e9)) == 0).all()


def test_yes_and_no_are_white_and_black():
    assert (read_picture(RAMP > 99)[:, :, 2] == np.where(RAMP > 99, 255, 0)).all()


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_colours_of_12_bits_stored_in_16_are_not_black(tmp_path, caplog, ending):
    colours = np.dstack([RAMP, RAMP[::-1], RAMP.T.reshape(12, 20)])
    cv2.imwrite(str(tmp_path / f"deep{ending}"), colours.astype(np.uint16) * 16)
    assert (read_picture(tmp_path / f"deep{ending}") == colours).all()
    assert "no value is above 4080: read as 12 bits, not as 16" in warned(caplog)[0]
    cv2.imwrite(str(tmp_path / f"night{ending}"), colours.astype(np.uint16) * 257)
    assert (read_picture(tmp_path / f"night{ending}") == colours).all() and warned(caplog) == []


def test_colours_of_floating_point_are_read(tmp_path, monkeypatch):
    colours = np.dstack([RAMP, RAMP[::-1], RAMP])
    path = tmp_path / "light.tif"
    cv2.imwrite(str(path), (colours / 255).astype(np.float32))
    for source in (path, path.read_bytes()):
        assert np.abs(read_picture(source).astype(int) - colours).max() <= 1
    monkeypatch.setattr(pixel_values, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match=r"light\.tif: not a picture in any known format"):
        read_picture(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_pictures_whose_zero_is_white(tmp_path, dtype):
    # Pillow turns 8 bits around when it writes them, others not
    stored = RAMP if dtype == np.uint8 else (255 - RAMP).astype(dtype) * 257
    Image.fromarray(stored).save(tmp_path / "fax.tif", tiffinfo={262: 0})
    assert (read_picture(tmp_path / "fax.tif")[:, :, 0] == RAMP).all()


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_colours(mode):
    plain = Image.fromarray(np.dstack([RAMP] * 3 + [np.full_like(RAMP, 128)]))
    stored = plain.convert("LA").convert("La") if mode == "La" else plain.convert("RGBa")
    expected = (RAMP * (128 / 255) + 255 * (127 / 255)).round()
    assert np.abs(read_picture(stored)[:, :, 0] - expected).max() <= 3


def test_lab_becomes_colours():
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    image = Image.fromarray(np.repeat(np.repeat(CORNERS, 8, 0), 8, 1))
    lab = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab.mode == "LAB" and np.abs(read_picture(lab)[::8, ::8].astype(int) - BGR).max() < 30


def test_one_grey_of_16_bits_can_be_transparent(tmp_path):
    Image.fromarray(np.array([[0, 30_000], [40_000, 0]], np.uint16)).save(tmp_path / "key.png", transparency=0)
    with Image.open(tmp_path / "key.png") as image:
        image.info["transparency"] = 0
        assert read_picture(image)[:, :, 0].tolist() == [[255, 117], [156, 255]]


def test_light_drawing_on_a_transparent_ground_is_seen_and_said(caplog):
    for letter, ground in ((250, 0), (20, 255)):
        rgba = np.full((20, 30, 4), letter, np.uint8)
        rgba[:, :, 3] = 0
        rgba[5:15, 5:25, 3] = 255
        pixels = read_picture(rgba)
        assert (pixels[5:15, 5:25] == letter).all() and (pixels[:5] == ground).all()
    assert [said.split(": ", 1)[1] for said in warned(caplog)] == [
        "all that is not transparent is light: read on black instead of white",
    ]


def test_transparency_that_was_never_filled_in_hides_nothing(caplog):
    rgba = np.dstack([RAMP, RAMP, RAMP, np.zeros_like(RAMP)])
    assert (read_picture(rgba)[:, :, 0] == RAMP).all()
    assert "all of it is transparent: read as if nothing were" in warned(caplog)[0]
    assert (read_picture(np.zeros((4, 4, 4), np.uint8)) == 255).all() and warned(caplog) == []


def test_cmyk_is_turned_into_colours(tmp_path):
    path = saved(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), tmp_path / "print.jpg", quality=100)
    assert np.abs(read_picture(path).astype(int) - [0, 0, 255]).max() < 10


@pytest.mark.parametrize("ending", [".gif", ".tif", ".webp"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path, ending):
    pages = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    path = saved(pages[0], tmp_path / f"pages{ending}", save_all=True, append_images=pages[1:])
    pixels = read_picture(path)
    assert pixels.shape == (7, 9, 3) and np.abs(pixels.astype(int) - [0, 0, 255]).max() < 20


def test_a_single_pixel_and_a_very_long_picture():
    assert read_picture(Image.new("RGB", (1, 1), "red")).tolist() == [[[0, 0, 255]]]
    assert read_picture(Image.new("L", (20_000, 3))).shape == (3, 20_000, 3)


def test_more_pixels_than_fit_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = saved(Image.new("1", (30_000, 6_000)), tmp_path / "bomb.png")  # 180 million pixels in a few kilobytes
    with pytest.raises(ValueError, match=r"cannot read image .*bomb\.png: more than 178,956,970 pixels"):
        read_picture(path)
    monkeypatch.setattr(picture, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="picture: 11 x 10 pixels are more than 100"):
        read_picture(Image.new("RGB", (11, 10)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4, 3), complex), r"expected pixels as whole numbers or fractions, got complex128 \(4, 4, 3\)"),
        (np.full((4, 4), "a"), "got <U1"),
        (np.zeros((0, 4, 3), np.uint8), r"an array of none: \(0, 4, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"got \(3, 4, 5\); its channels come first"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"several are given as list\(array\)"),
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (Image.new("RGB", (0, 5)), r"it has no pixels \(0 x 5\)"),
        (b"no picture at all", "not a picture in any known format"),
        (io.StringIO("text"), "mode 'rb'"),
        (None, "expected a path, a NumPy array, a PIL image, or a list of them, got NoneType"),
        (42, "got int"),
    ],
    ids=lambda value: None if not isinstance(value, str) else value[:20],
)
def test_what_cannot_be_read_is_said(source, message):
    with pytest.raises(ValueError, match=message):
        read_picture(source)


HEIC = b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf" + bytes(40)
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEIC, r'HEIC is read with an extra, pip install "dld\[heic\]"'),
        (HEIC.replace(b"mif1", b"heic"), r'HEIC is read with an extra, pip install "dld\[heic\]"'),
        (b"%PDF-1.7 and so on", r'PDF is read with an extra, pip install "dld\[pdf\]"'),
        (b"\n\n%PDF-1.7", r'PDF is read with an extra, pip install "dld\[pdf\]"'),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "not a picture in any known format"),
        (b"\xff\xff\xff\xffftyp", "not a picture in any known format"),
    ],
)
def test_files_that_need_an_extra_name_it_whatever_they_are_called(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(Image, "open", unidentified)
    for module in ("pillow_heif", "pypdfium2"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "IMG_1.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read image .*IMG_1\.jpg: " + message):
        read_picture(tmp_path / "IMG_1.jpg")
    with pytest.raises(ValueError, match=r"cannot read image .*IMG_1\.jpg: " + message):
        image_size(tmp_path / "IMG_1.jpg")
    with pytest.raises(ValueError, match="cannot read image picture: " + message):
        read_picture(content)


def unidentified(*_):
    raise UnidentifiedImageError("cannot identify image file")


def test_avif_is_not_taken_for_heic():
    assert needed_extra(AVIF) is None and needed_extra(HEIC) == ("HEIC", "heic")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(whole, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[:-900])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("notes.png", "cut.jpg", "empty.jpg"):
        with pytest.raises(ValueError, match=f"cannot read image .*{name}"):
            read_picture(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing\.png does not exist"):
        read_picture(tmp_path / "missing.png")
