"""EMBED: one chunk in, one shard out, and its residues. Here the engine and a model meet.

A GPU is taken, the model is loaded, the loop runs under a monitor while the checksums of the
weights are compared in a thread. The GPU is given back empty, for the next task to take, and the
shard is written when all of it is right.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch

from virembed import __version__
from virembed.alphabets import NOT_IN_DNA, only_bases
from virembed.atomic import whole_file
from virembed.contracts import Choice, Encoder
from virembed.engine import settings
from virembed.engine.embed import Embeddings, Progress, TakeResidues, embed_items
from virembed.engine.gpu_lock import gpu_uuid, take_device
from virembed.engine.monitor import Monitor
from virembed.errors import InputError, UsageError
from virembed.items import read_chunk
from virembed.layout import model_slot
from virembed.models.registry import LoadedEncoder, import_kernels, load_encoder
from virembed.models.weights import verify_checksums
from virembed.residue_shards import ResidueWriter, new_residue_shard
from virembed.shards import ShardIdentity, ShardOrigin, write_shard
from virembed.weights_info import read_info

_JUDGED_ITEMS = 1000
_MIN_LETTERS_TO_JUDGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings:
    """What was asked for: "auto" where it is left open, 0 for an automatic number."""

    device: str = settings.AUTO
    precision: str = settings.AUTO
    attention: str = settings.AUTO
    tokens_per_pack: int = 0


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where to write: the shard; if asked, how the device did over time (JSON), and residues."""

    shard: Path
    stats: Path | None = None
    residues: Path | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to hear of a task.

    progress: given the number of items, returns what to call as items are done
    waiting:  called once where all GPUs are taken
    """

    progress: Callable[[int], Progress]
    waiting: Callable[[], None]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What the command tells."""

    origin: ShardOrigin
    weights_name: str
    random_weights: bool
    num_items: int
    num_tokens: int


def embed_chunk(
    chunk: Path,
    *,
    model: str,
    weights: Path,
    outputs: Outputs,
    asked: EmbedSettings,
    listener: Listener,
) -> EmbedReport:
    """Embeds a chunk and writes its shard.

    Raises:
        UsageError, InputError, WeightsError, DeviceError, MemoryLimitError, IncompleteError
    """
    if outputs.residues:
        _require_residues(model)
    keys, texts = _read_items(chunk, model_slot(model).item)
    with _residue_writer(outputs.residues, texts, weights) as writer:
        take = writer.put if writer else None
        done = _embed_items(keys, texts, model, weights, asked, listener, take)
        origin = done.run.origin(chunk.stem, done.result, done.monitor, **done.seconds)
        writing = time.perf_counter()
        if writer:
            writer.finish(identity=done.run.identity, chunk=chunk.stem, keys=keys)
    write_shard(
        outputs.shard,
        identity=done.run.identity,
        origin=origin,
        keys=keys,
        num_tokens=done.result.num_tokens,
        vectors=done.result.vectors,
        flags=done.result.flags,
    )
    write_s = time.perf_counter() - writing
    report = EmbedReport(
        origin,
        done.run.info.name,
        done.run.info.random,
        num_items=len(texts),
        num_tokens=int(done.result.num_tokens.sum()),
    )
    if outputs.stats:
        told = _stats(done, report, write_s=write_s)
        with whole_file(outputs.stats) as path:
            path.write_text(json.dumps(told, indent=1) + "\n")
    return report


def _require_residues(model: str) -> None:
    if model_slot(model).letters_per_token != 1:
        raise UsageError(
            f"--residues: {model} has none, its tokens are of several letters each",
            "Leave the option out.",
        )


def _residue_writer(
    path: Path | None, texts: list[str], weights: Path
) -> AbstractContextManager[ResidueWriter | None]:
    """Before a GPU is taken: what has no room is said before it is computed."""
    if path is None:
        return nullcontext()
    total, dim = sum(map(len, texts)), read_info(weights).dim
    return new_residue_shard(path, num_items=len(texts), num_residues=total, dim=dim)


@dataclass(frozen=True, slots=True)
class _Done:
    """An embedded chunk. started: UTC, when the task had its device; seconds: see `ShardOrigin`."""

    run: ModelOnDevice
    result: Embeddings
    monitor: Monitor
    started: str
    seconds: dict[str, float]


def _embed_items(  # noqa: PLR0917  what `embed_chunk` was given, in its order
    keys: list[bytes],
    texts: list[str],
    model: str,
    weights: Path,
    asked: EmbedSettings,
    listener: Listener,
    residues: TakeResidues | None,
) -> _Done:
    """Has the device no longer than for loading and computing."""
    import_kernels(settings.choose_device(asked.device).value)  # before a GPU waits for it
    waiting = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        with take_device(asked.device, waiting=listener.waiting) as device:
            started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            taken = time.perf_counter()
            run = ModelOnDevice(model, weights, asked, device)
            loaded = time.perf_counter()
            # reading every byte takes seconds for the large models
            checked = pool.submit(verify_checksums, weights, run.info)
            with Monitor(gpu_uuid(device.value)) as monitor:
                progress = _both(monitor.progress, listener.progress(len(texts)))
                result = run.embed(
                    texts, progress, name_of=lambda item: keys[item].hex(), residues=residues
                )
            run.free()
        released = time.perf_counter()
        checked.result()
    seconds = {"wait": taken - waiting, "load": loaded - taken, "held": released - taken}
    seconds["checksums"] = time.perf_counter() - released
    return _Done(run, result, monitor, started, seconds)


def _both(one: Progress, other: Progress) -> Progress:
    def tell(items: int, tokens: int) -> None:
        one(items, tokens)
        other(items, tokens)

    return tell


class ModelOnDevice:
    """A loaded model, ready to embed until it is freed, with every choice and its reason."""

    def __init__(self, model: str, weights: Path, asked: EmbedSettings, device: Choice) -> None:
        self.model, self.weights, self.asked, self.device = model, weights, asked, device
        self.precision = settings.choose_precision(asked.precision, device.value)
        settings.set_up_products()
        self._loaded: LoadedEncoder | None = self._load(self.precision.value)
        self.info, self.attention = self._loaded.info, self._loaded.attention
        self.pooling = self._loaded.encoder.pooling
        self.tokens_per_pack = settings.choose_tokens_per_pack(
            asked.tokens_per_pack,
            device.value,
            bytes_per_token=self._loaded.encoder.bytes_per_token,
        )

    def embed(
        self,
        texts: list[str],
        progress: Progress,
        name_of: Callable[[int], str] | None = None,
        residues: TakeResidues | None = None,
    ) -> Embeddings:
        if self._loaded is None:
            raise RuntimeError("the model was freed")
        wider = settings.WIDER[self.precision.value]
        return embed_items(
            texts,
            encoder=self._loaded.encoder,
            tokenizer=self._loaded.tokenizer,
            device=torch.device(self.device.value),
            tokens_per_pack=int(self.tokens_per_pack.value),
            progress=progress,
            retries=[partial(self._encoder, precision) for precision in wider],
            name_of=name_of,
            residues=residues,
        )

    def free(self) -> None:
        """Gives the memory of the device back: the next task finds it before this one ends."""
        self._loaded = None
        if self.device.value.startswith("cuda"):
            torch.cuda.empty_cache()

    def _encoder(self, precision: str) -> Encoder:
        return self._load(precision).encoder

    @property
    def identity(self) -> ShardIdentity:
        return ShardIdentity(
            model=self.model,
            weights_sha256=self.info.sha256,
            dim=self.info.dim,
            precision=self.precision.value,
            pooling=self.pooling,
            virembed=__version__,
        )

    def origin(
        self, chunk: str, result: Embeddings, monitor: Monitor, **seconds: float
    ) -> ShardOrigin:
        """seconds: of what the result does not know."""
        choices = {
            "device": self.device,
            "precision": self.precision,
            "attention": self.attention,
            "tokens_per_pack": self.tokens_per_pack,
        }
        return ShardOrigin(
            chunk=chunk,
            device=settings.device_name(self.device.value),
            attention=self.attention.value,
            tokens_per_pack=int(self.tokens_per_pack.value),
            reasons={name: choice.reason for name, choice in choices.items()},
            software={"python": platform.python_version(), "torch": torch.__version__},
            num_packs=result.num_packs,
            num_halvings=result.num_halvings,
            fill_tokens=result.fill_tokens,
            seconds={**seconds, "tokenize": result.first_s, "loop": result.loop_s},
            monitor=monitor.summary(),
        )

    def _load(self, precision: str) -> LoadedEncoder:
        return load_encoder(
            self.weights,
            model=self.model,
            device=torch.device(self.device.value),
            dtype=settings.PRECISIONS[precision],
            # a kernel that was asked for may not know the precision of a retry
            attention=self.asked.attention if precision == self.precision.value else settings.AUTO,
        )


def _stats(done: _Done, report: EmbedReport, *, write_s: float) -> dict[str, Any]:
    """What `--stats` writes: the origin of the shard, and what the report needs besides.

    started: the samples count from `seconds.load` later
    gpu:     UUID, None for a CPU
    samples: of the monitor, one a second
    write_s: after the loop, with what was left to write of residues
    """
    return {
        "model": done.run.model,
        "weights": report.weights_name,
        "started": done.started,
        "gpu": gpu_uuid(done.run.device.value),
        "num_items": report.num_items,
        "num_tokens": report.num_tokens,
        **asdict(report.origin),
        "write_s": write_s,
        "samples": done.monitor.series(),
    }


def _read_items(chunk: Path, item: str) -> tuple[list[bytes], list[str]]:
    keys: list[bytes] = []
    texts: list[str] = []
    for key, text in read_chunk(chunk):
        keys.append(key)
        texts.append(text)
    letters = "".join(texts[:_JUDGED_ITEMS])
    if item == "protein" and len(letters) >= _MIN_LETTERS_TO_JUDGE and only_bases(letters):
        raise InputError(
            f"{chunk}: these are nucleotides, and the model is for proteins",
            "Give a chunk of chunks/esm2.",
        )
    if item == "dna" and set(letters) & NOT_IN_DNA:
        raise InputError(
            f"{chunk}: these are proteins, and the model is for DNA",
            "Give a chunk of chunks/dnaberts.",
        )
    return keys, texts
