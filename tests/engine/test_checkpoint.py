import errno
import os
import pickle

import pytest
import torch
import torchvision
from detectron2.modeling import build_backbone, build_model
from safetensors.torch import save_file
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg
from dld.engine.checkpoint import (
    SpotterCheckpointer,
    load_weights_file,
    rename_torchvision_resnet,
    transfer_charset,
)
from dld.text.charset import Charset


class Reader(nn.Module):
    """As much of a recogniser as a checkpoint sees."""

    def __init__(self, characters, width=4):
        super().__init__()
        charset = Charset(characters)
        self.decoder = nn.Module()
        self.decoder.embedding = nn.Embedding(charset.num_inputs, width)
        self.decoder.output = nn.Linear(width, charset.num_outputs)
        self.ctc_head = nn.Linear(width, charset.num_outputs)
        self.body = nn.Linear(width, width)
        self.register_buffer("charset_codes", charset.codes())


def test_a_full_disk_during_save_leaves_the_last_checkpoint_usable(tmp_path, monkeypatch):
    model = Reader("abc")
    checkpointer = SpotterCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000001")
    expected = model.body.weight.clone()

    def full(data, f):
        f.write(b"\0" * 1000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    model.body.weight.data += 1
    for name in ("model_0000001", "model_0000002"):
        with pytest.raises(OSError, match="No space left"):
            checkpointer.save(name)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]
    again = Reader("abc")
    SpotterCheckpointer(again, str(tmp_path)).resume_or_load("", resume=True)
    assert torch.equal(again.body.weight, expected)


def test_everything_saved_comes_back(tmp_path):
    model, optimizer = Reader("abc"), None
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    model.body(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    SpotterCheckpointer(model, str(tmp_path), extra={"config": "A: 1"}, optimizer=optimizer).save("m", iteration=7)
    again = Reader("abc")
    fresh = torch.optim.AdamW(again.parameters(), 0.5)
    rest = SpotterCheckpointer(again, str(tmp_path), optimizer=fresh).resume_or_load("", resume=True)
    assert rest["iteration"] == 7 and rest["config"] == "A: 1"
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert fresh.param_groups[0]["lr"] == 0.1 and len(fresh.state) == len(optimizer.state) == 2


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_a_file_that_would_run_code_is_refused_before_it_can(tmp_path, name):
    trap = tmp_path / "sprung"
    path = tmp_path / name
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps({"model": Trap(trap)}))
    else:
        torch.save({"model": Trap(trap)}, path)
    with pytest.raises(ValueError, match=name) as caught:
        load_weights_file(str(path))
    assert not trap.exists()
    if name.endswith(".pkl"):
        assert "MODEL.TRUST_PICKLE" in str(caught.value)


def test_a_trusted_pickle_is_read(tmp_path):
    path = tmp_path / "zoo.pkl"
    model = Reader("abc")
    values = {k: v.numpy() + 1 for k, v in model.state_dict().items() if k.startswith("body")}
    path.write_bytes(pickle.dumps({"model": values, "__author__": "somebody"}))
    SpotterCheckpointer(model, trust_pickle=True).load(str(path))
    assert torch.equal(model.body.bias.detach(), torch.from_numpy(values["body.bias"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_safetensors_fit_a_float32_model(tmp_path, dtype):
    path = str(tmp_path / "small.safetensors")
    source, model = Reader("abc"), Reader("abc")
    save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()}, path)
    SpotterCheckpointer(model).load(path)
    assert model.body.weight.dtype == torch.float32
    torch.testing.assert_close(model.body.weight, source.body.weight, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("content", "message"), [(b"not a checkpoint", "plain tensors"), (None, "list, not a dict")])
def test_files_that_hold_something_else_are_named(tmp_path, content, message):
    path = tmp_path / "odd.pth"
    if content is None:
        torch.save([torch.zeros(1)], path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"odd.pth.*{message}"):
        load_weights_file(str(path))


def test_missing_weights_are_named_and_do_not_spoil_the_next_load(tmp_path):
    model = Reader("abc")
    checkpointer = SpotterCheckpointer(model, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        checkpointer.load(str(tmp_path / "nowhere.pth"))
    checkpointer.save("there")
    checkpointer.load(str(tmp_path / "there.pth"))


def saved(tmp_path, model):
    SpotterCheckpointer(model, str(tmp_path)).save("model")
    return str(tmp_path / "model.pth")


def test_a_checkpoint_of_another_charset_is_refused_with_both_named(tmp_path):
    path = saved(tmp_path, Reader("abc"))
    model = Reader("xyz")
    checkpointer = SpotterCheckpointer(model)
    with pytest.raises(ValueError, match=r"model.pth .*3 characters: 'abc'.*3 characters: 'xyz'.*CHARSET_TRANSFER"):
        checkpointer.load(path)
    # the order alone makes another charset: the same ids would be other characters
    with pytest.raises(ValueError, match="'cba'"):
        SpotterCheckpointer(Reader("cba")).load(path)
    SpotterCheckpointer(Reader("abc")).load(path)


def test_transfer_keeps_the_rows_of_shared_characters(tmp_path):
    source, model = Reader("abcd"), Reader("xdb")
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    SpotterCheckpointer(model, charset_transfer=True).load(saved(tmp_path, source))
    old, new = source.state_dict(), model.state_dict()
    # ids: end 0; of "abcd" b = 2, d = 4, start 5; of "xdb" x = 1, d = 2, b = 3, start 4
    for name in ("decoder.output.weight", "decoder.output.bias", "ctc_head.weight", "ctc_head.bias"):
        assert torch.equal(new[name][[0, 2, 3]], old[name][[0, 4, 2]]), name
        assert torch.equal(new[name][1], fresh[name][1]), "a character that is new starts anew"
    assert torch.equal(new["decoder.embedding.weight"][[0, 2, 3, 4]], old["decoder.embedding.weight"][[0, 4, 2, 5]])
    assert torch.equal(new["body.weight"], old["body.weight"])
    assert Charset.from_codes(new["charset_codes"]) == Charset("xdb")


def test_transfer_says_how_many_characters_are_shared():
    old, new = Reader("abcd").state_dict(), Reader("xdb").state_dict()
    assert transfer_charset(old, new, Charset("abcd"), Charset("xdb"), "") == 2


def test_the_whole_spotter_changes_its_charset(tiny_cfg, tmp_path):
    source = build_model(tiny_cfg)
    path = saved(tmp_path, source)
    (tmp_path / "digits.txt").write_text("0123456789")
    tiny_cfg.MODEL.RECOGNITION.CHARSET_FILE = str(tmp_path / "digits.txt")
    with pytest.raises(ValueError, match="95 characters.*10 characters"):
        SpotterCheckpointer(build_model(tiny_cfg)).load(path)
    model = build_model(tiny_cfg)
    SpotterCheckpointer(model, charset_transfer=True).load(path)
    old, new = (m.roi_heads.recognizer.decoder.output.weight for m in (source, model))
    for digit in "07":
        assert torch.equal(new[1 + int(digit)], old[1 + ord(digit) - 0x20])


def test_weights_without_a_charset_are_no_contradiction(tmp_path):
    path = str(tmp_path / "plain.pth")
    torch.save({"body.weight": torch.ones(4, 4)}, path)
    model = Reader("abc")
    SpotterCheckpointer(model).load(path)
    assert (model.body.weight == 1).all()


@pytest.fixture(scope="module")
def torchvision_resnet():
    torch.manual_seed(0)
    net = torchvision.models.resnet50(weights=None).eval()
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        if name.endswith(("running_mean", "bias")):
            value.uniform_(-0.2, 0.2)
    return net


@pytest.fixture(scope="module")
def resnet50_fpn():
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/teacher_R50.yaml")
    cfg.MODEL.DEVICE = "cpu"
    return build_backbone(cfg).eval()


def test_torchvisions_resnet_has_every_weight_of_ours_and_gives_the_same_features(torchvision_resnet, resnet50_fpn):
    ours = resnet50_fpn.bottom_up
    missing, unexpected = ours.load_state_dict(rename_torchvision_resnet(torchvision_resnet.state_dict(), ""), False)
    assert not missing and not unexpected
    bgr = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        net, x = torchvision_resnet, bgr.flip(1)
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        for i in range(1, 5):
            x = getattr(net, f"layer{i}")(x)
        assert x.std() > 0.1
        torch.testing.assert_close(ours(bgr)["res5"], x, atol=1e-3, rtol=1e-3)


def test_torchvisions_file_is_recognised_by_its_names(torchvision_resnet, resnet50_fpn, tmp_path):
    class Spotter(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = resnet50_fpn

    torch.save(torchvision_resnet.state_dict(), tmp_path / "resnet50.pth")
    resnet50_fpn.bottom_up.res2[0].conv1.weight.data.zero_()
    SpotterCheckpointer(Spotter()).load(str(tmp_path / "resnet50.pth"))
    assert torch.equal(resnet50_fpn.bottom_up.res2[0].conv1.weight, torchvision_resnet.layer1[0].conv1.weight)
