"""Each Triton kernel against its plain twin, on the same inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from virembed.models.kernels import PLAIN, Kernels, Rotation, kernels_of

HALF = [torch.float16, torch.bfloat16]
ULP = {torch.float32: 2e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # relative, one bit


@pytest.fixture(scope="module")
def fused(device: torch.device) -> Kernels:
    return kernels_of("triton")


def draw(*shape: int, device: torch.device, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device, dtype)


def norm_of(dim: int, device: torch.device) -> nn.LayerNorm:
    norm = nn.LayerNorm(dim, eps=1e-5).requires_grad_(False).to(device)
    norm.weight += 0.2 * draw(dim, device=device, seed=8)
    norm.bias += 0.3 * draw(dim, device=device, seed=9)
    return norm


def same(ours: torch.Tensor, theirs: torch.Tensor, *, dtype: torch.dtype, size: float = 1) -> None:
    """size: of the largest term that goes into a number."""
    assert ours.dtype == theirs.dtype
    atol = ULP[dtype] * size
    assert torch.allclose(ours.float(), theirs.float(), rtol=ULP[dtype], atol=atol)


@pytest.mark.parametrize("name", ["add_then_norm", "norm_of_sum"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("dim", [64, 320, 480, 768, 2560])
@pytest.mark.parametrize("has_update", [True, False])
def test_add_and_norm(device, fused, name, dtype, dim, has_update) -> None:
    x = 3 * draw(37, dim, device=device) + 5
    update = draw(37, dim, device=device, dtype=dtype, seed=1) if has_update else None
    norm = norm_of(dim, device)
    ours_x, plain_x = x.clone(), x.clone()
    ours = getattr(fused, name)(ours_x, update, norm, dtype=dtype)
    plain = getattr(PLAIN, name)(plain_x, update, norm, dtype=dtype)
    same(ours, plain, dtype=dtype)
    same(ours_x, plain_x, dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize(
    ("num_heads", "head_size"), [(4, 16), (20, 24), (20, 32), (3, 64), (2, 128)]
)
def test_rotate_inside_the_fused_product(device, fused, dtype, num_heads, head_size) -> None:
    qkv = draw(29, 3, num_heads, head_size, device=device, dtype=dtype)
    angles = 100 * draw(29, head_size // 2, device=device, seed=2)
    rotation = Rotation(angles.cos(), angles.sin(), torch.arange(29, device=device).flip(0))
    ours, plain = qkv.clone(), qkv.clone()
    for kernels, x in ((fused, ours), (PLAIN, plain)):
        q, k, _ = x.unbind(1)
        kernels.rotate(q, k, rotation, scale=head_size**-0.5)
    same(ours, plain, dtype=dtype)
    assert torch.equal(ours[:, 2], qkv[:, 2])


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_gelu(device, fused, dtype) -> None:
    h = (4 * draw(1000, 24, device=device)).to(dtype)
    same(fused.gelu(h.clone()), PLAIN.gelu(h.clone()), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("ffn_dim", [128, 3072, 100])
def test_gated_gelu(device, fused, dtype, ffn_dim) -> None:
    h = 4 * draw(31, 2 * ffn_dim, device=device, dtype=dtype)
    same(fused.gated_gelu(h), PLAIN.gated_gelu(h), dtype=dtype, size=10)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_visible(device, fused, value) -> None:
    h = torch.full((4, 64), value, device=device, dtype=torch.float16)
    assert not fused.gelu(h.clone()).isfinite().any()
    assert not fused.gated_gelu(h).isfinite().any()
    x = draw(3, 64, device=device)
    normed = fused.add_then_norm(x, h[:3], norm_of(64, device), dtype=torch.float16)
    assert normed.isnan().all()


def test_a_row_does_not_depend_on_its_place(device, fused) -> None:
    x = draw(300, 320, device=device)
    norm = norm_of(320, device)
    together = fused.add_then_norm(x.clone(), None, norm, dtype=torch.float16)
    backwards = fused.add_then_norm(x.flip(0), None, norm, dtype=torch.float16)
    assert torch.equal(together, backwards.flip(0))
