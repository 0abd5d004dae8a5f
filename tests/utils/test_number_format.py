"""Number formats by name."""

import pytest
import torch

from dld.utils import number_format
from dld.utils.number_format import bfloat16_instructions, inference_dtype


def test_by_name():
    assert inference_dtype("float32") is None
    assert inference_dtype("bfloat16") is torch.bfloat16
    assert inference_dtype("float16", "cuda:1") is torch.float16


@pytest.mark.parametrize("known,expected", [(True, torch.bfloat16), (False, None)])
def test_auto_follows_the_processor(monkeypatch, known, expected):
    monkeypatch.setattr(number_format, "bfloat16_instructions", lambda: known)
    assert inference_dtype("auto") is expected
    assert inference_dtype("auto", "cpu") is expected


@pytest.mark.parametrize("known,expected", [(True, torch.bfloat16), (False, None)])
def test_auto_follows_the_gpu(monkeypatch, known, expected):
    monkeypatch.setattr(number_format, "bfloat16_instructions", lambda: not known)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: known)
    assert inference_dtype("auto", "cuda:1") is expected


def test_any_of_both_instruction_sets_will_do(monkeypatch):
    for avx, amx in [(False, False), (False, True), (True, False), (True, True)]:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        assert bfloat16_instructions() is (avx or amx)


def test_where_torch_cannot_tell_it_is_taken_to_be_there(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert bfloat16_instructions() is True


@pytest.mark.parametrize("name", ["float64", "", "Auto", "fp16"])
def test_other_names(name):
    with pytest.raises(ValueError, match="float32, bfloat16, float16, auto"):
        inference_dtype(name)
