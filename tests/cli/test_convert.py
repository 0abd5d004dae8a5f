"""`dld convert`: what is written, and what is refused before."""

import pytest

from dld.cli import convert
from dld.modeling.recognition import ppocr_weights
from dld.modeling.recognition.strip_recognizer import StripRecognizer, load_strip_recognizer
from dld.text.charset import Charset


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The verb, with a reader of random weights in place of the file's; gives the exit code and the output."""
    reader = StripRecognizer(charset=Charset("ab1 \u6c49\u00e9"))
    monkeypatch.setattr(ppocr_weights, "read_ppocr", lambda path: reader)
    output = tmp_path / "reader.safetensors"
    return lambda *options: (convert.main(["--onnx", "reader.onnx", "--output", str(output), *options]), output)


@pytest.mark.parametrize("apart", [None, 1e-6])
def test_the_european_characters_are_kept(run, monkeypatch, apart, capsys):
    monkeypatch.setattr(convert, "largest_difference", lambda *_: apart)
    code, output = run()
    assert code == 0 and load_strip_recognizer(str(output)).charset == Charset(" 1ab\u00e9")
    assert ("not compared" in capsys.readouterr().out) == (apart is None)


@pytest.mark.parametrize("apart", [0.1, float("nan")])
def test_another_result_than_that_of_onnxruntime_is_not_written(run, monkeypatch, apart, capsys):
    monkeypatch.setattr(convert, "largest_difference", lambda *_: apart)
    code, output = run()
    assert code == 2 and not output.exists()
    assert "reader.onnx: the result differs from onnxruntime" in capsys.readouterr().err


def test_a_graph_that_onnxruntime_cannot_run(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    x, y = (value(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("NoSuchOperator", ["x"], ["y"])], "odd", [x], [y])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "odd.onnx")
    with pytest.raises(ValueError, match="odd.onnx cannot be compared with onnxruntime"):
        convert.largest_difference(StripRecognizer(charset=Charset("ab")), tmp_path / "odd.onnx")
