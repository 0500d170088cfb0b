"""Each Triton kernel against its plain twin, on the same inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from virembed.models.fp8 import FP8, Fp8Linear, Quantised, quantised
from virembed.models.gating import halves_of
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
    h = h[:, :16].contiguous()
    a, b = halves_of(h.float())
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


# e4m3 as an integer of eight bits has the neighbouring numbers for neighbours. The plain twin adds
# up in another order, so that a number in the middle between two may fall either way.


def close_quantised(ours: Quantised, plain: Quantised) -> None:
    if INTERPRETED:
        pytest.skip("the interpreter rounds to e4m3 otherwise")
    assert ours.values.dtype == plain.values.dtype == FP8
    assert torch.allclose(ours.scale, plain.scale, rtol=2e-3, atol=0)
    a, b = (x.values.view(torch.int8).int() for x in (ours, plain))
    apart = (a - b).abs()
    apart[(a ^ b) < 0] = 0  # of two signs: both next to zero
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.03
    difference = (ours.values.float() * ours.scale - plain.values.float() * plain.scale).abs()
    assert (difference <= 32 * plain.scale + 1e-6).all()


@pytest.mark.parametrize("name", ["add_then_norm", "norm_of_sum"])
@pytest.mark.parametrize("dim", [64, 320, 768, 2560])
def test_add_and_norm_to_fp8(device, fused, name, dim) -> None:
    x = 3 * draw(37, dim, device=device) + 5
    update = draw(37, dim, device=device, dtype=torch.float16, seed=1)
    norm = norm_of(dim, device)
    ours_x, plain_x = x.clone(), x.clone()
    ours = getattr(fused, name)(ours_x, update, norm, dtype=FP8)
    close_quantised(ours, getattr(PLAIN, name)(plain_x, update, norm, dtype=FP8))
    same(ours_x, plain_x, dtype=torch.float32)


@pytest.mark.parametrize(("dim", "ffn_dim"), [(64, 128), (320, 1280), (768, 3072), (2560, 10240)])
@pytest.mark.parametrize("gated", [False, True])
def test_gelu_to_fp8(device, dim, ffn_dim, gated) -> None:
    kernels = pytest.importorskip("virembed.models.triton_kernels")
    h = 3 * draw(33, ffn_dim * (2 if gated else 1), device=device, dtype=torch.float16)
    if gated:
        a, b = halves_of(h.float())
        expected = F.gelu(a) * b
    else:
        expected = F.gelu(h.float())
    close_quantised(kernels.gelu_quantised(h, gated=gated), quantised(expected))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_visible_in_fp8(device, fused, value) -> None:
    if INTERPRETED:
        pytest.skip("the interpreter rounds to e4m3 otherwise")
    kernels = pytest.importorskip("virembed.models.triton_kernels")
    x, norm = draw(3, 64, device=device), norm_of(64, device)
    update = torch.zeros(3, 64, device=device, dtype=torch.float16)
    update[1, 7] = value
    normed = fused.add_then_norm(x, update, norm, dtype=FP8).values.float()
    assert normed[1].isnan().all()
    assert normed[[0, 2]].isfinite().all()
    for gated in (False, True):
        y = kernels.gelu_quantised(update, gated=gated).values.float()
        assert y[1].isnan().any()
        assert y[[0, 2]].isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_products_in_fp8(cuda, bias) -> None:
    """Against the emulated ones of the CPU, and the same whatever the other rows hold."""
    linear = nn.Linear(768, 2304, bias=bias).requires_grad_(False).half()
    y = quantised(3 * draw(500, 768, device=torch.device("cpu")))
    on_cpu = Fp8Linear(linear)(y)
    on_gpu = Fp8Linear(linear.to(cuda))
    ours = on_gpu(Quantised(y.values.to(cuda), y.scale.to(cuda)))
    error = (ours.cpu().double() - on_cpu.double()).norm() / on_cpu.double().norm()
    assert error < 2e-3
    backwards = Quantised(*(x.cpu().float().flip(0).to(x.dtype).to(cuda) for x in y))
    assert torch.equal(on_gpu(backwards), ours.flip(0))
