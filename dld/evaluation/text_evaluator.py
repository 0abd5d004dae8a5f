"""The evaluator of training and of `train_net.py --eval-only`: the official protocols on predictions in memory."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from dld.evaluation.ground_truth import GroundTruthWord, ground_truth_of
from dld.evaluation.lexicon import Lexicon
from dld.evaluation.matching import Counts, score_dataset
from dld.evaluation.protocol import TASKS, Protocol, get_protocol
from dld.evaluation.report import score_table, scores_document, write_json
from dld.evaluation.submission import check_predictions
from dld.evaluation.transcription import handed_in
from dld.structures.words import SpottingResult, result_from_instances, write_results

__all__ = ["TextSpottingEvaluator", "dataset_ground_truth", "dataset_protocol"]

logger = logging.getLogger(__name__)


class TextSpottingEvaluator(DatasetEvaluator):
    """Detection, end-to-end and word spotting in one pass.

    Args:
        dataset_name: a registered data set.
        protocol: its name or itself; None takes the one that the data set's metadata names.
        output_dir: folder for `DATASET_results.json` and `DATASET_scores.json`; None writes nothing.
        lexicon: corrects texts before end-to-end and word spotting; None: the recogniser's own text.
        tasks: what is scored.

    Ground truth is what the inputs carry under "annotations". The data set itself is read only if one of them carries none
    (otherwise a generated data set would be rendered twice). Both must be in pixels of the original image.

    Attributes:
        results: predictions of the last evaluation by image id (main process).
        per_image: task -> image id -> counts of the last evaluation, for intervals (`dld.evaluation.bootstrap`).
    """

    def __init__(
        self,
        dataset_name: str,
        protocol: str | Protocol | None = None,
        output_dir: str | Path | None = None,
        lexicon: Lexicon | None = None,
        tasks: Sequence[str] = TASKS,
    ) -> None:
        if protocol is None:
            protocol = dataset_protocol(dataset_name)
        self.dataset_name = dataset_name
        self.protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.lexicon = lexicon if lexicon is not None else Lexicon("none")
        self.tasks = tuple(tasks)
        self.reset()

    def reset(self) -> None:
        self._gathered: list[tuple[SpottingResult, list[GroundTruthWord] | None]] = []
        self.results: dict[str, SpottingResult] = {}
        self.per_image: dict[str, dict[str, Counts]] = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Keep predictions and ground truth of a batch.

        Args:
            inputs: data set dicts with "image_id" and, if they have it, "file_name" and "annotations".
            outputs: dicts with "instances" (see `result_from_instances`) and, if they have it, "scale", "cost",
                "gflops".
        """
        for given, output in zip(inputs, outputs, strict=True):
            spent = {key: float(output[key]) for key in ("scale", "cost", "gflops") if output.get(key) is not None}
            result = result_from_instances(output["instances"], str(given["image_id"]), given.get("file_name"), **spent)
            self._gathered.append((result, ground_truth_of(given) if "annotations" in given else None))

    def evaluate(self) -> "OrderedDict[str, dict[str, float]]":
        """Score everything that all processes have seen.

        Returns:
            on the main process task -> precision, recall, hmean **in per cent**, as detectron2 prints them (files hold
            fractions); elsewhere an empty dict.
        """
        gathered = comm.gather(self._gathered, dst=0)
        if not comm.is_main_process():
            return OrderedDict()
        truth: dict[str, list[GroundTruthWord]] | None = {}
        for result, words in (item for part in gathered for item in part):
            # Samplers pad the last batch of some processes with images that others have as well.
            self.results.setdefault(str(result.image_id), result)
            if words is None or truth is None:
                truth = None
            else:
                truth.setdefault(str(result.image_id), words)
        if not truth:
            truth = dataset_ground_truth(self.dataset_name)
        return self._score(truth)

    def _score(self, truth: Mapping[str, Sequence[GroundTruthWord]]) -> "OrderedDict[str, dict[str, float]]":
        predictions = {image: handed_in(result.words, self.protocol) for image, result in self.results.items()}
        problems = check_predictions(predictions, self.protocol)
        scores = score_dataset(truth, predictions, self.protocol, [task for task in self.tasks if task == "detection"])
        corrected = self.lexicon.correct(predictions, self.protocol)
        scores |= score_dataset(truth, corrected, self.protocol, [task for task in self.tasks if task != "detection"])
        self.per_image = {task: scores[task].per_image for task in self.tasks}
        by_lexicon = {task: {self.lexicon.name: scores[task]} for task in self.tasks}
        title = f"{self.dataset_name}: {len(truth)} images, protocol {self.protocol.title} (per cent)"
        logger.info("Scores\n%s", score_table(by_lexicon, title))
        if self.output_dir is not None:
            write_results(self.output_dir / f"{self.dataset_name}_results.json", self.results.values(), self.dataset_name)
            document = scores_document(by_lexicon, self.protocol, dataset=self.dataset_name, problems=problems)
            write_json(self.output_dir / f"{self.dataset_name}_scores.json", document)
        return OrderedDict(
            (task, {key: 100 * getattr(scores[task].score, key) for key in ("precision", "recall", "hmean")})
            for task in self.tasks
        )


def dataset_protocol(dataset_name: str, punctuation: str = "kept", name: str | None = None) -> Protocol:
    """Return the protocol that a registered data set's metadata names. Raises KeyError where it names none.

    Args:
        punctuation: what the detected texts keep of it, see :class:`~dld.evaluation.protocol.Protocol`.
        name: of the protocol to take instead.
    """
    name = name or MetadataCatalog.get(dataset_name).get("protocol")
    if name is None:
        raise KeyError(f"the metadata of data set '{dataset_name}' names no protocol; give one")
    return replace(get_protocol(name), punctuation=punctuation)


def dataset_ground_truth(dataset_name: str) -> dict[str, list[GroundTruthWord]]:
    """Return the words of every image of a registered data set, a list or a streamed one (which is read from end to end)."""
    dataset = DatasetCatalog.get(dataset_name)
    items = (dataset[index] for index in range(len(dataset)))
    return {str(item["image_id"]): ground_truth_of(item) for item in items}
