"""Each Triton kernel against its plain twin, on the same inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from virembed.models.kernels import PLAIN, Kernels, kernels_of
from virembed.models.positions import Rotation

from .conftest import INTERPRETED

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
        kernels.rotate(x[:, 1], rotation, scale=head_size**-0.5)
    same(ours, plain, dtype=dtype)
    assert torch.equal(ours[:, 0], qkv[:, 0])
    assert torch.equal(ours[:, 2], qkv[:, 2])


def linear_of(num_in: int, num_out: int, device, dtype, *, bias: bool) -> nn.Linear:
    linear = nn.Linear(num_in, num_out, bias=bias).requires_grad_(False).to(device, dtype)
    linear.weight.copy_(2 * draw(num_out, num_in, device=device, seed=4) / num_in**0.5)
    return linear


SIZES = [(64, 128), (320, 1280), (480, 1920), (768, 3072), (100 * 8, 72)]  # D, F


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize(("dim", "ffn_dim"), SIZES)
@pytest.mark.parametrize("num_tokens", [1, 129, 1000])
def test_products_with_gelu(device, fused, dtype, dim, ffn_dim, num_tokens) -> None:
    """Against the plain twin in fp64, for that one rounds twice."""
    if INTERPRETED and dtype in HALF:
        pytest.skip("without a GPU product and GELU are two steps, which round twice")
    y = draw(num_tokens, dim, device=device, dtype=dtype)
    for name, num_out in (("linear_gelu", ffn_dim), ("linear_gated_gelu", 2 * ffn_dim)):
        linear = linear_of(dim, num_out, device, dtype, bias=name == "linear_gelu")
        ours = getattr(fused, name)(y, linear)
        exact = getattr(PLAIN, name)(y.double(), linear.double()).to(dtype)
        assert ours.shape == (num_tokens, ffn_dim)
        same(ours, exact, dtype=dtype, size=10)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_gelu_without_a_product(device, dtype) -> None:
    """What other GPUs use."""
    kernels = pytest.importorskip("virembed.models.triton_kernels")
    h = (4 * draw(1000, 24, device=device)).to(dtype)
    same(kernels.gelu(h.clone()), F.gelu(h), dtype=dtype)
    a, b = h.float().chunk(2, dim=-1)
    same(kernels.gated_gelu(h), (F.gelu(a) * b).to(dtype), dtype=dtype, size=10)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_visible(device, fused, value) -> None:
    y = torch.full((4, 64), value, device=device, dtype=torch.float16)
    linear = linear_of(64, 128, device, torch.float16, bias=True)
    assert not fused.linear_gelu(y, linear).isfinite().any()
    linear.bias = None
    assert not fused.linear_gated_gelu(y, linear).isfinite().any()
    x = draw(3, 64, device=device)
    normed = fused.add_then_norm(x, y[:3], norm_of(64, device), dtype=torch.float16)
    assert normed.isnan().all()


def test_a_row_does_not_depend_on_its_place(device, fused) -> None:
    x = draw(300, 320, device=device)
    norm = norm_of(320, device)
    together = fused.add_then_norm(x.clone(), None, norm, dtype=torch.float16)
    backwards = fused.add_then_norm(x.flip(0), None, norm, dtype=torch.float16)
    assert torch.equal(together, backwards.flip(0))
