"""Published models from Hugging Face into a store: download, proof of checksums, conversion.

STORE/.NAME-COMMIT.download    what has arrived; removed when it is converted
STORE/.NAME.lock               held by the process that downloads; stays
"""

from __future__ import annotations

import shutil
from pathlib import Path

from virembed.checksum import sha256_of
from virembed.errors import WeightsError
from virembed.lock import exclusive
from virembed.models.checkpoints import CONFIG, HUGGING_FACE_FILES, listed_shards
from virembed.models.hub import HubFile, Repository, Snapshot
from virembed.models.registry import FAMILIES
from virembed.models.store import Say, convert_into_store, entry, stored
from virembed.weights_info import PUBLISHED, WeightsInfo


def fetch(name: str, *, store: Path, revision: str, say: Say) -> tuple[Path, WeightsInfo]:
    """The converted directory of a published model; downloads nothing large that is there already.

    Only the files that hold numbers, sizes and the tokenizer are downloaded: no code. An attempt
    that was cut short or killed is gone on with by the next.

    name:       a key of `PUBLISHED`
    revision:   branch, tag or commit; the commit it meant is on the card

    Raises:
        WeightsError: there is no connection, or the files are not those of the model.
    """
    repository = Repository(PUBLISHED[name][1], by_hand=_by_hand(name, store))
    store.mkdir(parents=True, exist_ok=True)
    with exclusive(store / f".{name}.lock", say=say):
        snapshot = repository.snapshot(revision)
        downloads = store / f".{name}-{snapshot.commit[:12]}.download"
        downloads.mkdir(exist_ok=True)
        files = _wanted(repository, snapshot, downloads, model=PUBLISHED[name][0])
        path = entry(store, name, {f.name: _sha256(f, downloads) for f in files})
        info = stored(path)
        if info is None:
            for file in files:
                say(f"{file.name}: {file.size_bytes / 1e9:.3f} GB")
                repository.download(file, snapshot.commit, to=downloads / file.name)
            made, info = convert_into_store(
                downloads,
                model=PUBLISHED[name][0],
                store=store,
                name=name,
                origin=f"{repository.name}@{snapshot.commit}",
                say=say,
            )
            if made != path:
                raise WeightsError(
                    f"{downloads}: changed on the disk since it was downloaded",
                    f"Remove it and {made}, and repeat the command.",
                )
        shutil.rmtree(downloads, ignore_errors=True)
    return path, info


def _wanted(
    repository: Repository, snapshot: Snapshot, downloads: Path, *, model: str
) -> list[HubFile]:
    """The files that a conversion reads, those without a sha256 downloaded: they are small."""
    names = [CONFIG, *FAMILIES[model].companion_files]
    names += [name for name in HUGGING_FACE_FILES if name in snapshot.files][:1]
    files = _found(names, repository, snapshot)
    if names[-1] not in HUGGING_FACE_FILES:
        wanted = ", ".join(HUGGING_FACE_FILES)
        raise WeightsError(
            f"Hugging Face repository {repository.name}: at {snapshot.commit} has none of {wanted}",
            "Choose another --revision.",
        )
    if names[-1].endswith(".json"):
        index = downloads / names[-1]
        repository.download(files[-1], snapshot.commit, to=index)
        files += _found([path.name for path in listed_shards(index)], repository, snapshot)
    for file in files:
        if file.sha256 is None:
            repository.download(file, snapshot.commit, to=downloads / file.name)
    return files


def _found(names: list[str], repository: Repository, snapshot: Snapshot) -> list[HubFile]:
    missing = [name for name in names if name not in snapshot.files]
    if missing:
        raise WeightsError(
            f"Hugging Face repository {repository.name}: at {snapshot.commit} has no "
            f"{', '.join(missing)}",
            "Choose another --revision.",
        )
    return [snapshot.files[name] for name in names]


def _sha256(file: HubFile, downloads: Path) -> str:
    return file.sha256 or sha256_of(downloads / file.name)


def _by_hand(name: str, store: Path) -> str:
    model, repository = PUBLISHED[name]
    small = ", ".join([CONFIG, *FAMILIES[model].companion_files])
    return (
        f"Copy {small} and model.safetensors (where there is none pytorch_model.bin; of shards all "
        f"and their .index.json) of {repository} into a directory {name}, then run "
        f"`virembed weights convert {name} --store {store}`."
    )
