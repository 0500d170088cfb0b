"""`virembed weights`, through the real command, and the random models it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from virembed.cli import main
from virembed.engine.pooling import mean_pool
from virembed.layout import MODEL_NAMES
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES, draw, random_tokenizer
from virembed.weights_info import read_info

from .packs import load, pack
from .reference_dnaberts import reference_embedding as reference_dnaberts
from .reference_esm2 import reference_embedding as reference_esm2

SEQUENCES = {
    "esm2": ["MKTAYIAKQR", "M", "XBZUO", "MQSYDLCNIATRPSERWDVTMIMTLIISKGYEI" * 4],
    "dnaberts": ["ACGTAGCATCGGATCTATC", "A", "", "ACGTNNNNRYTTTT", "CGTACCGTCGTAGCCATGC" * 20],
}


def virembed(*arguments: object) -> int:
    """Runs the command; its exit code."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def made(model: str, directory: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Source and weights directory of a random model."""
    source, weights = directory / "source", directory / "weights"
    assert virembed("weights", "random", model, "--out", source, "--seed", seed) == 0
    assert virembed("weights", "convert", source, "--model", model, "--out", weights) == 0
    return source, weights


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_a_random_model_is_marked_from_file_to_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    _, weights = made(model, tmp_path)
    assert read_info(weights).random
    assert "RANDOM NUMBERS" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    tmp_path: Path, model: str
) -> None:
    cards = [
        read_info(made(model, tmp_path / str(number), seed=seed)[1])
        for number, seed in enumerate([0, 0, 1])
    ]
    assert cards[0].files == cards[1].files
    assert cards[0].sha256 != cards[2].sha256


def test_the_tensors_of_a_seed_are_the_same_on_every_machine() -> None:
    values = draw("layers.0.fc1.weight", (2, 3), seed=7).flatten().tolist()
    expected = [-0.16094716, -0.13018498, 0.21431608, 0.23184425, -0.33842772, 0.87585878]
    assert values == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_embeddings_are_those_of_the_float64_reference(tmp_path: Path, model: str) -> None:
    source, weights = made(model, tmp_path)
    loaded = load(weights, model=model)
    tokens = pack([torch.from_numpy(ids) for ids in loaded.tokenizer.encode(SEQUENCES[model])])
    ours = mean_pool(loaded.encoder(tokens), tokens, skip=loaded.encoder.pool_skip)
    if model == "esm2":
        (path,) = source.glob("*.pt")
        expected = [reference_esm2(path, sequence) for sequence in SEQUENCES[model]]
    else:
        expected = [reference_dnaberts(source, sequence) for sequence in SEQUENCES[model]]
    assert (ours - torch.stack(expected)).abs().max() < 1e-5
    assert ours.std() > 0.1
    assert torch.pdist(ours).min() > 0.1  # sequences can be told apart


def test_the_esm2_file_is_like_the_published_ones(tmp_path: Path) -> None:
    _, weights = made("esm2", tmp_path)
    assert (tmp_path / "source" / "esm2_t4_tiny_random.pt").is_file()
    tensors = load_file(weights / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    exact = 10000.0 ** (-torch.arange(8) / 8)
    assert not torch.equal(tensors["layers.0.self_attn.rot_emb.inv_freq"].float(), exact)
    assert torch.allclose(tensors["layers.0.self_attn.rot_emb.inv_freq"].float(), exact, rtol=1e-3)


def test_the_random_tokenizer_is_of_the_published_kind() -> None:
    tokenizer = random_tokenizer(384, seed=0)
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == 384
    first = sorted(vocabulary, key=vocabulary.__getitem__)[:9]
    assert first == ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "A", "C", "G", "T"]
    assert tokenizer.encode("").ids == [1, 2]
    assert tokenizer.encode("NACGTacgt-").ids.count(0) == 6
    assert 8 < len(tokenizer.encode("ACGTTGCA" * 5).ids) < 25  # pieces of more than one letter


def test_the_sizes_are_those_of_the_published_models() -> None:
    table = {name: (s.num_layers, s.dim, s.num_heads) for name, s in ESM2_SIZES.items()}
    assert table == {
        "micro": (1, 8, 1),
        "wide": (1, 2560, 40),
        "tiny": (4, 64, 4),
        "8M": (6, 320, 20),
        "35M": (12, 480, 20),
        "150M": (30, 640, 20),
        "650M": (33, 1280, 20),
        "3B": (36, 2560, 40),
        "15B": (48, 5120, 40),
    }
    base = DNABERTS_SIZES["base"]
    assert (base.num_layers, base.dim, base.num_heads, base.ffn_dim) == (12, 768, 12, 3072)


def test_list_shows_directories_and_finds_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, weights = made("esm2", tmp_path)
    _, other = made("dnaberts", tmp_path / "other")
    capsys.readouterr()
    assert virembed("weights", "list", weights, other) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("model", "name", "layers", "dim", "random", "sha256", "files", "directory")
    ]
    sha256 = read_info(weights).sha256[:12]
    expected = ["esm2", "esm2_t4_tiny_random", "4", "64", "random", sha256, "ok", str(weights)]
    assert rows[0].split() == expected
    assert rows[1].split()[0] == "dnaberts"

    with (weights / "model.safetensors").open("ab") as file:
        file.write(b"!")
    assert virembed("weights", "list", weights, other) == 4
    captured = capsys.readouterr()
    assert [row.split()[6] for row in captured.out.splitlines()[1:]] == ["DAMAGED", "ok"]
    assert captured.err.startswith("ERROR ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["random", "esm2", "--size", "7B"],
            2,
            "esm2 has no size '7B'. Sizes: micro, wide, tiny, 8M",
        ),
        (["random", "dnaberts", "--size", "8M"], 2, "Sizes: micro, wide, tiny, base."),
        (["convert", "nothing.pt"], 4, "nothing.pt: there is no such file"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert virembed("weights", *arguments, "--out", tmp_path / "out") == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_a_random_model_does_not_replace_one_that_is_there(tmp_path: Path, model: str) -> None:
    assert virembed("weights", "random", model, "--out", tmp_path) == 0
    assert virembed("weights", "random", model, "--out", tmp_path) == 2


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, virembed.commands.weights as w;"
        "w.weights.main(['convert', '--help'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
