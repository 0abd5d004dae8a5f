"""Counts against the independent scorer of `slab_oracle.py` on random scenes made to be close to every threshold."""

import random

import numpy as np
import pytest
from slab_oracle import official_counts

from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.matching import match_image
from dld.evaluation.protocol import TASKS, icdar2015, totaltext
from dld.structures.words import Word

TEXTS = ["Exit", "(EXIT)", "Joe's", "-way-", "62-03", "it", "No.5", "Café", "a·b", '"', "STOP!", "co-op"]


def random_scene(chooser, signs, decimals):
    """Words on a line, some don't care, and detections of them: shifted, twisted, doubled, misread."""
    truth, detections = [], []
    for index in range(chooser.randrange(1, 7)):
        width, height = chooser.randrange(10, 60), chooser.randrange(6, 20)
        x, y = 50 * index + chooser.randrange(-20, 20), 40 + chooser.randrange(-10, 10)
        polygon = [(x, y), (x + width // 2, y - 3), (x + width, y), (x + width, y + height), (x, y + height)]
        polygon = polygon if signs != "###" else [polygon[i] for i in (0, 2, 3, 4)]
        text = signs if chooser.random() < 0.25 else chooser.choice(TEXTS)
        truth.append((polygon, text))
        for _ in range(chooser.choice([0, 1, 1, 2])):
            dx, dy = chooser.choice([0, width // 4, width // 3, width // 2]), chooser.choice([0, 0, height // 3])
            moved = [(px + dx + (chooser.random() if decimals else 0), py + dy) for px, py in polygon]
            if chooser.random() < 0.2:
                i, j = chooser.sample(range(len(moved)), 2)
                moved[i], moved[j] = moved[j], moved[i]
            if chooser.random() < 0.05:
                moved = moved[:1] * len(moved)
            read = chooser.choice([text, text.upper(), text.strip("(!.'\")"), text + "!", text[:-2], "junk"])
            detections.append((moved, read))
    chooser.shuffle(detections)
    return truth, detections


@pytest.mark.parametrize("protocol, signs", [(icdar2015, "###"), (totaltext, "##")])
@pytest.mark.parametrize("decimals", [False, True])
def test_counts_are_those_of_the_official_loops(protocol, signs, decimals):
    chooser = random.Random(decimals)
    matched = 0
    for _ in range(120):
        truth, detections = random_scene(chooser, signs, decimals)
        words = [GroundTruthWord(np.array(polygon, dtype=float), text) for polygon, text in truth]
        found = [Word(text, np.array(polygon, dtype=float)) for polygon, text in detections]
        for task in TASKS:
            expected = official_counts(truth, detections, task, protocol.truncate_coordinates, protocol.dont_care_pattern)
            assert match_image(words, found, protocol, task).counts == expected, (task, truth, detections)
            matched += expected[0]
    assert matched > 100
