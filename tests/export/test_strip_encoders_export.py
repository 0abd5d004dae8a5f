"""Readers of strips whose encoder is the spotter's own layers, as graphs: they say what PyTorch says, at any width."""

import pytest
import torch

from dld.config import get_dld_cfg
from dld.modeling.recognition.strip_encoder import build_strip_encoder, encoder_description
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.modeling.spotter_graphs import _strip_part
from dld.text.charset import Charset


@pytest.mark.parametrize("rows", [48, 24])
@pytest.mark.parametrize("encoder", ["pyramid", "stem"])
@torch.no_grad()
def test_the_graph_says_what_the_reader_says(encoder, rows, tmp_path):
    pytest.importorskip("onnx", reason='exporting needs: pip install "dld[export]"')
    runtime = pytest.importorskip("onnxruntime", reason='reading with graphs needs: pip install "dld[export]"')
    from dld.export.exporter import _write_graph

    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/reader_pyramid.yaml")
    cfg.MODEL.STRIPS.ENCODER.NAME, cfg.MODEL.DEVICE = encoder, "cpu"
    torch.manual_seed(0)
    reader = StripRecognizer(
        charset=Charset("abc "), encoder=build_strip_encoder(cfg), encoder_metadata=encoder_description(cfg)
    )
    noise = torch.Generator().manual_seed(0)
    path = tmp_path / "strips.onnx"
    _write_graph(_strip_part(reader, rows, 2, 192, noise), path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for words, width in ((1, 160), (3, 96), (2, 808)):
        part = _strip_part(reader, rows, words, width, noise)
        ids, probabilities = part.module(*part.example)
        inputs = {name: x.numpy() for name, x in zip(part.inputs, part.example, strict=True)}
        found = session.run(None, inputs)
        torch.testing.assert_close(torch.from_numpy(found[1]), probabilities, atol=1e-4, rtol=1e-3)
        assert (torch.from_numpy(found[0]) == ids).float().mean() > 0.99
