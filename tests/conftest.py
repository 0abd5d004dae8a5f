"""What many tests need: small pictures of words, data sets of them, and a spotter that is small enough to train here."""

import os

# before torch is loaded: threads that spin while they wait slow each other down on shared cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from tiny_settings import TINY

from dld.config import get_dld_cfg

ROOT = Path(__file__).resolve().parents[1]


def draw_record(words=("stone", "river"), height=96, width=128, ignore=(), image_id="drawn", seed=0, font=0.6) -> dict:
    """A light picture with one dark word a line, as a dataset dict that carries its pixels.

    Args:
        words: drawn from the top, each at a random place of its line.
        ignore: which of them are don't care (by index).
        font: OpenCV's size; 0.6 gives capitals about 13 pixels high.
    """
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(200, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    annotations = []
    for i, text in enumerate(words):
        (w, h), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font, 1)
        x = int(rng.integers(2, max(width - w - 2, 3)))
        line = height // max(len(words), 1)
        y = i * line + (line + h) // 2 - 1
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, font, (20, 30, 40), 1, cv2.LINE_AA)
        box = [x - 1, y - h - 1, x + w + 1, y + below]
        annotations.append(annotation(box_polygon(box), text, i in ignore))
    return {
        "file_name": f"{image_id}.png",
        "image_id": image_id,
        "height": height,
        "width": width,
        "image": image,
        "annotations": annotations,
    }


def box_polygon(box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)


def annotation(polygon, text, ignore=False) -> dict:
    polygon = np.asarray(polygon, dtype=np.float32)
    return {
        "bbox": [*polygon.min(0).tolist(), *polygon.max(0).tolist()],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "iscrowd": 0,
        "segmentation": [polygon.ravel().tolist()],
        "polygon": polygon,
        "text": text,
        "ignore": ignore,
    }


@pytest.fixture(scope="session")
def shrunk_cfg():
    """configs/teacher_tiny.yaml shrunk until a training step takes a few hundredths of a second; to be cloned."""
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "teacher_tiny.yaml"))
    cfg.merge_from_list(TINY)
    return cfg


@pytest.fixture
def tiny_cfg(shrunk_cfg, tmp_path):
    """`shrunk_cfg` of this test, with an output folder."""
    cfg = shrunk_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    os.makedirs(cfg.OUTPUT_DIR)
    return cfg


@pytest.fixture(autouse=True, scope="session")
def costs_counted_once():
    """Build the spotters of one configuration with one count of their cost, which takes longer than building; gives what is
    known by now.

    What is counted follows from the configuration, unless that names a file of a reader: the next may lie at the same path.
    """
    from dld.modeling.meta_arch import dynamic_spotter

    cls, tables = dynamic_spotter.DynamicSpotter, {}
    from_config, measure = cls.from_config.__func__, dynamic_spotter.CostTable.measure

    def with_known_table(cls, cfg) -> dict:
        model = cfg.MODEL.clone()
        model.defrost()
        model.WEIGHTS, model.SELECTOR.MU, model.DISTILLATION = "", 0.0, model.DISTILLATION.TEACHER_COST
        files = (model.STRIPS.WEIGHTS, model.STRIPS.LOW_WEIGHTS, model.STRIPS.ENCODER.WEIGHTS, model.RECOGNITION.CHARSET_FILE)
        key = f"{model}\n{cfg.INPUT}"

        def measure_once(*networks) -> dynamic_spotter.CostTable:
            if not all(name.startswith("dld://") for name in files if name):
                return measure(*networks)
            if key not in tables:
                tables[key] = measure(*networks)
            return tables[key]

        with patch.object(dynamic_spotter, "CostTable", SimpleNamespace(measure=measure_once)):
            return from_config(cls, cfg)

    with patch.object(cls, "from_config", classmethod(with_known_table)):
        yield tables


@pytest.fixture(autouse=True)
def one_thread():
    """Whatever a command of the test before has set."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture
def storage():
    """detectron2's event storage, without which its training code does not run."""
    with EventStorage(0) as events:
        yield events


@pytest.fixture
def make_record():
    """:func:`draw_record`."""
    return draw_record


@pytest.fixture
def make_annotation():
    """:func:`annotation`."""
    return annotation


@pytest.fixture
def register_records():
    """Register a list of dataset dicts under a name for the length of a test."""
    names = []

    def register(name: str, records: list[dict], protocol: str = "icdar2015") -> str:
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(
            thing_classes=["text"], evaluator_type="text_spotting", protocol=protocol, image_root="", json_file=""
        )
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def small_set(register_records, make_record):
    """Four pictures of two words each, registered as `drawn_words`."""
    pairs = [("stone", "river"), ("Blue", "42"), ("exit", "Cafe"), ("north", "a-b")]
    return register_records("drawn_words", [draw_record(words, image_id=f"drawn_{i}", seed=i) for i, words in enumerate(pairs)])


def few_words_of_large_pictures(cfg) -> None:
    """Set how the spotters of `tiny_weights` read, in place."""
    cfg.INPUT.MIN_SIZE_TEST = 192
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 4
    cfg.MODEL.SELECTOR.SCALES = [0.4, 0.6, 0.8]
    cfg.MODEL.SELECTOR.RESOLUTION.CHANNELS = [8, 16]


@pytest.fixture(scope="session")
def untrained_checkpoints(shrunk_cfg, tmp_path_factory) -> tuple[Path, torch.Tensor]:
    """The folder of the files of `tiny_weights`, made once; no test writes there. And torch's random state afterwards."""
    from detectron2.modeling import build_model

    import dld.modeling  # noqa: F401  only registration
    from dld.data.dataset_mapper import TextDatasetMapper
    from dld.engine.checkpoint import SpotterCheckpointer

    cfg = shrunk_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path_factory.mktemp("untrained"))
    few_words_of_large_pictures(cfg)
    for seed, (name, architecture) in enumerate((("teacher", "TextSpottingRCNN"), ("student", "DynamicSpotter"))):
        cfg.MODEL.META_ARCHITECTURE = architecture
        torch.manual_seed(seed)
        model = build_model(cfg)
        recognizer = getattr(model, "student", model).roi_heads.recognizer
        recognizer.decoder.output.bias.data[recognizer.charset.end] -= 1000  # no empty words
        if name == "student":
            torch.nn.init.normal_(model.selector.head.weight)
            mapper = TextDatasetMapper(cfg, False)
            with torch.no_grad():
                # scores are centred on a few pictures, and spread: else one scale would win everywhere
                pictures = model.normalize([mapper(draw_record(seed=seed)) for seed in range(6)])
                model.selector.head.bias -= model.score_scales(pictures).mean(0)
                for parameter in model.selector.head.parameters():
                    parameter *= 30
        SpotterCheckpointer(model, cfg.OUTPUT_DIR, extra={"config": cfg.dump()}).save(name)
    return Path(cfg.OUTPUT_DIR), torch.get_rng_state()


@pytest.fixture
def tiny_weights(tiny_cfg, untrained_checkpoints):
    """Checkpoints of untrained spotters that find something in every picture, as files: "teacher", a plain one, and
    "student", one of three scales whose selector prefers different ones for different pictures."""
    few_words_of_large_pictures(tiny_cfg)
    tiny_cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
    folder, random_state = untrained_checkpoints
    torch.set_rng_state(random_state)  # whether they were made for this test or an earlier one
    shutil.copytree(folder, tiny_cfg.OUTPUT_DIR, dirs_exist_ok=True)
    return {name: os.path.join(tiny_cfg.OUTPUT_DIR, f"{name}.pth") for name in ("teacher", "student")}
