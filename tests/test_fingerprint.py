"""Digests against hashlib and known answers; every part of a tensor counts."""

import hashlib

import pytest
import torch

from medrobust.fingerprint import digest, digest_tensors, file_digest


def test_plain_data_by_its_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,null],"b":"x"}').hexdigest()
    assert digest({"b": "x", "a": [1, None]}) == digest({"a": [1, None], "b": "x"}) == expected
    assert digest({"a": 1}) != digest({"a": 1.5})
    with pytest.raises(TypeError):
        digest({"a": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_files_by_their_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_by_name_shape_dtype_and_value(dtype):
    tensor = torch.tensor([[0, 1, 1], [1, 0, 0]]).to(dtype)
    base = digest_tensors({"x": tensor})
    changed = tensor.clone()
    changed[1, 2] = 1
    other = torch.float16 if dtype != torch.float16 else torch.float32
    assert digest_tensors({"x": tensor.t().contiguous().t()}) == base  # layout in memory
    for variant in (
        {"y": tensor},
        {"x": tensor.reshape(3, 2)},
        {"x": changed},
        {"x": tensor.to(other)},
    ):
        assert digest_tensors(variant) != base
    assert digest_tensors({"x": torch.zeros(0)}) != digest_tensors({"x": torch.zeros(0, 2)})
    assert digest_tensors({"x": torch.tensor(1.0)})


def test_order_of_names_does_not_matter():
    a, b = torch.rand(2), torch.rand(3)
    assert digest_tensors({"a": a, "b": b}) == digest_tensors({"b": b, "a": a})
