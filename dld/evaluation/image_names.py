"""Which image a file belongs to: `res_img_7.txt`, `gt_img_7.txt`, `img_7.jpg` and `0000007.txt` are all image 7."""

import re
from collections.abc import Iterable
from pathlib import PureWindowsPath

__all__ = ["ImageIndex", "canonical_name", "image_number"]

_PREFIX = re.compile(r"^(?:poly_gt_|gt_|res_)", re.IGNORECASE)
_ENDING = re.compile(
    r"\.(?:txt|jpe?g|jpe|jfif|jp2|png|bmp|dib|tiff?|gif|webp|avif|hei[cf]|p[pgbn]m)$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^(?:t[rs]_)?(?:img|image)?_?0*(\d+)$", re.IGNORECASE)


def canonical_name(file_name: str) -> str:
    """Return the file name without extension and without the prefixes of official files."""
    return _PREFIX.sub("", _ENDING.sub("", file_name))


def image_number(name: str) -> int | None:
    """Return the number in a name of the official patterns (`img_7`, `img7`, `0000007`, `ts_img_00007`), else None."""
    match = _NUMBERED.match(canonical_name(name))
    return int(match.group(1)) if match else None


class ImageIndex:
    """Finds the ground-truth image that a name of a submission means.

    Args:
        image_ids: the images of the ground truth.
    """

    def __init__(self, image_ids: Iterable[str]) -> None:
        self.image_ids = list(image_ids)
        self._names = {canonical_name(image): image for image in self.image_ids}
        self._names.update({image: image for image in self.image_ids})
        numbers: dict[int, str | None] = {}
        for image in self.image_ids:
            number = image_number(image)
            if number is not None:
                # Two images of one number ("img_7" and "tr_img_7"): only their whole names tell them apart.
                numbers[number] = None if number in numbers else image
        self._numbers = {number: image for number, image in numbers.items() if image is not None}

    def find(self, name: str) -> str | None:
        """Return the image id of the same name or, among official patterns, of the same number; None if there is none."""
        if name in self._names:
            return self._names[name]
        stem = canonical_name(name)
        number = image_number(stem)
        return self._names.get(stem) or (None if number is None else self._numbers.get(number))

    def find_path(self, path: str) -> str | None:
        """Return the image that the path of a picture means.

        Ids may have folders ("day1/img_1"), and the path may begin further up ("/photos/day1/img_1.jpg"): the longest end of
        it that is an image counts, at last its file name alone.
        """
        parts = PureWindowsPath(path).parts  # which knows both kinds of slashes
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((image for image in map(self.find, ends) if image is not None), None)
