"""Train and evaluate a spotter: `dld train`, `projects/DLD/train_net.py`."""

from __future__ import annotations

import argparse
import logging
import sys

from detectron2.engine import default_argument_parser

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --num-gpus 1
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --resume
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --eval-only MODEL.WEIGHTS model_best.pth
  torchrun --nproc-per-node 2 projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """detectron2's options: --config-file --resume --eval-only --num-gpus --num-machines --machine-rank --dist-url opts."""
    for action in default_argument_parser(epilog=EPILOG)._actions:
        if action.dest != "help":
            parser._add_action(action)


def run(args: argparse.Namespace):
    """What every process of the job does: set up, then train or evaluate. Returns the last scores."""
    from detectron2.modeling import build_model

    from dld.engine.checkpoint import WholeSpotterCheckpointer
    from dld.engine.distill_trainer import DistillTrainer
    from dld.engine.setup import setup
    from dld.engine.trainer import SpotterTrainer

    cfg = setup(args)
    distils = cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch"
    if args.eval_only:
        if not cfg.MODEL.WEIGHTS and not args.resume:
            raise ValueError("--eval-only scores trained weights: give MODEL.WEIGHTS FILE, or --resume for those of OUTPUT_DIR")
        if distils:
            # testing needs student and selector only: no teacher is asked for
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
        model = build_model(cfg)
        WholeSpotterCheckpointer(
            model, cfg.OUTPUT_DIR, charset_transfer=cfg.MODEL.CHARSET_TRANSFER, trust_pickle=cfg.MODEL.TRUST_PICKLE
        ).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        return SpotterTrainer.test(cfg, model)
    trainer = (DistillTrainer if distils else SpotterTrainer)(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def main(argv: list[str] | None = None) -> int:
    """Parse and launch; users' mistakes end with a message and exit code 2."""
    from dld.engine.launch import launch

    parser = default_argument_parser(epilog=EPILOG)
    args = parser.parse_args(argv)
    try:
        launch(run, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,))
    except (FileNotFoundError, KeyError, ValueError) as error:
        logging.getLogger("dld").debug("where the error came from", exc_info=True)  # into log.txt, not onto the screen
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0
