"""Which points a study has, and how each follows from what was measured.

Measured with a network: the teacher and every student at each fixed scale, every student with a selector at its own
choice, and the selector's scores. The points along a budget need no network: the student reads at a chosen scale
exactly what it reads there when the scale is fixed, so another mu only picks other readings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dld.data.build import get_text_dataset
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.setup import register_datasets
from dld.evaluation.text_evaluator import dataset_protocol
from dld.inference.budget import Budget, ScaleScores, choose_scales
from dld.study.examples import draw_examples
from dld.study.measure import Measurement, StudiedSpotter, StudySet, measure
from dld.study.table import Reading, StudyPoint, read_at

__all__ = ["Study", "crossed_choice", "study_set"]

logger = logging.getLogger(__name__)


def study_set(cfg, name: str, limit: int = 0, punctuation: str = "kept", protocol: str | None = None) -> StudySet:
    """Open the first `limit` images (0: all) of a registered data set at the test size of a configuration.

    Args:
        punctuation: what the words that are read keep of it, see :class:`~dld.evaluation.protocol.Protocol`.
        protocol: name of the one that scores; None: that of the data set.

    Raises:
        KeyError, ValueError: an unknown data set, or no images in it.
    """
    images = get_text_dataset(name)
    count = min(limit, len(images)) if limit > 0 else len(images)
    if limit < 0 or not count:
        raise ValueError(f"data set {name!r} has {len(images)} images, {limit} were asked for")
    node = cfg.DATASETS.SYNTHWORDS
    settings = {key: node[key] for key in node if key not in ("VAL_LENGTH", "DENSE", "REUSE")}
    if name.endswith("_train"):
        settings["DENSE"] = node.DENSE
    rules = dataset_protocol(name, punctuation, protocol)
    return StudySet(name, images, TextDatasetMapper(cfg, False), rules, count, settings)


def crossed_choice(scores: ScaleScores, budget: Budget) -> tuple[np.ndarray, list[float]]:
    """Choose scales under a budget without calibrating on the images that are read: images of even and of odd index are two
    halves, and each is read with the mu calibrated on the other.

    Returns:
        index of the chosen scale of each image (N,), and the mu used on the even and on the odd half.
    """
    N = len(scores.costs)
    if N < 2:
        raise ValueError("a budget needs two images at least, or a calibration data set")
    choice, used = np.zeros(N, dtype=np.int64), []
    for half in (0, 1):
        mu = budget.calibrate(ScaleScores(*(table[1 - half :: 2] for table in scores)))
        choice[half::2] = choose_scales(scores.log_probabilities[half::2], scores.costs[half::2], mu)
        used.append(mu)
    return choice, used


def _descending(scales: Iterable[float]) -> list[float]:
    return sorted({float(s) for s in scales}, reverse=True)


class Study:
    """Teacher and students on the same images.

    Args:
        spotters: the teacher first. All are given images of the teacher's test size: a scale means the same for all.
        dataset: registered name; the teacher's configuration decides what generated images look like.
        limit: first images of it; 0: all.
        scales: fixed scales of the teacher; 1 is added, because everything is compared with it.
        cache: folder.
        student_scales: fixed scales of the students; None: the teacher's.
        only_chosen: names of students that are read at their own choice alone.
        punctuation, protocol: of `study_set`.
    """

    def __init__(
        self,
        spotters: Sequence[StudiedSpotter],
        dataset: str,
        limit: int,
        scales: Sequence[float],
        cache: Path,
        *,
        student_scales: Sequence[float] | None = None,
        only_chosen: Sequence[str] = (),
        punctuation: str = "kept",
        protocol: str | None = None,
    ) -> None:
        for given in (scales, student_scales or ()):
            if any(not 0 < s <= 1 for s in given):
                raise ValueError(f"scales must lie in (0, 1], got {list(given)}")
        self.teacher, *self.students = spotters
        self.scales = _descending({*scales, 1.0})
        unknown = set(only_chosen) - {s.name for s in self.students if s.selects}
        if unknown:
            raise ValueError(f"no student with a resolution selector is named {sorted(unknown)[0]!r}")
        self.only_chosen = frozenset(only_chosen)
        register_datasets(self.teacher.cfg)
        self.images = study_set(self.teacher.cfg, dataset, limit, punctuation, protocol)
        self.cache = Path(cache)
        of_students = self.scales if student_scales is None else _descending(student_scales)
        wanted = {s.name: () if s.name in self.only_chosen else of_students for s in self.students}
        wanted[self.teacher.name] = self.scales
        self.fixed = {
            spotter.name: {s: Measurement.of(spotter, self.images, self.cache, s) for s in wanted[spotter.name]}
            for spotter in spotters
        }
        self.chosen = {s.name: Measurement.of(s, self.images, self.cache) for s in self.students if s.selects}
        self.scored: dict[str, Measurement] = {}
        self.calibration: dict[str, Measurement] = {}
        self.calibration_set: StudySet | None = None
        self.budgets: list[Budget] = []

    def plan_budgets(self, budgets: Sequence[str], calibration_dataset: str | None = None, limit: int = 0) -> None:
        """Tell `measure` what these budgets need: selectors' scores, and students at all candidate scales.

        Raises:
            ValueError: not a budget, no student with a selector, or calibration on the evaluated images.
        """
        self.budgets = [Budget.parse(text) for text in budgets]
        if not self.budgets:
            return
        if not self.chosen:
            raise ValueError("--budgets needs a student with a resolution selector")
        if calibration_dataset == self.images.name:
            raise ValueError(
                f"{calibration_dataset} is what is evaluated: name another calibration data set, or none for two halves"
            )
        if calibration_dataset:
            self.calibration_set = study_set(self.teacher.cfg, calibration_dataset, limit)
        for spotter in (s for s in self.students if s.selects and s.name not in self.only_chosen):
            self.scored[spotter.name] = Measurement.of(spotter, self.images, self.cache, what="score")
            for scale in spotter.model.scales:
                self.fixed[spotter.name].setdefault(scale, Measurement.of(spotter, self.images, self.cache, scale))
            if self.calibration_set is not None:
                self.calibration[spotter.name] = Measurement.of(spotter, self.calibration_set, self.cache, what="score")

    def measure(self) -> int:
        """Run whatever the caches lack; return how often a network ran."""
        fixed = [m for of_model in self.fixed.values() for m in of_model.values()]
        runs = measure(self.images, [*fixed, *self.chosen.values(), *self.scored.values()])
        if self.calibration_set is not None:
            runs += measure(self.calibration_set, list(self.calibration.values()), "calibration")
        return runs

    def points(self) -> list[StudyPoint]:
        """Return the teacher from scale 1 down, then each student: at fixed scales, at its own choice, under budgets."""
        points = self._fixed_points(self.teacher, {"checkpoint": self.teacher.sha256})
        for student in self.students:
            # a student without selector was trained without a weight of cost
            gamma = student.cfg.MODEL.DISTILLATION.GAMMA if student.selects else None
            about = {"gamma": gamma, "checkpoint": student.sha256}
            points += self._fixed_points(student, about)
            if student.selects:
                readings = self.chosen[student.name].readings(self.images.count)
                mu = float(student.model.mu)
                points.append(StudyPoint(student.name, student.name, "chosen", readings, {**about, "mu": mu}))
                points += self._budget_points(student, about, readings)
        return points

    def _fixed_points(self, spotter: StudiedSpotter, about: dict) -> list[StudyPoint]:
        return [
            StudyPoint(f"{spotter.name} @ {scale:g}", spotter.name, "fixed", m.readings(self.images.count), about)
            for scale, m in sorted(self.fixed[spotter.name].items(), reverse=True)
        ]

    def _budget_points(self, student: StudiedSpotter, about: dict, own: list[Reading]) -> list[StudyPoint]:
        if student.name not in self.scored:
            return []
        count, scales = self.images.count, student.model.scales
        scored = self.scored[student.name]
        scores = scored.scores(count)
        readings = {s: self.fixed[student.name][s].readings(count) for s in scales}
        gflops, ms = ([scored.cache[i][key] for i in range(count)] for key in ("selector_gflops", "ms"))

        def picked(choice: np.ndarray) -> list[Reading]:
            return read_at(readings, [scales[c] for c in choice], gflops, ms)

        again = picked(choose_scales(scores.log_probabilities, scores.costs, float(student.model.mu)))
        different = sum((a.scale, a.counts) != (b.scale, b.counts) for a, b in zip(again, own, strict=True))
        if different:
            logger.warning(
                "%s: %d of %d images read differently at their chosen scale than at that scale fixed; the rows along "
                "the budget are composed of fixed scales",
                student.name,
                different,
                count,
            )
        points = []
        for budget in self.budgets:
            try:
                if self.calibration_set is None:
                    choice, mu = crossed_choice(scores, budget)
                    how = "each half of the evaluated images with mu of the other half"
                else:
                    mu = budget.calibrate(self.calibration[student.name].scores(self.calibration_set.count))
                    choice = choose_scales(scores.log_probabilities, scores.costs, mu)
                    how = f"{self.calibration_set.count} images of {self.calibration_set.name}"
            except ValueError as error:
                logger.warning("%s, budget %s: %s; left out", student.name, budget, error)
                continue
            more = {**about, "budget": str(budget), "mu": mu, "calibration": how, "composed_of_fixed_scales": True}
            points.append(StudyPoint(f"{student.name}, budget {budget}", student.name, "budget", picked(choice), more))
        return points

    def compared(self) -> dict[str, Measurement]:
        """Return what a gallery shows side by side, by name of the row: the teacher at scale 1, each student at its own choice.

        A student without selector reads at the scale of its configuration, else at the largest measured one below 1.
        """
        shown = {f"{self.teacher.name} @ 1": self.fixed[self.teacher.name][1.0]}
        for student in self.students:
            if student.selects:
                shown[student.name] = self.chosen[student.name]
            elif scales := self.fixed[student.name]:
                told = student.cfg.MODEL.SELECTOR.FIXED_SCALE
                scale = told if told in scales else max((s for s in scales if s < 1), default=1.0)
                shown[f"{student.name} @ {scale:g}"] = scales[scale]
        return shown

    def draw_examples(self, folder: Path, per_scale: int) -> None:
        """Draw the first images of every scale that a student chose."""
        for measurement in self.chosen.values():
            draw_examples(measurement, self.images, folder, per_scale)
