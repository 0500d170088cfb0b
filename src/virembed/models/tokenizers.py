"""Text to token ids. A tokenizer knows no model and no tensor; it hands out numpy arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from virembed.errors import InputError, WeightsError

# The alphabet of ESM-2; an id is the position in this list.
ESM2_ALPHABET = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
)
CLS, PAD, EOS, MASK = (ESM2_ALPHABET.index(f"<{name}>") for name in ("cls", "pad", "eos", "mask"))
ESM2_RESIDUES = "".join(token for token in ESM2_ALPHABET if len(token) == 1)


def _residue_table() -> npt.NDArray[np.int64]:
    table = np.full(256, -1, np.int64)
    for residue in ESM2_RESIDUES:
        table[ord(residue)] = ESM2_ALPHABET.index(residue)
    return table


class Esm2Tokenizer:
    """`<cls>` residues `<eos>`, one id per letter.

    Letters that ESM-2 has no id for (J, *, lower case, digits) are refused: the original stops
    there too, and a guess would be stored as if it were data.
    """

    fill_id = ESM2_ALPHABET.index("A")

    def __init__(self) -> None:
        self._table = _residue_table()

    def encode(self, sequences: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """One int64 array [2 + residues] per protein.

        Raises:
            InputError: a letter outside the alphabet; names letter and place.
        """
        text = "".join(sequences)
        # one byte per character; what is not ASCII becomes "?", which the alphabet lacks
        residues = self._table[np.frombuffer(text.encode("ascii", "replace"), np.uint8)]
        if residues.size and residues.min() < 0:
            raise _unknown_letter(sequences, int(residues.argmin()))
        return _between_specials(residues, [len(sequence) for sequence in sequences])


def _between_specials(
    residues: npt.NDArray[np.int64], lengths: list[int]
) -> list[npt.NDArray[np.int64]]:
    encoded, start = [], 0
    for length in lengths:
        ids = np.empty(length + 2, np.int64)
        ids[0], ids[-1] = CLS, EOS
        ids[1:-1] = residues[start : start + length]
        encoded.append(ids)
        start += length
    return encoded


def _unknown_letter(sequences: Sequence[str], offset: int) -> InputError:
    """`offset` counts from the start of the first sequence, over all of them."""
    ends = list(accumulate(len(sequence) for sequence in sequences))
    number = bisect_right(ends, offset)
    sequence = sequences[number]
    position = offset - (ends[number] - len(sequence))
    return InputError(
        f"letter {sequence[position]!r} at position {position + 1} of protein {number + 1} of "
        f"{len(sequences)} (it starts {sequence[:20]!r}) is not in the alphabet of ESM-2",
        f"Its letters are {ESM2_RESIDUES}; write X for an unknown residue.",
    )


class DnabertsTokenizer:
    """The byte-pair encoding of DNABERT-S: `[CLS]` pieces `[SEP]`.

    Every character that is not A, C, G or T becomes one `[UNK]`.
    """

    def __init__(self, path: Path) -> None:
        """`path`: a `tokenizer.json`.

        Raises:
            WeightsError: it is missing, damaged or not of this kind.
        """
        try:
            self._bpe = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise WeightsError(
                f"{path}: cannot be read as a tokenizer ({error})",
                "Take tokenizer.json from where the model comes from.",
            ) from error
        # A file saved by a training script may cut or pad every sequence to a fixed length.
        self._bpe.no_padding()
        self._bpe.no_truncation()
        fill_id = self._bpe.token_to_id("[PAD]")
        if fill_id is None:
            raise WeightsError(
                f"{path}: has no token [PAD]", "This is not the tokenizer of DNABERT-S."
            )
        self.fill_id: int = fill_id

    @property
    def vocab_size(self) -> int:
        return self._bpe.get_vocab_size()

    def encode(self, sequences: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """One int64 array of ids per sequence, with `[CLS]` and `[SEP]`."""
        encodings = self._bpe.encode_batch_fast(list(sequences))
        return [np.array(encoding.ids, np.int64) for encoding in encodings]
