"""Configurations from files, checkpoints and command lines, those of earlier versions among them."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode as CN

__all__ = ["merge_file", "merge_overrides", "merge_stored", "refuse_expanding_yaml", "upgrade_config"]

MOST_YAML_NODES = 100_000
# Keys that have another name since, or several: values under the old one are moved where a configuration is read.
RENAMED = {
    "MODEL.SELECTOR.CHANNELS": ["RESOLUTION.CHANNELS"],
    "MODEL.SELECTOR.LEVEL": ["BACKBONE.LEVEL", "WORDS.LEVEL"],
    "MODEL.SELECTOR.WORD_LOSS": ["WORDS.LOSS"],
    "MODEL.SELECTOR.WORDS_PER_IMAGE": ["WORDS.PER_IMAGE"],
    "MODEL.SELECTOR.TARGET_TEMPERATURE": [f"{node}.TARGET_TEMPERATURE" for node in ("RESOLUTION", "BACKBONE", "WORDS")],
    **{
        f"MODEL.SELECTOR.{key}": [f"{node}.{key}" for node in ("RESOLUTION", "BACKBONE")]
        for key in ("FORM", "TEMPERATURE", "DECAY", "EPOCHS")
    },
}
RENAMED = {old: [f"MODEL.SELECTOR.{name}" for name in new] for old, new in RENAMED.items()}
# Keys that are gone, with the only value that is still meant by saying nothing.
REMOVED = {"MODEL.SELECTOR.NORM": ""}


def upgrade_config(loaded: dict) -> None:
    """Move the values of renamed keys of a loaded configuration, nested dicts, in place.

    Raises:
        ValueError: it asks for something that is no longer there.
    """
    for old, only in REMOVED.items():
        value = _pop(loaded, old, only)
        if value != only:
            raise ValueError(f"{old} {value!r} is no longer there; only {only!r} is")
    missing = object()
    for old, names in RENAMED.items():
        value = _pop(loaded, old, missing)
        for name in names if value is not missing else ():
            *path, key = name.split(".")
            node = loaded
            for part in path:
                node = node.setdefault(part, type(loaded)())
            node.setdefault(key, value)


def _pop(loaded: dict, name: str, default):
    """Take a key out of nested dicts."""
    *path, key = name.split(".")
    for part in path:
        loaded = loaded.get(part, {}) if isinstance(loaded, dict) else {}
    return loaded.pop(key, default) if isinstance(loaded, dict) else default


def merge_stored(cfg: CN, text: str) -> None:
    """Change keys in place to those of a configuration that was written out, by this version or one before.

    Raises:
        KeyError, ValueError: naming the key.
    """
    loaded = CN.load_cfg(text)
    upgrade_config(loaded)
    cfg.merge_from_other_cfg(loaded)


def refuse_expanding_yaml(loaded) -> None:
    """Refuse a parsed YAML whose aliases (`&a`, `*a`) unfold to more than MOST_YAML_NODES: a kilobyte can hold billions.

    Raises:
        ValueError: it does.
    """
    sizes: dict[int, int] = {}

    def size(node) -> int:
        if not isinstance(node, (dict, list, tuple)):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = MOST_YAML_NODES  # a node that holds itself has no end
            sizes[id(node)] = 1 + sum(map(size, node.values() if isinstance(node, dict) else node))
        return sizes[id(node)]

    if size(loaded) > MOST_YAML_NODES:
        raise ValueError(f"its aliases unfold to more than {MOST_YAML_NODES} values")


def merge_file(cfg: CN, path: str) -> None:
    """Change keys in place to those of a yaml file and of the files that it names under `_BASE_`.

    YAML is loaded safely: tags that build Python objects are refused.

    Raises:
        ValueError: it is no yaml, holds no keys and values, or an unknown key; the message names the file.
    """
    try:
        loaded = CN.load_yaml_with_base(path, allow_unsafe=False)
        refuse_expanding_yaml(loaded)
        if not isinstance(loaded, dict):
            raise ValueError("it does not hold keys and their values")
        upgrade_config(loaded)
        cfg.merge_from_other_cfg(CN(loaded))
    except Exception as error:  # parsers of yaml raise errors of many kinds
        raise ValueError(f"configuration file {path}: {error}") from error


def merge_overrides(cfg: CN, overrides: Sequence) -> None:
    """Change keys in place: KEY VALUE KEY VALUE ..., as they stand on a command line.

    Raises:
        KeyError: an unknown key.  ValueError: a key without value, or a value of another type than the key's.
    """
    overrides = list(overrides)
    if len(overrides) % 2:
        words = " ".join(map(str, overrides))
        raise ValueError(f"overrides come as KEY VALUE pairs, got an odd number of words: {words}")
    pairs = []
    for name, value in zip(overrides[::2], overrides[1::2], strict=True):
        pairs += [[new, value] for new in RENAMED.get(name, [name])]
    for pair in pairs:
        node = cfg
        for part in str(pair[0]).split("."):
            node = node.get(part) if isinstance(node, CN) else None
        if isinstance(node, float) and str(pair[1]).lstrip("+-").isdigit():
            pair[1] = f"{pair[1]}.0"  # yacs would refuse 5 where the key holds a float
    try:
        cfg.merge_from_list([word for pair in pairs for word in pair])
    except (KeyError, AssertionError) as error:
        raise KeyError(f"override: {error}") from error
