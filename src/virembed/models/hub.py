"""Files of a repository on Hugging Face: what there is, and downloads that go on where they were.

Knows no model and no directory of ours. huggingface_hub (extra `hub`) speaks to the server. Its own
downloads start at zero when the process was killed, which costs hours with a file of 10 GB, so that
here a partial file has a fixed name and is continued.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from virembed.atomic import PARTIAL, fsync
from virembed.checksum import sha256_of
from virembed.errors import WeightsError

ANSWER_S = 20.0  # a firewall that swallows packets is noticed after this long
AGAIN = "Repeat the command; what has arrived is kept."


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the server describes it.

    sha256:    of a large file (Git LFS), None for a small one
    git_sha1:  of a small file: git's own checksum, with its header
    """

    name: str
    size_bytes: int
    sha256: str | None
    git_sha1: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit, by name."""

    commit: str
    files: dict[str, HubFile]


class Repository:
    """A model repository.

    Every method raises WeightsError, with `by_hand` as the remedy where the server cannot be
    reached or refuses.
    """

    def __init__(self, name: str, *, by_hand: str) -> None:
        """name: such as "facebook/esm2_t6_8M_UR50D"."""
        self.name = name
        self._by_hand = by_hand
        self._api = HfApi()
        # it announces each retry over several lines
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    def snapshot(self, revision: str) -> Snapshot:
        """What there is at a branch, tag or commit."""
        with self._answer(revision):
            info = self._api.model_info(
                self.name, revision=revision, files_metadata=True, timeout=ANSWER_S
            )
        files = [
            HubFile(
                name=sibling.rfilename,
                size_bytes=sibling.size,
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_sha1=sibling.blob_id,
            )
            for sibling in info.siblings or []
            if sibling.size is not None and sibling.blob_id is not None
        ]
        # the commit becomes part of a path
        if not files or not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
            raise WeightsError(
                f"{self._where}: the answer names no commit or no files", self._by_hand
            )
        assert info.sha is not None
        return Snapshot(info.sha, {file.name: file for file in files})

    def download(self, file: HubFile, commit: str, *, to: Path) -> None:
        """Gets a file as `to`, unless it is there: it has that name only with the right checksum.

        Until then it is called `to`.partial, and is gone on with if there is one.
        """
        if to.exists():
            return
        partial = to.with_name(to.name + PARTIAL)
        with partial.open("ab") as output:
            if output.tell() > file.size_bytes:
                output.seek(0)
                output.truncate()
            with self._answer(commit):
                http_get(
                    hf_hub_url(self.name, file.name, revision=commit, endpoint=self._api.endpoint),
                    output,
                    resume_size=output.tell(),
                    expected_size=file.size_bytes,
                    displayed_filename=file.name,
                    # as it is stored: a compressed answer cannot be gone on with
                    headers={**build_hf_headers(), "Accept-Encoding": "identity"},
                )
        expected = file.sha256 or file.git_sha1
        found = sha256_of(partial) if file.sha256 else _git_sha1(partial)
        if found != expected:
            partial.unlink()
            raise WeightsError(
                f"{self._where}: {file.name} arrived damaged: its checksum is {found}, "
                f"it should be {expected}",
                "It was removed. Repeat the command; if that does not help, something between "
                "here and there changes files.",
            )
        fsync(partial)
        os.replace(partial, to)
        fsync(to.absolute().parent)

    @property
    def _where(self) -> str:
        return f"Hugging Face repository {self.name}"

    @contextmanager
    def _answer(self, revision: str) -> Iterator[None]:
        """Makes WeightsErrors of what the library and the network may raise."""
        try:
            yield
        except (RevisionNotFoundError, EntryNotFoundError):
            raise WeightsError(
                f"{self._where}: has no revision {revision!r}, or not the file in it",
                "Correct --revision; main is the newest.",
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                problem = f"{self._where}: refuses without a login that it knows (answer {status})"
                remedy = f"Set HF_TOKEN to a token of an account that may read it. {self._by_hand}"
                raise WeightsError(problem, remedy) from None
            raise WeightsError(f"{self._where}: answer {status}", self._by_hand) from None
        except httpx2.TransportError as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(
                f"{self._where}: cannot be reached, or the connection broke ({cause})",
                f"{AGAIN} Without a connection: {self._by_hand}",
            ) from None
        except OfflineModeIsEnabled:
            raise WeightsError(
                f"{self._where}: not asked, HF_HUB_OFFLINE is set", self._by_hand
            ) from None
        except (ValueError, TypeError, KeyError, httpx2.HTTPError):
            raise WeightsError(
                f"{self._where}: the answer is not one of Hugging Face (a proxy's page?)",
                self._by_hand,
            ) from None
        except OSError as error:
            if error.errno is not None:  # of this machine: no space, no permission
                raise
            raise WeightsError(f"{self._where}: the connection broke", AGAIN) from None


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
