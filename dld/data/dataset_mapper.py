"""Turns a dataset dict into what the spotter is fed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from dld.config import configured_charset
from dld.data.augmentation import AffineView, TextCrop, color_jitter, resized_shape, rotation_matrix
from dld.data.picture import read_picture
from dld.structures.characters import jittered_centers
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.polygon import clip_polygon, polygon_area
from dld.structures.sides import MOST_JITTER, SIDE_POINTS, jittered, spread_characters, word_sides
from dld.structures.tall import is_tall, view_forms
from dld.text.charset import Charset

__all__ = ["TextDatasetMapper", "WordCharacters", "read_dict_image", "words_to_instances"]

# Every word is compared with every anchor, 200,000 of them at 640 x 640: 300 words take 240 MB a table.
MOST_WORDS = 300
# points of an outline in training: their masks' memory grows with words x points
MOST_OUTLINE_POINTS = 100


class WordCharacters(NamedTuple):
    """Where the characters of R words stand, in pixels of the network's input; at most T of each word."""

    corners: np.ndarray  # (R, T, 4, 2), clockwise from the top left as it is read; NaN where there is none
    known: np.ndarray  # bool (R,): annotated, not spread along the word's sides


def read_dict_image(dataset_dict: dict) -> np.ndarray:
    """Return the image of a dataset dict, uint8 BGR (H, W, 3): the one it carries, or its file read upright as in inference.

    Raises:
        ValueError: the file cannot be read as an image, or is not of the annotated size (the message names it); the dict holds
            strips and no image.
    """
    image = dataset_dict.get("image")
    if image is None and "strips" in dataset_dict:
        raise ValueError(
            f"{dataset_dict['file_name']} holds strips of single words, not a picture: only a reader of strips takes it"
        )
    if image is None:
        name, size = dataset_dict["file_name"], (dataset_dict.get("width"), dataset_dict.get("height"))
        try:
            image = read_picture(name, size=None if None in size else size)
        except FileNotFoundError as error:
            raise ValueError(f"cannot read image {name}: there is no such file") from error
        try:
            detection_utils.check_image_size(dict(dataset_dict), image)
        except detection_utils.SizeMismatchError as error:
            raise ValueError(str(error)) from error
    return image


class TextDatasetMapper:
    """Reads and augments an image, and turns its words into `Instances`.

    At test: `image` float tensor (3, H', W') resized to the test short side; `photo` uint8 BGR (H, W, 3) as it was read, from
    which strips are cut; `height`, `width` of the original and its `annotations`, for the evaluator. In training:
    `instances`, see :func:`words_to_instances`, and `sampling_seed`.

    Args:
        is_train: augment and make targets.
        charset, max_length: words outside of these become don't care.
        short_sides: pixels; one is drawn per training image.
        longest: most pixels of the long side.
        crop: window chooser, or None.
        rotation: degrees.
        jitter: brightness, contrast, saturation shares.
        read_box_jitter: see INPUT.READ_BOX_JITTER.
        max_read_words: most words read per image.
        fill: BGR of what a rotation or crop uncovers.
        side_points: points of a side in `gt_fiducials`; 0: none are made.
        side_jitter: how far `gt_read_sides` are moved, see :func:`~dld.structures.sides.jittered`.
        characters: T, most characters of a word in `gt_characters`; 0: none are made.
        characters_spread: words whose characters nobody annotated have them spread along their sides.
        anchor_jitter: how far `gt_read_anchors` are moved, as a share of the shortest side of their character.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        charset: Charset,
        max_length: int,
        short_sides: tuple[int, ...],
        longest: int,
        crop: TextCrop | None = None,
        rotation: float = 0.0,
        jitter: tuple[float, float, float] = (0.0, 0.0, 0.0),
        read_box_jitter: float = 0.0,
        max_read_words: int = 64,
        fill: tuple[int, int, int] = (104, 116, 124),
        side_points: int = 0,
        side_jitter: float = 0.0,
        characters: int = 0,
        characters_spread: bool = True,
        anchor_jitter: float = 0.0,
    ) -> None:
        self.is_train, self.charset, self.max_length = is_train, charset, max_length
        self.short_sides, self.longest = tuple(short_sides), longest
        self.crop, self.rotation, self.jitter = crop, rotation, jitter
        self.read_box_jitter, self.max_read_words, self.fill = read_box_jitter, max_read_words, fill
        if side_points == 1 or side_points < 0:
            raise ValueError(f"INPUT.SIDE_POINTS must be 0 or at least 2, got {side_points}")
        if not 0 <= side_jitter <= MOST_JITTER:
            raise ValueError(f"MODEL.STRIPS.TRAINING.SIDE_JITTER must be in [0, {MOST_JITTER}], got {side_jitter}")
        self.side_points, self.side_jitter = side_points, side_jitter
        if characters < 0:
            raise ValueError(f"INPUT.CHARACTERS must be at least 0, got {characters}")
        if anchor_jitter < 0:
            raise ValueError(f"MODEL.RECOGNITION.ANCHORS.JITTER must be at least 0, got a jitter of {anchor_jitter}")
        self.characters, self.characters_spread, self.anchor_jitter = characters, characters_spread, anchor_jitter

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        node = cfg.MODEL.RECOGNITION
        ret = {
            "is_train": is_train,
            "charset": configured_charset(cfg),
            "max_length": node.MAX_LENGTH,
            "short_sides": cfg.INPUT.MIN_SIZE_TRAIN if is_train else (cfg.INPUT.MIN_SIZE_TEST,),
            "longest": cfg.INPUT.MAX_SIZE_TRAIN if is_train else cfg.INPUT.MAX_SIZE_TEST,
            "fill": tuple(round(v) for v in cfg.MODEL.PIXEL_MEAN),
        }
        if cfg.INPUT.FORMAT != "BGR":
            raise ValueError(f"INPUT.FORMAT must be BGR, got {cfg.INPUT.FORMAT}")
        if is_train:
            crop = cfg.INPUT.TEXT_CROP
            ret.update(
                crop=TextCrop(tuple(crop.SIZE), crop.MIN_SHARE) if crop.ENABLED else None,
                rotation=cfg.INPUT.ROTATION,
                jitter=(cfg.INPUT.JITTER_BRIGHTNESS, cfg.INPUT.JITTER_CONTRAST, cfg.INPUT.JITTER_SATURATION),
                read_box_jitter=cfg.INPUT.READ_BOX_JITTER,
                max_read_words=cfg.INPUT.MAX_READ_WORDS,
                side_points=cfg.INPUT.SIDE_POINTS,
                side_jitter=cfg.MODEL.STRIPS.TRAINING.SIDE_JITTER,
                characters=cfg.INPUT.CHARACTERS,
                characters_spread=cfg.INPUT.CHARACTERS_SPREAD,
                anchor_jitter=node.ANCHORS.JITTER * node.ANCHORS.RADIUS,
            )
        return ret

    def __call__(self, dataset_dict: dict, rng: np.random.Generator | None = None) -> dict:
        """Map one dict (not modified). `rng` drives the augmentation; without one it is drawn from the system."""
        image = read_dict_image(dataset_dict)
        out = {k: copy.deepcopy(v) for k, v in dataset_dict.items() if k not in ("image", "annotations")}
        if not self.is_train:
            height, width = resized_shape(*image.shape[:2], self.short_sides[0], self.longest)
            resized = T.ResizeTransform(*image.shape[:2], height, width).apply_image(image)
            out["image"] = to_tensor(resized)
            out["photo"] = image
            out["annotations"] = dataset_dict.get("annotations", [])
            return out
        rng = np.random.default_rng() if rng is None else rng
        annotations = dataset_dict.get("annotations", ())
        words = [self._read_annotation(a) for a in annotations]
        view = self._choose_view(image.shape[:2], words, rng)
        pixels = view.pixels(image, self.fill)
        if any(self.jitter):
            pixels = color_jitter(pixels, *self.jitter, rng)
        out["image"] = to_tensor(pixels)
        out["instances"] = words_to_instances(
            [(view.points(polygon), text, ignore) for polygon, text, ignore in words],
            (view.height, view.width),
            self.charset,
            self.max_length,
            self.read_box_jitter,
            self.max_read_words,
            rng,
            [self._sides(word, view) for word in words] if self.side_points else None,
            self.side_jitter,
            self._characters(annotations, words, view, str(dataset_dict.get("image_id"))) if self.characters else None,
            self.anchor_jitter,
        )
        # anchors and proposals are sampled with it: it belongs to the image, not to the process that has it
        out["sampling_seed"] = int(rng.integers(2**62))
        return out

    def _read_annotation(self, annotation: dict) -> tuple[np.ndarray, str, bool]:
        text = annotation["text"]
        ignore = annotation["ignore"] or not text or len(text) > self.max_length or not self.charset.covers(text)
        return np.asarray(annotation["polygon"], dtype=np.float64), text, bool(ignore)

    def _sides(self, word: tuple[np.ndarray, str, bool], view: AffineView) -> np.ndarray:
        # of the outline as it was annotated: in the image, clipped or thinned, it no longer says where a word starts
        polygon, text, ignored = word
        sides = None if ignored else word_sides(polygon, self.side_points, len(text))
        return (
            np.full((2, self.side_points, 2), np.nan)
            if sides is None
            else view.points(sides.reshape(-1, 2)).reshape(sides.shape)
        )

    def _characters(
        self, annotations: Sequence[dict], words: list[tuple[np.ndarray, str, bool]], view: AffineView, image_id: str
    ) -> WordCharacters:
        found = WordCharacters(np.full((len(words), self.characters, 4, 2), np.nan), np.zeros(len(words), bool))
        for i, (annotation, (polygon, text, ignored)) in enumerate(zip(annotations, words, strict=True)):
            corners = annotation.get("characters")
            if corners is not None and (np.shape(corners) != (len(text), 4, 2) or not np.isfinite(corners).all()):
                raise ValueError(
                    f"image {image_id}: the characters of {text!r} must be {len(text)} x 4 finite points, got shape "
                    f"{np.shape(corners)}"
                )
            if ignored:
                continue
            found.known[i] = corners is not None
            if corners is None and self.characters_spread:
                corners = spread_characters(polygon, len(text))
            if corners is not None:
                corners = np.asarray(corners, dtype=np.float64)[: self.characters]
                found.corners[i, : len(corners)] = view.points(corners)
        return found

    def _choose_view(self, shape: tuple[int, int], words, rng: np.random.Generator) -> AffineView:
        height, width = shape
        short = int(rng.choice(self.short_sides))
        resized = resized_shape(height, width, short, self.longest)
        scale = resized[0] / height
        rotation = None
        if self.rotation:
            rotation = rotation_matrix(float(rng.uniform(-self.rotation, self.rotation)), height, width)
        if self.crop is None:
            return AffineView.of_window(rotation, (0, 0, width, height), scale, resized)
        turned = AffineView.of_window(rotation, (0, 0, width, height), 1.0, shape)
        boxes = np.array([[*p.min(0), *p.max(0)] for p in (turned.points(w[0]) for w in words)]).reshape(-1, 4)
        readable = np.array([not w[2] for w in words], dtype=bool)
        # words that a rotation pushed over the image's edge are cut already and cannot be saved by a window
        readable &= ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= [width, height])).all(1)
        window = self.crop(boxes, readable, height, width, scale, rng)
        size = self.crop.size
        if size[0] == 0:
            size = (
                max(round((window[3] - window[1]) * scale), 1),
                max(round((window[2] - window[0]) * scale), 1),
            )
        return AffineView.of_window(rotation, window, scale, size)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert uint8 (H, W, 3) to a float32 tensor (3, H, W) of the same values."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()


def words_to_instances(
    words: list[tuple[np.ndarray, str, bool]],
    image_size: tuple[int, int],
    charset: Charset,
    max_length: int,
    read_box_jitter: float = 0.0,
    max_read_words: int = 64,
    rng: np.random.Generator | None = None,
    sides: Sequence[np.ndarray] | None = None,
    side_jitter: float = 0.0,
    characters: WordCharacters | None = None,
    anchor_jitter: float = 0.0,
) -> Instances:
    """Make the training targets of one image.

    A word of which the image's edge cuts off more than a tenth of its area, or more than a quarter of its height (about
    half a letter, at either end of a long word), becomes don't care; one outside is dropped. If there are more than
    MOST_WORDS words, a new random choice of MOST_WORDS counts each time; the others become don't care.

    Args:
        words: polygon (P, 2) in pixels of the network's input, text, ignore.
        image_size: (H, W) of that input.
        sides: of each word (2, n, 2) in the same pixels, see :func:`~dld.structures.sides.word_sides`; NaN where it has none.
        characters: of each word, in the same pixels.

    Returns:
        Instances with `gt_boxes`, `gt_classes` (0), `gt_masks` (PaddedPolygons), `gt_ignore` (bool: neither word nor
        background), `gt_readable` (bool: the recogniser is trained on it), `gt_text` (ids (R, max_length + 1)),
        `gt_read_boxes` (the box that is read in training), `gt_tall` (bool: transposed before reading), and with `sides`
        `gt_fiducials` (PaddedPolygons (R, 2n, 2): top side, then bottom side, both from the word's start to its end, beyond the
        image's edge, too; NaN for a word without sides) and `gt_read_sides` (the same, moved by `side_jitter`: between them
        strips are cut in training), and with `characters` `gt_characters` (PaddedPolygons (R, 4T, 2): T quadrangles in the
        order of the text, corners clockwise from the top left as it is read; NaN where there is none), `gt_characters_known`
        (bool: they were annotated), `gt_read_anchors` (PaddedPolygons (R, T, 2): their middles, moved by `anchor_jitter`) and
        `gt_view` (int64: the form in which the word is looked at as it stands, of :func:`~dld.structures.tall.view_forms`).
    """
    height, width = image_size
    rng = np.random.default_rng() if rng is None else rng
    polygons, ignore, texts, kept = [], [], [], []
    for place, (polygon, text, ignored) in enumerate(words):
        area = polygon_area(polygon)
        inside = polygon
        if polygon.min() < 0 or polygon[:, 0].max() > width or polygon[:, 1].max() > height:
            clipped = clip_polygon(polygon, width, height)
            if clipped is None:
                continue
            size = np.ptp(polygon, axis=0)
            lost = (size - np.ptp(clipped, axis=0)).max()
            ignored = bool(ignored or polygon_area(clipped) < 0.9 * area or lost > 0.25 * area / size.max())
            inside = clipped
        box_size = inside.max(0) - inside.min(0)
        if box_size.min() < 1:
            continue
        polygons.append(inside[:: -(-len(inside) // MOST_OUTLINE_POINTS)])
        kept.append(place)
        ignore.append(ignored)
        texts.append(charset.encode("" if ignored else text, max_length))
    R = len(polygons)
    counted = [i for i in range(R) if not ignore[i]]
    for i in rng.permutation(counted)[MOST_WORDS:] if len(counted) > MOST_WORDS else ():
        ignore[i], texts[i] = True, charset.encode("", max_length)
    target = Instances((height, width))
    boxes = torch.tensor(np.array([[*p.min(0), *p.max(0)] for p in polygons]).reshape(-1, 4), dtype=torch.float32)
    target.gt_boxes = Boxes(boxes)
    target.gt_classes = torch.zeros(R, dtype=torch.int64)
    target.gt_masks = PaddedPolygons.from_list(polygons)
    target.gt_ignore = torch.tensor(ignore, dtype=torch.bool)
    readable = ~target.gt_ignore
    if int(readable.sum()) > max_read_words:
        candidates = readable.nonzero()[:, 0].numpy()
        drop = rng.permutation(candidates)[max_read_words:]
        readable[torch.from_numpy(drop)] = False
    target.gt_readable = readable
    target.gt_text = torch.stack(texts) if R else torch.zeros((0, max_length + 1), dtype=torch.int64)
    read_boxes = boxes.clone()
    if read_box_jitter and R:
        side = torch.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])[:, None]
        noise = torch.from_numpy(rng.uniform(-1, 1, (R, 4))).float()
        read_boxes = read_boxes + noise * read_box_jitter * side
    target.gt_read_boxes = Boxes(read_boxes)
    target.gt_tall = is_tall(boxes)
    if sides is not None:
        n = sides[0].shape[1] if len(sides) else SIDE_POINTS
        points = np.stack([sides[place] for place in kept]) if kept else np.zeros((0, 2, n, 2))
        for name, read in (("gt_fiducials", points), ("gt_read_sides", jittered(points, side_jitter, rng))):
            target.set(name, PaddedPolygons(torch.from_numpy(read.astype(np.float32).reshape(R, 2 * n, 2))))
    if characters is not None:
        corners = characters.corners[kept].astype(np.float32)
        target.gt_characters = PaddedPolygons(torch.from_numpy(corners.reshape(R, 4 * corners.shape[1], 2)))
        target.gt_characters_known = torch.from_numpy(characters.known[kept])
        target.gt_read_anchors = PaddedPolygons(torch.from_numpy(jittered_centers(corners, anchor_jitter, rng)))
        # decided here, so that teacher and student look at a word in one form
        target.gt_view = view_forms(boxes)
    return target
