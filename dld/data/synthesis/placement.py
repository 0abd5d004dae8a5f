"""Free room in an image: signs are placed where no other sign is, so that no word covers another."""

import numpy as np

__all__ = ["FreeRoom"]

CELL = 4  # pixels


class FreeRoom:
    """Occupied cells of an image of ``width`` x ``height`` pixels, on a grid of 4 pixels.

    A place is drawn uniformly among all that are free, so that a dense image fills up instead of giving up after some
    tries.
    """

    def __init__(self, width: int, height: int):
        self.columns, self.rows = width // CELL, height // CELL
        self._taken = np.zeros((self.rows, self.columns), np.uint8)

    def find(self, rng: np.random.Generator, width: float, height: float) -> tuple[int, int] | None:
        """Return the top-left pixel (x, y) of a free rectangle of that size in pixels, None when there is none."""
        w, h = int(np.ceil(width / CELL)) + 1, int(np.ceil(height / CELL)) + 1
        if w > self.columns or h > self.rows:
            return None
        sums = np.zeros((self.rows + 1, self.columns + 1), np.int32)
        np.cumsum(np.cumsum(self._taken, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
        covered = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
        free = np.flatnonzero(covered == 0)
        if not free.size:
            return None
        row, column = divmod(int(free[int(rng.integers(free.size))]), covered.shape[1])
        return column * CELL, row * CELL

    def take(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Mark the rectangle (pixels) as occupied; parts outside the image are ignored."""
        columns = slice(max(0, int(x0 // CELL)), max(0, int(np.ceil(x1 / CELL))))
        rows = slice(max(0, int(y0 // CELL)), max(0, int(np.ceil(y1 / CELL))))
        self._taken[rows, columns] = 1

    def is_free(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Tell whether the part of the rectangle (pixels) inside the image is unoccupied."""
        columns = slice(max(0, int(x0 // CELL)), max(0, int(np.ceil(x1 / CELL))))
        rows = slice(max(0, int(y0 // CELL)), max(0, int(np.ceil(y1 / CELL))))
        return not self._taken[rows, columns].any()
