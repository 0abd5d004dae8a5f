"""How often the next word of a generated page is the next one that is read: python tests/page/measure_order.py [PAGES]"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from generated_pages import KINDS, roughened

from dld.page.order import reading_order


def neighbours(order: list[int]) -> tuple[int, int]:
    """How many of the true neighbours (0, 1), (1, 2), ... stand next to each other, and how many there are."""
    return sum(b == a + 1 for a, b in zip(order, order[1:], strict=False)), len(order) - 1


def flat(blocks) -> list[int]:
    return [i for block in blocks for line in block for i in line]


def share_right(kind: str, pages: int, seed: int = 0, missing: float = 0.0) -> float:
    """Share of neighbours that are read one after the other, over all pages of a kind; words given in any order.

    Args:
        missing: share of the words that the detector does not find; their neighbours become neighbours.
    """
    right = total = 0
    for k in range(pages):
        rng = np.random.default_rng([seed, k])
        page = roughened(rng, KINDS[kind](rng))
        page = page.without(rng.random(len(page.texts)) < missing)
        mixed = rng.permutation(len(page.texts))
        read = flat(reading_order([page.outlines[i] for i in mixed], [page.texts[i] for i in mixed]))
        found, count = neighbours([int(mixed[i]) for i in read])
        right, total = right + found, total + count
    return right / total


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for name in KINDS:
        shares = [100 * share_right(name, count, missing=missing) for missing in (0.0, 0.1)]
        print(
            f"{name}: {shares[0]:.2f} % of neighbours over {count} pages, {shares[1]:.2f} % where every tenth word is missing"
        )
