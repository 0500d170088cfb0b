from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from virembed.errors import InputError, WeightsError
from virembed.models.tokenizers import ESM2_ALPHABET, DnabertsTokenizer, Esm2Tokenizer

from .packs import GOLDEN


def test_the_alphabet_is_that_of_the_original() -> None:
    facts = json.loads((GOLDEN / "esm2-tiny" / "golden.json").read_text())
    assert {token: number for number, token in enumerate(ESM2_ALPHABET)} == facts["alphabet"]


def test_proteins_become_cls_residues_eos() -> None:
    encoded = Esm2Tokenizer().encode(["MK", "", "X"])
    assert [ids.tolist() for ids in encoded] == [[0, 20, 15, 2], [0, 2], [0, 24, 2]]
    assert all(ids.dtype == np.int64 for ids in encoded)


def test_no_proteins_are_no_ids() -> None:
    assert Esm2Tokenizer().encode([]) == []


@pytest.mark.parametrize(
    ("proteins", "letter", "place"),
    [
        (["MKJAY"], "'J'", "position 3 of protein 1 of 1"),
        (["MK", "", "A*"], "'*'", "position 2 of protein 3 of 3"),
        (["MKTa"], "'a'", "position 4"),
        (["M1"], "'1'", "position 2"),
        (["MK", "ÄK"], "'Ä'", "position 1 of protein 2"),
        (["M K"], "' '", "position 2"),
        (["M<mask>"], "'<'", "position 2"),
    ],
)
def test_a_letter_outside_the_alphabet_is_named(
    proteins: list[str], letter: str, place: str
) -> None:
    with pytest.raises(InputError) as error:
        Esm2Tokenizer().encode(proteins)
    assert f"letter {letter} at {place}" in str(error.value)


def test_the_fill_tokens_are_plain() -> None:
    assert ESM2_ALPHABET[Esm2Tokenizer().fill_id] == "A"
    assert DnabertsTokenizer(GOLDEN / "dnaberts-tiny" / "tokenizer.json").fill_id == 3


def test_a_tokenizer_saved_with_padding_and_truncation_does_neither() -> None:
    path = GOLDEN / "dnaberts-tiny-h12" / "tokenizer.json"
    assert json.loads(path.read_text())["padding"]["strategy"] == {"Fixed": 2000}
    tokenizer = DnabertsTokenizer(path)
    short, long = tokenizer.encode(["ACGT", "ACGT" * 5000])
    assert len(short) < 7
    assert len(long) > 2000


def test_a_damaged_tokenizer_is_a_weights_error(tmp_path: Path) -> None:
    for text in ("", "{}", '{"model": 3}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(WeightsError, match="cannot be read as a tokenizer"):
            DnabertsTokenizer(tmp_path / "tokenizer.json")


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    shutil.copy(GOLDEN / "dnaberts-tiny" / "tokenizer.json", path)
    path.write_text(path.read_text().replace("[PAD]", "[FILL]"))
    with pytest.raises(WeightsError, match="no token \\[PAD\\]"):
        DnabertsTokenizer(path)
