"""Two exported spotters, made once: the shipped teacher, and the same network behind a selector of random weights."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model

from dld.engine.checkpoint import load_weights_file
from dld.inference.predictor import TextSpotter, config_from_checkpoint
from dld.model_zoo import find_weights

NAME = "teacher_tiny"
SHORT_SIDE = 320


def exported(spotter: TextSpotter, folder, **options) -> SimpleNamespace:
    """The spotter, its folder, and the parts that were written."""
    pytest.importorskip("onnx", reason='exporting needs: pip install "dld[export]"')
    pytest.importorskip("onnxruntime", reason='reading with graphs needs: pip install "dld[export]"')
    from dld.export.exporter import export_spotter
    from dld.export.onnx_spotter import OnnxTextSpotter

    export_spotter(spotter.model, spotter.cfg, folder, **options)
    return SimpleNamespace(pytorch=spotter, folder=folder, onnx=OnnxTextSpotter(folder, "cpu", threads=1))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    opts = ["INPUT.MIN_SIZE_TEST", SHORT_SIDE]
    spotter = TextSpotter.from_pretrained(NAME, device="cpu", opts=opts)
    return exported(spotter, tmp_path_factory.mktemp("teacher"), weights=find_weights(NAME))


@pytest.fixture(scope="session")
def student(tmp_path_factory, pictures):
    """Three candidates, of which different pictures get different ones."""
    loaded = load_weights_file(find_weights(NAME))
    cfg = config_from_checkpoint(find_weights(NAME))
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "DynamicSpotter", "cpu"
    cfg.MODEL.SELECTOR.SCALES, cfg.INPUT.MIN_SIZE_TEST = [0.6, 0.75, 0.9], SHORT_SIDE
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


@pytest.fixture(scope="session")
def pictures():
    """Rendered words in pictures of three shapes."""
    from dld.data.synthesis.config import SynthWordsConfig
    from dld.data.synthesis.synthwords import SynthWordsDataset

    sizes = [(320, 448), (448, 320), (256, 352)]
    options = {"max_words": 8, "min_height": 16.0, "density": 1.0, "empty_rate": 0.0}
    sets = [SynthWordsDataset("val", config=SynthWordsConfig(size=size, **options)) for size in sizes]
    return [sets[k % 3][k]["image"] for k in range(4)]
