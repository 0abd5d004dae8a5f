"""Score predictions by an official protocol, and write the zip for the official site."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dld.cli.command import add_punctuation, run_command
from dld.evaluation.ground_truth import GroundTruthWord, read_ground_truth
from dld.evaluation.lexicon import LEXICON_RULES, LEXICONS
from dld.evaluation.lexicon_files import load_lexicon
from dld.evaluation.matching import TaskScore, score_dataset
from dld.evaluation.protocol import PROTOCOLS, TASKS, Protocol, get_protocol
from dld.evaluation.report import score_table, scores_document, write_json
from dld.evaluation.submission import Submission, check_predictions, read_submission, write_submission
from dld.evaluation.transcription import handed_in
from dld.structures.words import Word

__all__ = ["add_arguments", "main", "run"]

logger = logging.getLogger(__name__)


EPILOG = """
examples:
  dld evaluate --dataset icdar2015_test --predictions results.json
  dld evaluate --gt gt.zip --protocol icdar2015 --predictions submission.zip --lexicon none weak --lexicon-dir lexicons/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--dataset", metavar="NAME", help="a registered data set, with its own protocol")
    truth.add_argument(
        "--gt", type=Path, metavar="FILE", help="zip or folder of official ground truth, or an annotations.json of ours"
    )
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="FILE", help="results json, or zip or folder of a submission"
    )
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="needed with --gt; a data set has its own")
    add_punctuation(parser)
    parser.add_argument("--task", choices=(*TASKS, "all"), default="all")
    parser.add_argument("--lexicon", choices=LEXICONS, nargs="+", default=["none"], help="one or several")
    parser.add_argument("--lexicon-dir", type=Path, metavar="DIR", help="folder with the official lexicon files")
    parser.add_argument(
        "--lexicon-rule",
        choices=tuple(LEXICON_RULES),
        default="plain",
        help="plain: nearest word however far (default); limited and weighted: as spotters on detectron2 do",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="json of scores, counts and rules")
    parser.add_argument("--write-submission", type=Path, metavar="FILE", help="zip for the official site")
    parser.add_argument("--strict", action="store_true", help="refuse polygons that the official tools would not take")


def run(args: argparse.Namespace) -> dict[str, dict[str, TaskScore]]:
    """Score, print the table, write the wanted files.

    Returns:
        task -> lexicon -> score.

    Raises:
        ValueError, KeyError, FileNotFoundError: for input that cannot be scored; the message names file and line.
    """
    protocol, truth = _ground_truth(args)
    protocol = replace(protocol, lexicon_rule=LEXICON_RULES[args.lexicon_rule], punctuation=args.punctuation)
    lexicons = list(dict.fromkeys(args.lexicon))
    if args.write_submission is not None and len(lexicons) > 1:
        raise ValueError("--write-submission takes one --lexicon: a submission holds one text for each word")
    submission = read_submission(args.predictions, protocol, truth)
    submission = replace(submission, words={i: handed_in(words, protocol) for i, words in submission.words.items()})
    problems = check_predictions(submission.words, protocol, submission.places, args.strict)
    tasks = _tasks(args, submission)
    corrected = {}
    for name in lexicons:
        asked = [image for image, words in submission.words.items() if words]
        lexicon = load_lexicon(name, args.lexicon_dir, asked, protocol)
        corrected[name] = lexicon.correct({image: submission.words[image] for image in asked}, protocol)
    scores = _score(truth, submission.words, corrected, protocol, tasks)
    title = f"{args.dataset or args.gt}: {len(truth)} images, protocol {protocol.title} (per cent)"
    print(score_table(scores, title))
    about = {
        "dataset": args.dataset,
        "ground_truth": None if args.gt is None else str(args.gt),
        "predictions": str(args.predictions),
        "problems": problems,
    }
    if args.write_submission is not None:
        words = submission.words if tasks == ["detection"] else corrected[lexicons[0]]
        about["submission"] = _submit(args.write_submission, words, truth, protocol, scores, lexicons[0])
    if args.output is not None:
        write_json(args.output, scores_document(scores, protocol, **about))
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld evaluate", __doc__, EPILOG, add_arguments, run, argv, progress=True)


def _ground_truth(args: argparse.Namespace) -> tuple[Protocol, dict[str, list[GroundTruthWord]]]:
    if args.gt is not None:
        if args.protocol is None:
            raise ValueError(f"--gt needs --protocol, one of {', '.join(PROTOCOLS)}")
        protocol = get_protocol(args.protocol)
        if args.gt.suffix.lower() == ".json":
            from dld.data.annotation import read_annotations

            return protocol, {
                image.image_id: [GroundTruthWord(word.polygon, word.text, word.ignore) for word in image.words]
                for image in read_annotations(args.gt)
            }
        return protocol, read_ground_truth(args.gt, protocol)
    # Scoring files needs neither torch nor a registered data set: they are imported only where they are needed.
    from detectron2.data import DatasetCatalog

    from dld.data.datasets.builtin import register_all
    from dld.evaluation.text_evaluator import dataset_ground_truth, dataset_protocol

    register_all()
    if args.dataset not in DatasetCatalog.list():
        raise KeyError(f"unknown data set {args.dataset!r}; known: {', '.join(sorted(DatasetCatalog.list()))}")
    protocol = dataset_protocol(args.dataset) if args.protocol is None else get_protocol(args.protocol)
    return protocol, dataset_ground_truth(args.dataset)


def _tasks(args: argparse.Namespace, submission: Submission) -> list[str]:
    if args.task == "detection":
        return ["detection"]
    if submission.without_text is None:
        return list(TASKS) if args.task == "all" else [args.task]
    if args.task == "all" and not submission.with_text:
        logger.warning("%s holds no transcriptions: only detection is scored", args.predictions)
        return ["detection"]
    raise ValueError(f"{submission.without_text}: no transcription, which task {args.task} needs")


def _score(
    truth: Mapping[str, Sequence[GroundTruthWord]],
    detected: Mapping[str, Sequence[Word]],
    corrected: Mapping[str, Mapping[str, Sequence[Word]]],
    protocol: Protocol,
    tasks: Sequence[str],
) -> dict[str, dict[str, TaskScore]]:
    scores: dict[str, dict[str, TaskScore]] = {task: {} for task in tasks}
    # A lexicon rule may drop words that it cannot read; what was detected stays detected.
    detection = score_dataset(truth, detected, protocol, [task for task in tasks if task == "detection"])
    for lexicon, words in corrected.items():
        reading = score_dataset(truth, words, protocol, [task for task in tasks if task != "detection"])
        for task, result in {**detection, **reading}.items():
            scores[task][lexicon] = result
    return scores


def _submit(
    path: Path,
    words: Mapping[str, Sequence[Word]],
    truth: Mapping[str, Sequence[GroundTruthWord]],
    protocol: Protocol,
    scores: Mapping[str, Mapping[str, TaskScore]],
    lexicon: str,
) -> dict[str, object]:
    """Write the zip, read it back, score it, and report where its score differs from that of the predictions."""
    tasks = list(scores)
    with_text = tasks != ["detection"]
    done = write_submission(path, words, protocol, truth, with_text)
    if done["left_out"]:
        logger.warning("%d words without a usable polygon are not in %s", done["left_out"], path)
    written = score_dataset(truth, read_submission(path, protocol, truth).words, protocol, tasks)
    for task in tasks:
        ours, theirs = scores[task][lexicon].score, written[task].score
        if ours != theirs:
            logger.warning(
                "%s: %s H-mean of the zip is %.4f, of the predictions %.4f (%d polygons became rectangles)",
                path,
                task,
                theirs.hmean,
                ours.hmean,
                done["reduced"],
            )
    logger.info("wrote %s", path)
    return {"path": str(path), **done, "hmean": {task: item.score.hmean for task, item in written.items()}}
