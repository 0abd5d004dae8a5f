"""Exported spotters, made once: the shipped teacher, the same network behind a selector of random weights, and the same
network with a reader of strips of random weights."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from dld.inference.predictor import TextSpotter
from dld.model_zoo import find_weights
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.modeling.resolution.cost import CostTable
from dld.weights import config_from_checkpoint, load_weights_file

NAME = "teacher_tiny"
SHORT_SIDE = 320
# crops are read, in the number format of the graphs, whatever the shipped configuration says
CROPS = [
    "INPUT.MIN_SIZE_TEST",
    SHORT_SIDE,
    "MODEL.RECOGNITION.READER",
    "",
    "MODEL.INFERENCE_DTYPE",
    "float32",
    "MODEL.TEXT.BOX_ROUNDS",
    2,
]


def exported(spotter: TextSpotter, folder, **options) -> SimpleNamespace:
    """The spotter, its folder, and the parts that were written."""
    pytest.importorskip("onnx", reason='exporting needs: pip install "dld[export]"')
    pytest.importorskip("onnxruntime", reason='reading with graphs needs: pip install "dld[export]"')
    from dld.export.exporter import export_spotter
    from dld.runtime.onnx_spotter import OnnxTextSpotter

    export_spotter(spotter.model, spotter.cfg, folder, **options)
    return SimpleNamespace(pytorch=spotter, folder=folder, onnx=OnnxTextSpotter(folder, "cpu", threads=1))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    spotter = TextSpotter.from_pretrained(NAME, device="cpu", opts=CROPS)
    return exported(spotter, tmp_path_factory.mktemp("teacher"), weights=find_weights(NAME))


@pytest.fixture(scope="session")
def student(tmp_path_factory, pictures):
    """Three candidates, of which different pictures get different ones."""
    loaded = load_weights_file(find_weights(NAME))
    cfg = config_from_checkpoint(find_weights(NAME))
    cfg.merge_from_list(CROPS)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "DynamicSpotter", "cpu"
    cfg.MODEL.SELECTOR.SCALES = [0.6, 0.75, 0.9]
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    model.student.load_state_dict(loaded["model"])
    torch.nn.init.normal_(model.selector.head.weight)
    path = tmp_path_factory.mktemp("weights") / "student.pth"
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, path)
    spotter = TextSpotter.from_checkpoint(str(path), device="cpu")
    head = spotter.model.selector.head
    with torch.no_grad():
        records = [spotter.mapper({"image": p, "height": len(p), "width": p.shape[1]}) for p in pictures]
        # scores are centred on the pictures: else one scale would win everywhere
        head.bias -= spotter.model.score_scales(spotter.model.normalize(records)).mean(0)
    return exported(spotter, tmp_path_factory.mktemp("student"))


def read_strips(model, pictures):
    """Give a spotter a reader of strips of random weights, which keeps whatever it reads."""
    torch.manual_seed(0)
    reader = StripRecognizer(charset=model.charset)
    bands = np.stack([p[k : k + 48, :256] for p in pictures for k in range(0, 240, 48)])
    columns = reader.columns(torch.from_numpy(bands).permute(0, 3, 1, 2) / 127.5 - 1).flatten(0, 1)
    # normalised on the pictures: else one character would win in every column
    head = reader.head
    head.weight.copy_(torch.randn_like(head.weight) / columns.std(0))
    head.bias.copy_(-head.weight @ columns.mean(0))
    model._reader, model.min_score = [reader], 0.0
    model.roi_heads.reads, model.roi_heads.spot_threshold = False, 0.1
    return model


@pytest.fixture(scope="session")
def strips(tmp_path_factory, pictures):
    spotter = TextSpotter.from_pretrained(NAME, device="cpu", opts=CROPS)
    read_strips(spotter.model, pictures)
    return exported(spotter, tmp_path_factory.mktemp("strips"))


@pytest.fixture(scope="session")
def selecting_strips(student, tmp_path_factory, pictures):
    """The student with a reader of strips, and what that costs."""
    spotter = copy.copy(student.pytorch)
    spotter.model, spotter._views = copy.deepcopy(spotter.model), {}
    read_strips(spotter.model.student, pictures)
    spotter.model.cost_table = CostTable.measure(spotter.model.student, None, spotter.model.selector)
    return exported(spotter, tmp_path_factory.mktemp("selecting_strips"))


@pytest.fixture(scope="session")
def pictures():
    """Rendered words in pictures of three shapes."""
    from dld.data.synthesis.config import SynthWordsConfig
    from dld.data.synthesis.synthwords import SynthWordsDataset

    sizes = [(320, 448), (448, 320), (256, 352)]
    options = {"max_words": 8, "min_height": 16.0, "density": 1.0, "empty_rate": 0.0}
    sets = [SynthWordsDataset("val", config=SynthWordsConfig(size=size, **options)) for size in sizes]
    return [sets[k % 3][k]["image"] for k in range(4)]
