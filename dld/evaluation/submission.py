"""Predictions from files, whether they are fit to be scored, and the zip that the official sites take."""

import logging
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import shapely

from dld.evaluation.archive import read_text_files
from dld.evaluation.image_names import ImageIndex, image_number
from dld.evaluation.line_formats import parse_lines, refuse_tangle
from dld.evaluation.overlap import is_clockwise, polygon_problems
from dld.evaluation.protocol import Protocol
from dld.structures.words import Word, read_results
from dld.utils.atomic_write import atomic_write

__all__ = ["Submission", "check_predictions", "read_submission", "to_quadrilateral", "write_submission"]

logger = logging.getLogger(__name__)

# a number up to 100 before a comma, or one up to 1 alone
_CONFIDENCE = re.compile(r"\s*(?:(?:\d{0,2}\.\d+|\d{1,2}|100)\s*,(?P<text>.*)|0?\.\d+|1\.0+|0|1)\s*", re.DOTALL)


@dataclass
class Submission:
    """Predictions as they stand in files.

    Attributes:
        words: image id of the ground truth -> words in file order.
        places: image id -> for each word where it stands (file and line), for messages.
        without_text: where the first word stands that has coordinates only, or None.
        with_text: whether any word has a text.
    """

    words: dict[str, list[Word]] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    without_text: str | None = None
    with_text: bool = False


def read_submission(path: str | os.PathLike, protocol: Protocol, image_ids: Iterable[str]) -> Submission:
    """Read predictions: a results json of ours, or a zip or folder of text files in the protocol's layout.

    Args:
        image_ids: images of the ground truth; files belong to them by `ImageIndex` (`res_img_7.txt`, `img_7.txt`, ...). Of a
            json each image's id counts or, without one, the path of its file (`photos/day1/img_7.jpg`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: an image that the ground truth does not have, two files of one image, a malformed line; names file
            and line.
    """
    path, index = Path(path), ImageIndex(image_ids)
    return (_from_results if path.suffix.lower() == ".json" else _from_texts)(path, protocol, index)


def check_predictions(
    predictions: Mapping[str, Sequence[Word]],
    protocol: Protocol,
    places: Mapping[str, Sequence[str]] | None = None,
    strict: bool = False,
) -> dict[str, int]:
    """Count polygons that are self-intersecting, degenerate or, in quadrilateral layouts, not clockwise.

    The first are scored on their even-odd area, the second are detections that match nothing, the third are scored but
    the official site refuses them. One warning is logged for each kind.

    Raises:
        ValueError: under `strict`, at the first such polygon.
    """
    words: list[Word] = []
    where: list[str] = []
    for image, items in predictions.items():
        words.extend(items)
        where.extend(places[image] if places else (f"image {image}, word {number}" for number in range(len(items))))
    found: dict[str, list[str]] = {"self-intersecting": [], "degenerate": [], "not clockwise": []}
    for word, place, problem in zip(words, where, polygon_problems([w.polygon for w in words], protocol), strict=True):
        if problem is None and protocol.layout != "polygon" and not is_clockwise(_as_measured(word.polygon, protocol)):
            problem = "not clockwise"
        if problem is not None:
            if strict:
                raise ValueError(f"{place}: {problem} polygon {np.asarray(word.polygon).tolist()}")
            found[problem].append(place)
    crossed = len(found["self-intersecting"])
    order = "; corners must go around the word (top left, top right, bottom right, bottom left), not row by row"
    consequences = {
        "self-intersecting": "scored on their whole valid (even-odd) area" + (order if 2 * crossed > len(words) else ""),
        "degenerate": "counted as detections that match nothing",
        "not clockwise": "scored, but the official site refuses such a submission",
    }
    for problem, at in found.items():
        if at:
            logger.warning("%d %s predictions, %s; the first: %s", len(at), problem, consequences[problem], "; ".join(at[:3]))
    return {problem.replace("-", "_").replace(" ", "_"): len(at) for problem, at in found.items()}


def to_quadrilateral(polygon: np.ndarray, protocol: Protocol) -> np.ndarray | None:
    """Return four whole-pixel corners, clockwise as one sees them, as ICDAR submissions need them.

    Four points stay the points that are scored here (without their decimals, where the protocol truncates). Any other
    number becomes the rectangle of least area around them. Fewer than three points, or one that is no number, give
    None.

    Args:
        polygon: (P, 2) pixels.

    Returns:
        (4, 2) int64.
    """
    corners = np.asarray(polygon, dtype=np.float64)
    if len(corners) < 3 or not np.isfinite(corners).all():
        return None
    if len(corners) == 4:
        corners = _as_measured(corners, protocol)
    else:
        rectangle = shapely.minimum_rotated_rectangle(shapely.MultiPoint(corners))
        if rectangle.geom_type != "Polygon":  # all points on one line
            x0, y0, x1, y1 = rectangle.bounds
            rectangle = shapely.Polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        corners = shapely.get_coordinates(rectangle)[:4]
    corners = np.rint(corners).astype(np.int64)
    return corners if is_clockwise(corners) else corners[::-1]


def write_submission(
    path: str | os.PathLike,
    predictions: Mapping[str, Sequence[Word]],
    protocol: Protocol,
    image_ids: Iterable[str],
    with_text: bool = True,
) -> dict[str, int]:
    """Write the zip that the official site of the protocol's data set takes; the file appears whole or not at all.

    ICDAR: `res_img_N.txt` with `x1,y1,x2,y2,x3,y3,x4,y4[,text]`; Total-Text and CTW1500: `NNNNNNN.txt` with
    `x1,y1,...,xn,yn,####text`. N is the number in the image id. Every image of the ground truth has its file, and the
    same predictions give the same bytes.

    Returns:
        how many polygons became rectangles ("reduced") and how many could not be written ("left_out").

    Raises:
        ValueError: an image id without a number of the official pattern, or two of the same.
    """
    path, done, members = Path(path), {"reduced": 0, "left_out": 0}, {}
    for image in image_ids:
        number = image_number(image)
        name = f"{number:07d}.txt" if protocol.layout == "polygon" else f"res_img_{number}.txt"
        if number is None or name in members:
            raise ValueError(f"image id {image!r} gives no official file name of its own (expected img_N)")
        lines = (_official_line(word, protocol, with_text, done) for word in predictions.get(image, ()))
        members[name] = "".join(f"{line}\n" for line in lines if line is not None)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: _write_zip(file, members))
    return done


def _write_zip(file: IO[bytes], members: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)  # dated 1980: the time of writing would change the bytes
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, text.encode("utf-8"))


def _from_results(path: Path, protocol: Protocol, index: ImageIndex) -> Submission:
    submission = Submission(with_text=True)
    try:
        results = read_results(path)
    except (OverflowError, RecursionError) as error:  # numbers beyond float, brackets in brackets without end
        raise ValueError(f"{path}: not a results file that can be read: {error}") from error
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error
    for number, result in enumerate(results):
        if result.image_id is not None:
            name, image = result.image_id, index.find(result.image_id)
        else:
            name, image = result.file_name or "", index.find_path(result.file_name or "")
        if image is None:
            raise ValueError(f"{path}: image {number} ({name!r}) is not in the ground truth")
        if image in submission.words:
            raise ValueError(f"{path}: image {number} ({name!r}) is image '{image}', which stands there before")
        submission.words[image] = result.words
        submission.places[image] = [f"{path}: image {number} ({name!r}), word {i}" for i in range(len(result.words))]
        for word, place in zip(result.words, submission.places[image], strict=True):
            refuse_tangle(word.polygon, place)
    return submission


def _from_texts(path: Path, protocol: Protocol, index: ImageIndex) -> Submission:
    submission = Submission()
    # A zip is judged as the official tools do; a folder may have other things in it.
    files = read_text_files(path, ".txt", others="skip" if path.is_dir() else "refuse")
    if not files:
        logger.warning("%s: no .txt file of predictions in it", path)
    for item in files:
        image = index.find(item.name)
        if image is None:
            raise ValueError(f"{item.where}: no such image in the ground truth")
        if image in submission.words:
            raise ValueError(f"{item.where}: a second file for image '{image}'")
        lines = parse_lines(item.text, item.where, protocol)
        submission.words[image] = [Word(line.text or "", line.polygon) for line in lines]
        submission.places[image] = [line.where for line in lines]
        untexted = next((line.where for line in lines if line.text is None), None)
        submission.without_text = submission.without_text or untexted
        submission.with_text |= any(line.text is not None for line in lines)
    _tell_confidence_column(submission, path)
    return submission


def _tell_confidence_column(submission: Submission, path: Path) -> None:
    """Warn where every text begins with a number: it stands where the text belongs, and no text will be right."""
    texts = [word.text for words in submission.words.values() for word in words]
    found = [_CONFIDENCE.fullmatch(text) for text in texts]
    if not texts or not all(found) or not any("." in text.split(",")[0] for text in texts):
        return
    before = any(match["text"] is not None for match in found if match)
    what = f"before the text ({texts[0]!r})" if before else f"instead of the text ({texts[0]!r}), so only detection counts"
    logger.warning("%s: a column of confidence stands in every line %s; the formats have none: leave it out", path, what)


def _official_line(word: Word, protocol: Protocol, with_text: bool, done: dict[str, int]) -> str | None:
    text = " ".join(word.text.splitlines())
    corners = np.asarray(word.polygon, dtype=np.float64)
    if protocol.layout != "polygon":
        quadrilateral = to_quadrilateral(corners, protocol)
        if quadrilateral is None:
            done["left_out"] += 1
            return None
        done["reduced"] += len(corners) != 4
        numbers = ",".join(str(value) for value in quadrilateral.ravel())
        return f"{numbers},{text}" if with_text else numbers
    if len(corners) < 3 or not np.isfinite(corners).all():
        done["left_out"] += 1
        return None
    if not is_clockwise(corners):
        corners = corners[::-1]
    # float32 in its shortest decimals, so that the file is measured as the predictions were
    decimals = corners.ravel() if word.polygon.dtype == np.float64 else corners.astype(np.float32).ravel().astype("U32")
    return f"{','.join(str(value) for value in decimals)},####{text}"


def _as_measured(polygon: np.ndarray, protocol: Protocol) -> np.ndarray:
    corners = np.asarray(polygon, dtype=np.float64)
    return np.trunc(corners) if protocol.truncate_coordinates else corners
