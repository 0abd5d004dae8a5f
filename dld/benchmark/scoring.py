"""Times scoring: 500 images of 20 words, every task, one core."""

import time

import numpy as np

from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.matching import score_dataset
from dld.evaluation.protocol import TASKS, totaltext
from dld.structures.words import Word

__all__ = ["benchmark_evaluation", "random_scenes"]


def random_scenes(
    images: int, words: int, seed: int = 0, points: int = 8
) -> tuple[dict[str, list[GroundTruthWord]], dict[str, list[Word]]]:
    """Make ground truth and jittered predictions: curved outlines of `points` corners, one word in ten don't care."""
    generator = np.random.default_rng(seed)
    along = np.concatenate([np.linspace(-1, 1, points // 2), np.linspace(1, -1, points - points // 2)])
    across = np.concatenate([np.full(points // 2, -1.0), np.full(points - points // 2, 1.0)])
    truth: dict[str, list[GroundTruthWord]] = {}
    predictions: dict[str, list[Word]] = {}
    for number in range(1, images + 1):
        centres = generator.uniform((60, 30), (1220, 690), size=(words, 1, 2))
        sizes = generator.uniform((20, 8), (60, 20), size=(words, 1, 2))
        outline = np.stack([along, across + 0.4 * along**2], axis=1)
        polygons = centres + sizes * outline  # (words, points, 2)
        moved = polygons + generator.normal(0, 2, size=polygons.shape)
        texts = ["".join(generator.choice(list("ABCDEFGH"), size=6)) for _ in range(words)]
        image = f"img_{number}"
        truth[image] = [
            GroundTruthWord(polygon, "#" if index % 10 == 9 else text)
            for index, (polygon, text) in enumerate(zip(polygons, texts, strict=True))
        ]
        predictions[image] = [Word(text, polygon) for polygon, text in zip(moved, texts, strict=True)]
    return truth, predictions


def benchmark_evaluation(images: int = 500, words: int = 20, seed: int = 0) -> dict[str, float]:
    """Measure the seconds (wall clock, and of this process) that all tasks take on `random_scenes`, and what was scored."""
    truth, predictions = random_scenes(images, words, seed)
    start, cpu_start = time.perf_counter(), time.process_time()
    scores = score_dataset(truth, predictions, totaltext, TASKS)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "images": images,
        "words_per_image": words,
        "tasks": len(TASKS),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "detection_hmean": scores["detection"].score.hmean,
    }
