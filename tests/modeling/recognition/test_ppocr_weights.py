"""Weights taken from an ONNX graph that is written here operator by operator, with random numbers."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dld.modeling.recognition.ppocr_weights import read_ppocr
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.text.charset import Charset

onnx = pytest.importorskip("onnx")
CHARACTERS = "abcdefghijk!é汉"


class Writer:
    """Writes operators one after another; each call returns the name of its result."""

    def __init__(self):
        self.nodes, self.constants, self.biased = [], [], 0

    def constant(self, value, kind=np.float32):
        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def op(self, kind, *inputs, **attributes):
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, layer, x, bias=True):
        """Every second bias is an addition after the convolution, as exporters write it."""
        (top, left), strides = layer.padding, list(layer.stride)
        how = {"strides": strides, "pads": [top, left, top, left], "group": layer.groups}
        how["kernel_shape"] = list(layer.kernel_size)
        inputs = [x, self.constant(layer.weight)]
        self.biased += bias
        if bias and self.biased % 2:
            return self.op("Conv", *inputs, self.constant(layer.bias), **how)
        y = self.op("Conv", *inputs, **how)
        return self.op("Add", y, self.constant(layer.bias.view(1, -1, 1, 1))) if bias else y

    def normed_conv(self, layer, x):
        rng = np.random.default_rng(layer.weight.numel() + layer.groups)
        count = layer.out_channels
        gain, variance = rng.uniform(0.5, 2, count), rng.uniform(0.5, 2, count)
        shift, mean = rng.normal(size=count), rng.normal(size=count)
        numbers = [self.constant(v) for v in (gain, shift, mean, variance)]
        return self.op("BatchNormalization", self.conv(layer, x, bias=False), *numbers, epsilon=1e-3)

    def linear(self, layer, x):
        return self.op("Add", self.op("MatMul", x, self.constant(layer.weight.T)), self.constant(layer.bias))

    def norm(self, layer, x):
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Mul", centred, centred), axes=[-1])
        spread = self.op("Sqrt", self.op("Add", variance, self.constant(layer.eps)))
        scaled = self.op("Mul", self.op("Div", centred, spread), self.constant(layer.weight))
        return self.op("Add", scaled, self.constant(layer.bias))

    def silu(self, x):
        return self.op("Mul", x, self.op("Sigmoid", x))

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.constant(2**0.5)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.constant(1.0))), self.constant(0.5))

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def pad(self, x):
        return self.op("Pad", x, self.constant([0, 0, 0, 0, 0, 0, 1, 1], np.int64))

    def body(self, body, x):
        x = self.pad(self.op("Relu", self.conv(body.stem, x)))
        y = self.pad(self.op("Relu", self.conv(body.branch[0], x)))
        y = self.op("Relu", self.conv(body.branch[1], y))
        x = self.op("Concat", self.op("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1]), y, axis=1)
        for layer in body.merge:
            x = self.op("Relu", self.conv(layer, x))
        for block in body.blocks:
            x = self.conv(block.spatial, x)
            if not isinstance(block.squeeze, nn.Identity):
                gate = self.op("Relu", self.conv(block.squeeze.reduce, self.op("GlobalAveragePool", x)))
                gate = self.op("HardSigmoid", self.conv(block.squeeze.expand, gate), alpha=1 / 6, beta=0.5)
                x = self.op("Mul", x, gate)
            y = self.conv(block.narrow, self.gelu(self.conv(block.widen, x)))
            x = self.op("Add", x, y) if block.shortcut else y
        return x

    def attention(self, block, x):
        qkv = self.reshape(self.linear(block.qkv, self.norm(block.norm1, x)), 0, -1, 3, 8, 15)
        qkv = self.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, k, v = (self.op("Gather", qkv, self.constant(i, np.int64), axis=0) for i in range(3))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        weights = self.op("Softmax", self.op("Mul", scores, self.constant(15**-0.5)), axis=-1)
        y = self.reshape(self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3]), 0, -1, 120)
        x = self.op("Add", x, self.linear(block.out, y))
        y = self.linear(block.widen, self.norm(block.norm2, x))
        return self.op("Add", x, self.linear(block.narrow, self.silu(y)))

    def columns(self, x):
        return self.op("Transpose", self.op("Squeeze", x, self.constant([2], np.int64)), perm=[0, 2, 1])

    def mixer(self, mixer, x):
        short = self.columns(self.silu(self.normed_conv(mixer.shortcut, x)))
        z = self.silu(self.normed_conv(mixer.inward, x))
        z = self.columns(self.op("Add", z, self.silu(self.normed_conv(mixer.local, z))))
        for block in mixer.blocks:
            z = self.attention(block, z)
        return self.op("Add", self.norm(mixer.norm, z), short)

    def model(self, reader):
        x = self.op("AveragePool", self.body(reader.body, "x"), kernel_shape=[3, 2], strides=[3, 2])
        out = self.op("Softmax", self.linear(reader.head, self.mixer(reader.mixer, x)), axis=-1)
        return self.save(["N", 3, 48, "W"], out, 3)

    def save(self, shape, out, rank):
        value = onnx.helper.make_tensor_value_info
        kind = onnx.TensorProto.FLOAT
        inputs, outputs = [value("x", kind, shape)], [value(out, kind, [None] * rank)]
        graph = onnx.helper.make_graph(self.nodes, "reader", inputs, outputs, self.constants)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.helper.set_model_props(model, {"character": "\n".join(CHARACTERS)})
        return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    reader = StripRecognizer(charset=Charset([*CHARACTERS, " "]))
    for layer in reader.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.normal_()
        elif isinstance(layer, nn.Conv2d):  # strong enough that the result depends on the strip
            layer.weight.data.mul_(2.1)
    return Writer().model(reader)


def written(tmp_path, model, name="reader.onnx"):
    onnx.save(model, tmp_path / name)
    return tmp_path / name


def changed(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def test_it_computes_what_the_graph_computes(tmp_path, model):
    runtime = pytest.importorskip("onnxruntime")
    file = written(tmp_path, model)
    onnx.checker.check_model(model)
    reader = read_ppocr(file)
    assert reader.charset.characters == (*CHARACTERS, " ")
    x = torch.rand(2, 3, 48, 160, generator=torch.Generator().manual_seed(1)) * 2 - 1
    (expected,) = runtime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(reader.logits(x).softmax(-1).numpy(), expected, atol=1e-4)
    assert np.ptp(expected, axis=1).max() > 0.1  # the numbers do depend on what is seen


def test_the_file_of_rapidocr(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    package = importlib.util.find_spec("rapidocr")
    if package is None or not package.submodule_search_locations:
        pytest.skip("rapidocr is not installed")
    files = list(Path(package.submodule_search_locations[0]).rglob("PP-OCRv6_rec_small.onnx"))
    if not files:
        pytest.skip("this rapidocr has no PP-OCRv6_rec_small.onnx")
    reader = read_ppocr(files[0])
    assert set("Az09 ") <= set(reader.charset.characters)
    x = torch.rand(1, 3, 48, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    session = runtime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(reader.logits(x).softmax(-1).numpy(), expected, atol=1e-3)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.onnx"):
        read_ppocr(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("content", [b"", b"this is no graph", b"\x00\xff" * 50])
def test_not_onnx(tmp_path, content):
    file = tmp_path / "garbage.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read_ppocr(file)


def test_no_characters(tmp_path, model):
    bare = changed(model)
    del bare.metadata_props[:]
    with pytest.raises(ValueError, match="bare.onnx is not a recogniser .* no characters"):
        read_ppocr(written(tmp_path, bare, "bare.onnx"))


def test_more_characters_than_the_head_has(tmp_path, model):
    more = changed(model)
    onnx.helper.set_model_props(more, {"character": "\n".join(CHARACTERS + "xyz")})
    with pytest.raises(ValueError, match="more.onnx is not a recogniser"):
        read_ppocr(written(tmp_path, more, "more.onnx"))


@pytest.mark.parametrize("characters", ["a\na\nb", "ab\nc", ""])
def test_characters_that_are_none(tmp_path, model, characters):
    odd = changed(model)
    onnx.helper.set_model_props(odd, {"character": characters})
    with pytest.raises(ValueError, match="odd.onnx"):
        read_ppocr(written(tmp_path, odd, "odd.onnx"))


def test_another_network(tmp_path):
    writer = Writer()
    other = writer.save([1, 3, 8, 8], writer.conv(nn.Conv2d(3, 4, 3).requires_grad_(False), "x"), 4)
    with pytest.raises(ValueError, match="other.onnx is not a recogniser of PP-OCRv6 small"):
        read_ppocr(written(tmp_path, other, "other.onnx"))


@pytest.mark.parametrize("kind", ["Conv", "BatchNormalization", "MatMul"])
def test_a_layer_is_missing(tmp_path, model, kind):
    less = changed(model)
    less.graph.node.remove([n for n in less.graph.node if n.op_type == kind][-1])
    with pytest.raises(ValueError, match="less.onnx is not a recogniser"):
        read_ppocr(written(tmp_path, less, "less.onnx"))


@pytest.mark.parametrize("kind", ["Conv", "MatMul"])
def test_an_operator_lacks_its_inputs(tmp_path, model, kind):
    bare = changed(model)
    del next(n for n in bare.graph.node if n.op_type == kind).input[1:]
    with pytest.raises(ValueError, match="bare.onnx is not a recogniser"):
        read_ppocr(written(tmp_path, bare, "bare.onnx"))


def test_constants_that_are_no_numbers(tmp_path, model):
    text = changed(model)
    text.graph.initializer.append(onnx.helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"a"]))
    with pytest.raises(ValueError, match="text.onnx is not a recogniser"):
        read_ppocr(written(tmp_path, text, "text.onnx"))
