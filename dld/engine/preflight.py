"""Checks, in seconds and before any process starts, all that can be known before a run begins."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
)

import dld.modeling  # noqa: F401  the names that can be chosen
from dld.config import chooses_scale, configured_charset, distils, spotter_name, trains_reader
from dld.data.datasets.builtin import BUILTIN, check_files, check_prepared
from dld.data.synthesis.synthstrips import holds_strips
from dld.engine.gradient_shares import configured_balance
from dld.engine.launch import check_counts, process_count
from dld.engine.search_options import SearchOptions
from dld.engine.setup import load_config, register_datasets
from dld.evaluation.protocol import PROTOCOLS
from dld.model_zoo import PREFIX, find_weights
from dld.modeling.compression.widths import configured_widths
from dld.modeling.layers.parsimonious import Parsimony
from dld.modeling.meta_arch.layer_aggregation import checked_aggregation
from dld.modeling.meta_arch.spotter import NO_LAYERS, Spotter, lacks, spotter_class
from dld.modeling.meta_arch.teacher_config import teacher_config
from dld.modeling.recognition.locators.locator import locator_class
from dld.modeling.recognition.recognizer import RECOGNIZER_REGISTRY
from dld.modeling.recognition.strip_encoder import DEFAULT_ENCODER, named_encoder
from dld.modeling.recognition.strip_recognizer import (
    HEADS,
    charset_of_strips,
    holds_decoder,
    needs_decoder,
    no_decoder,
    other_characters,
    stored_charset,
)
from dld.modeling.resolution.selector import SELECTOR_REGISTRY
from dld.strips.heights import checked_rows
from dld.text.charset import Charset

__all__ = ["check_run", "teacher_weights"]

# beginnings of the configurations that train the teachers of spotters, where it is not "teacher"
TEACHERS = {"TextPerceptron": "text_perceptron", "Mango": "mango"}


def check_run(args: argparse.Namespace) -> None:
    """Look for everything that a run needs: processes, configuration, weights, characters, data sets, output folder.

    Nothing is written, no model is built, no picture is read.

    Args:
        args: of the command line, as detectron2's parser gives them.

    Raises:
        OSError, KeyError, ValueError: the one thing that is missing or wrong; for several a ValueError that names them all.
    """
    mistakes: list[Exception] = []

    def look(check: Callable, *arguments: object):
        try:
            return check(*arguments)
        except (OSError, KeyError, ValueError) as error:
            mistakes.append(error)

    look(check_counts, args.num_gpus, args.num_machines, args.machine_rank)
    cfg = look(load_config, args.config_file, args.opts)
    if cfg is not None:
        look(check_weights, cfg, args.eval_only, args.resume)
        look(check_names, cfg)
        look(Parsimony.of, cfg)
        look(configured_widths, cfg)
        if distils(cfg) and not args.eval_only:
            look(teacher_weights, cfg)
            look(check_teacher_config, cfg)
            look(check_aggregation, cfg)
            look(configured_balance, cfg)
        if trains_reader(cfg) and not args.eval_only:
            look(check_encoder_weights, cfg)
        charset, reader = look(configured_charset, cfg), None
        trains_strips = cfg.MODEL.RECOGNITION.NAME == "StripRecognizer"
        if trains_strips and not args.eval_only:
            look(check_strip_training, cfg)
        elif cfg.MODEL.RECOGNITION.READER == "StripRecognizer":
            for key in ("WEIGHTS", "LOW_WEIGHTS"):
                if cfg.MODEL.STRIPS[key] or key == "WEIGHTS":
                    file = look(named_weights, f"MODEL.STRIPS.{key}", cfg.MODEL.STRIPS[key], True)
                    look(check_head, cfg.MODEL.STRIPS.HEAD, key, file)
                    reader = file if key == "WEIGHTS" else reader
        if not args.eval_only:
            look(SearchOptions.of, cfg)
            look(check_locator_training, cfg, charset, None if trains_reader(cfg) else reader)
            look(check_maps_training, cfg)
            look(check_anchor_training, cfg)
        look(check_reading, cfg)
        look(check_protocol, cfg)
        names = look(registered_sets, cfg, args.eval_only) or []
        if not trains_reader(cfg):
            look(check_pictures, cfg, args.eval_only)
        look(check_prepared, [name for name in names if name in BUILTIN])
        for name in names:
            if name not in BUILTIN:
                look(check_files, name)
        if not args.eval_only:
            look(check_batch, cfg, process_count(args.num_gpus, args.num_machines))
        look(check_output, cfg.OUTPUT_DIR)
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        # a KeyError prints its message in quotes
        texts = [str(m.args[0] if isinstance(m, KeyError) else m) for m in mistakes]
        numbered = "; ".join(f"({i}) {text}" for i, text in enumerate(texts, 1))
        raise ValueError(f"{len(texts)} things are missing or wrong: {numbered}")


def check_names(cfg: CfgNode) -> None:
    """Check that the networks which a configuration names exist; else raise a ValueError with the key and the known names."""
    named = [("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY)]
    named += [("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY)]
    named += [("MODEL.PROPOSAL_GENERATOR.NAME", cfg.MODEL.PROPOSAL_GENERATOR.NAME, PROPOSAL_GENERATOR_REGISTRY)]
    named += [("MODEL.ROI_HEADS.NAME", cfg.MODEL.ROI_HEADS.NAME, ROI_HEADS_REGISTRY)]
    named += [("MODEL.RECOGNITION.NAME", cfg.MODEL.RECOGNITION.NAME, RECOGNIZER_REGISTRY)]
    if chooses_scale(cfg):
        named.append(("MODEL.SELECTOR.NAME", cfg.MODEL.SELECTOR.NAME, SELECTOR_REGISTRY))
    if trains_reader(cfg) or cfg.MODEL.RECOGNITION.NAME == "StripRecognizer":
        named_encoder(cfg)
    for key, name, registry in named:
        if name not in registry:
            raise ValueError(f"{key} must be one of {', '.join(sorted(known for known, _ in registry))}, got {name!r}")
    if chooses_scale(cfg):
        spotter_class(cfg.MODEL.SPOTTER)
    network, reader = META_ARCH_REGISTRY.get(spotter_name(cfg)), cfg.MODEL.RECOGNITION.READER
    if reader and isinstance(network, type) and issubclass(network, Spotter) and lacks(network, "words_to_read"):
        raise ValueError(f"MODEL.RECOGNITION.READER must be empty, got {reader!r}: a {network.__name__} reads no strips")


def check_teacher_config(cfg: CfgNode) -> None:
    """Check that the configuration named by MODEL.DISTILLATION.TEACHER_CONFIG can be read and names networks that exist.

    Raises:
        FileNotFoundError, KeyError, ValueError: the message names key or file.
    """
    name = cfg.MODEL.DISTILLATION.TEACHER_CONFIG
    if not name:
        return
    own = cfg.clone()
    own.defrost()
    if name.endswith((".yaml", ".yml")):
        if not os.path.isfile(name):
            raise FileNotFoundError(f"MODEL.DISTILLATION.TEACHER_CONFIG: configuration file {name} does not exist")
    else:
        own.MODEL.DISTILLATION.TEACHER_CONFIG = named_weights("MODEL.DISTILLATION.TEACHER_CONFIG", name)
    other = teacher_config(own)
    if other is not None:
        check_names(other)


def check_aggregation(cfg: CfgNode) -> None:
    """Check that layers can be aggregated where MODEL.DISTILLATION.AGGREGATION is on.

    Raises:
        ValueError: the message names the key.
    """
    # names that are unknown have been reported
    if not checked_aggregation(cfg) or cfg.MODEL.RECOGNITION.NAME not in RECOGNIZER_REGISTRY:
        return
    for network in (spotter_class(cfg.MODEL.SPOTTER), RECOGNIZER_REGISTRY.get(cfg.MODEL.RECOGNITION.NAME)):
        if getattr(network, "layer_groups", None) in (None, Spotter.layer_groups):
            raise ValueError(f"{network.__name__} {NO_LAYERS}")


def check_strip_training(cfg: CfgNode) -> None:
    """Check what a reader needs that is trained with the spotter.

    Raises:
        ValueError, FileNotFoundError, KeyError: the message names the key.
    """
    if cfg.INPUT.SIDE_POINTS < 2:
        raise ValueError(f"INPUT.SIDE_POINTS must be at least 2 where strips are read, got {cfg.INPUT.SIDE_POINTS}")
    checked_rows(cfg.MODEL.STRIPS.TRAINING.ROWS, "MODEL.STRIPS.TRAINING.ROWS")
    if distils(cfg) and not cfg.MODEL.STRIPS.TRAINING.DECODER_WIDTH:
        raise ValueError("MODEL.STRIPS.TRAINING.DECODER_WIDTH must be positive: distillation needs a decoder")
    if cfg.MODEL.STRIPS.WEIGHTS:
        named_weights("MODEL.STRIPS.WEIGHTS", cfg.MODEL.STRIPS.WEIGHTS, True)
    check_encoder_weights(cfg)


def check_encoder_weights(cfg: CfgNode) -> None:
    """Look for the spotter's weights from which an encoder of strips starts; raise as :func:`named_weights`."""
    node = cfg.MODEL.STRIPS.ENCODER
    if node.WEIGHTS and node.NAME != DEFAULT_ENCODER:
        named_weights("MODEL.STRIPS.ENCODER.WEIGHTS", node.WEIGHTS)


def check_locator_training(cfg: CfgNode, charset: Charset | None = None, reader: str | None = None) -> None:
    """Check that there is the locator of words' sides that a configuration names, that words have the sides it learns from, and
    that the reader it learns from reads what is annotated.

    Args:
        charset: the spotter's characters; None: they are not known.
        reader: file of a reader beside the spotter; None: there is none.

    Raises:
        KeyError, ValueError: the message names the key.
    """
    points, given = cfg.MODEL.STRIPS.LOCATOR.POINTS, cfg.INPUT.SIDE_POINTS
    locator = locator_class(cfg.MODEL.STRIPS.LOCATOR.NAME)
    if cfg.MODEL.RECOGNITION.ONLY:
        return
    if locator.needs_sides and given != points:
        raise ValueError(f"INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, {points}, to train it, got {given}")
    known = stored_charset(reader) if reader is not None and locator.learns_by_reading else None
    if known is not None and charset is not None and (read := charset_of_strips(cfg, known)) != charset:
        raise ValueError(other_characters(read))


def check_reading(cfg: CfgNode) -> None:
    """Raise ValueError where a number of MODEL.RECOGNITION would let no word be read, or its loss be made larger."""
    node = cfg.MODEL.RECOGNITION
    for name, least in (("MAX_LENGTH", 1), ("WORDS_PER_CHUNK", 1), ("LOSS_WEIGHT", 0)):
        if node[name] < least:
            raise ValueError(f"MODEL.RECOGNITION.{name} must be at least {least}, got {node[name]}")


def check_protocol(cfg: CfgNode) -> None:
    """Raise ValueError where TEST.PROTOCOL names none that there is."""
    if cfg.TEST.PROTOCOL and cfg.TEST.PROTOCOL not in PROTOCOLS:
        raise ValueError(f"TEST.PROTOCOL must be one of {', '.join(PROTOCOLS)}, or empty, got {cfg.TEST.PROTOCOL!r}")


def check_maps_training(cfg: CfgNode) -> None:
    """Raise ValueError where words do not have the points or characters that a TextPerceptron or a Mango learns from."""
    if spotter_name(cfg) == "Mango":
        if cfg.INPUT.SIDE_POINTS < 2:
            raise ValueError(f"INPUT.SIDE_POINTS must be at least 2 to train a Mango, got {cfg.INPUT.SIDE_POINTS}")
        if cfg.MODEL.MANGO.CHARACTER_WEIGHT > 0 and cfg.INPUT.CHARACTERS < 1:
            raise ValueError("INPUT.CHARACTERS must be at least 1 where MODEL.MANGO.CHARACTER_WEIGHT is not 0, got 0")
    points, given = cfg.MODEL.TEXT_PERCEPTRON.POINTS, cfg.INPUT.SIDE_POINTS
    if spotter_name(cfg) == "TextPerceptron" and given != points:
        raise ValueError(f"INPUT.SIDE_POINTS must be MODEL.TEXT_PERCEPTRON.POINTS, {points}, to train it, got {given}")


def check_anchor_training(cfg: CfgNode) -> None:
    """Raise ValueError where an AnchorRecognizer would not see all characters of a word in training."""
    node = cfg.MODEL.RECOGNITION
    if node.NAME == "AnchorRecognizer" and cfg.INPUT.CHARACTERS < node.MAX_LENGTH:
        raise ValueError(
            f"INPUT.CHARACTERS must be at least MODEL.RECOGNITION.MAX_LENGTH, {node.MAX_LENGTH}, to train an AnchorRecognizer, "
            f"got {cfg.INPUT.CHARACTERS}"
        )


def teacher_weights(cfg: CfgNode) -> str:
    """Return the path of the teacher that a distillation asks for.

    Raises:
        ValueError: MODEL.DISTILLATION.TEACHER_WEIGHTS is empty; the message says how to train a teacher.
        FileNotFoundError, KeyError: there are no such weights.
    """
    path = cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS
    if not path:
        size = "R50" if "resnet_fpn" in cfg.MODEL.BACKBONE.NAME and "tiny" not in cfg.MODEL.BACKBONE.NAME else "tiny"
        name = f"{TEACHERS.get(spotter_name(cfg), 'teacher')}_{size}"
        raise ValueError(
            "distillation needs a trained teacher: MODEL.DISTILLATION.TEACHER_WEIGHTS is empty. Train one with "
            f"`python projects/DLD/train_net.py --config-file configs/{name}.yaml` and pass "
            f"MODEL.DISTILLATION.TEACHER_WEIGHTS output/{name}/model_best.pth"
        )
    return named_weights("MODEL.DISTILLATION.TEACHER_WEIGHTS", path)


def named_weights(key: str, name: str, readers: bool = False) -> str:
    """Return the path of the weights that a key of the configuration names; return a web address unchanged.

    Raises as :func:`dld.model_zoo.find_weights`, with the key in front.
    """
    if "://" in name and not name.startswith(PREFIX):
        return name
    try:
        return find_weights(name, readers)
    except (OSError, KeyError, ValueError) as error:
        raise type(error)(f"{key}: {error}") from error


def check_head(head: str, key: str, file: str | None) -> None:
    """Raise ValueError for a head of the reader of strips that is unknown, or not in its file (None: there is none)."""
    if head not in HEADS:
        raise ValueError(f"MODEL.STRIPS.HEAD must be one of {', '.join(HEADS)}, got {head!r}")
    if needs_decoder(head, key) and file is not None and not holds_decoder(file):
        raise ValueError(no_decoder(key, head))


def check_weights(cfg: CfgNode, eval_only: bool, resume: bool) -> None:
    """Look for the weights that a run starts from or scores. Raises ValueError for none to score, else as `find_weights`."""
    if resume and os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        return
    if cfg.MODEL.WEIGHTS:
        named_weights("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS, readers=trains_reader(cfg))
    elif eval_only and not trains_reader(cfg):  # such a student is its teacher until it is trained
        hint = f"; {cfg.OUTPUT_DIR} has no last_checkpoint" if resume else ", or --resume for those of OUTPUT_DIR"
        raise ValueError(f"--eval-only scores trained weights: give MODEL.WEIGHTS FILE{hint}")


def registered_sets(cfg: CfgNode, eval_only: bool) -> list[str]:
    """Register the data sets of the configuration; return the names of those of a run, each once.

    Raises:
        OSError, KeyError, ValueError: see `register_datasets`; or training asks for none, or for weights of others.
    """
    register_datasets(cfg)
    train, weights = list(cfg.DATASETS.TRAIN), cfg.DATASETS.TRAIN_WEIGHTS
    if eval_only:
        return list(dict.fromkeys(cfg.DATASETS.TEST))
    if not train:
        raise ValueError("DATASETS.TRAIN is empty")
    if weights and len(weights) != len(train):
        raise ValueError(f"DATASETS.TRAIN_WEIGHTS has {len(weights)} numbers for the {len(train)} sets of DATASETS.TRAIN")
    return list(dict.fromkeys([*train, *validation_sets(cfg), *cfg.DATASETS.TEST]))


def validation_sets(cfg: CfgNode) -> list[str]:
    """Return the data sets that teach nothing but the indicators of a search of widths."""
    return list(cfg.MODEL.COMPRESSION.VALIDATION) if cfg.MODEL.COMPRESSION.ENABLED else []


def check_pictures(cfg: CfgNode, eval_only: bool) -> None:
    """Raise ValueError for a data set that holds strips where pictures are asked for; the message names the key."""
    named = {"DATASETS.TEST": cfg.DATASETS.TEST}
    if not eval_only:
        named = {"DATASETS.TRAIN": cfg.DATASETS.TRAIN, "MODEL.COMPRESSION.VALIDATION": validation_sets(cfg), **named}
    for key, names in named.items():
        for name in names:
            if holds_strips(name):
                raise ValueError(
                    f"{key}: {name} holds strips of single words, not pictures: only a reader of strips takes them "
                    "(configs/reader_ppocr.yaml)"
                )


def check_batch(cfg: CfgNode, processes: int) -> None:
    """Raise ValueError for a batch that the processes cannot share."""
    batch = cfg.SOLVER.IMS_PER_BATCH
    # with a reference world size detectron2 fits the batch to the processes
    if not cfg.SOLVER.REFERENCE_WORLD_SIZE and batch % processes:
        raise ValueError(f"SOLVER.IMS_PER_BATCH = {batch} must be a multiple of the {processes} processes")


def check_output(folder: str) -> None:
    """Raise OSError where nothing can be written into a folder, which need not exist yet."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise NotADirectoryError(f"OUTPUT_DIR {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"OUTPUT_DIR {folder}: {there} cannot be written to")
