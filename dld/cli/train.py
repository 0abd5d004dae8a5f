"""Train and evaluate a spotter, in one process or several.

KEY VALUE ... at the end change the configuration. What can be known before the work is checked before any process starts.
"""

from __future__ import annotations

import argparse

from dld.cli.command import run_command

__all__ = ["add_arguments", "main", "run", "work"]

EPILOG = """
examples:
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --num-gpus 1
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --resume
  python projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml --eval-only MODEL.WEIGHTS model_best.pth
  torchrun --nproc-per-node 2 projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add detectron2's options: --config-file --resume --eval-only --num-gpus --num-machines --machine-rank --dist-url opts."""
    from detectron2.engine import default_argument_parser

    for action in default_argument_parser()._actions:
        if action.dest != "help":
            parser._add_action(action)


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld train", __doc__, EPILOG, add_arguments, run, argv)


def run(args: argparse.Namespace) -> None:
    """Check all that can be known, then launch the processes.

    Raises:
        OSError, KeyError, ValueError: naming what is missing or wrong.
    """
    from dld.engine.launch import launch
    from dld.engine.preflight import check_run

    check_run(args)
    launch(work, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,))


def work(args: argparse.Namespace):
    """Do the work of one process of the job: set up, then train or evaluate. Return the last scores."""
    from detectron2.modeling import build_model

    from dld.config import distils, read_without_teacher, trains_reader
    from dld.engine.checkpoint import WholeSpotterCheckpointer
    from dld.engine.distill_trainer import DistillTrainer
    from dld.engine.setup import setup
    from dld.engine.strip_trainer import StripTrainer
    from dld.engine.trainer import SpotterTrainer

    cfg = setup(args)
    if trains_reader(cfg):
        trainer = StripTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return StripTrainer.test(cfg, trainer.unwrapped_model) if args.eval_only else trainer.train()
    if args.eval_only:
        cfg = cfg.clone()
        cfg.defrost()
        read_without_teacher(cfg)
        model = build_model(cfg)
        WholeSpotterCheckpointer(
            model, cfg.OUTPUT_DIR, charset_transfer=cfg.MODEL.CHARSET_TRANSFER, trust_pickle=cfg.MODEL.TRUST_PICKLE
        ).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        return SpotterTrainer.test(cfg, model)
    trainer = (DistillTrainer if distils(cfg) else SpotterTrainer)(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()
