"""Published models: what of a repository is needed to run it, in the cache that all tools share.

repository   `owner/name` of a name that means a published model
find         the folder of a model in the cache; makes no request
pull         downloads a model into the cache
folder_of    find, or else pull

huggingface_hub downloads, resumes after a lost connection, and compares sizes; what it reads from
the environment holds here too: HF_HUB_OFFLINE, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN. Here
SHA-256 is compared as well, for files that are published with one, as weights are. A file is in
the cache whole or not at all, and the name of a revision leads to a model there only after its
last file has come. Code that a repository may hold is never downloaded.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from duologue.checkpoint.card import read_license
from duologue.checkpoint.families import model_config
from duologue.checkpoint.folder import ADVICE, CARD, CONFIG, is_published, read_json
from duologue.checkpoint.store import load_config
from duologue.config import ModelConfig
from duologue.errors import CheckpointError, InputError

SCHEME = "hf://"
_SMALL = (
    CONFIG,
    CARD,
    ADVICE,
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "target_vocab.json",
    "merges.txt",
    "*.spm",
    "*.model",
)
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_INDEXES = (_SAFETENSORS[1], _PICKLED[1])
_PART = r"\w(?:[\w.-]{0,94}\w)?"
_ID = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_REVISION = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"\w[\w.-]*\.(?:safetensors|bin)", re.ASCII)


def repository(name: str) -> str | None:
    """The `owner/name` of "owner/name" or "hf://owner/name"; None for what is not so formed.

    Raises InputError if hf:// is not followed by an owner and a name.
    """
    repo_id = name.removeprefix(SCHEME)
    is_id = _ID.fullmatch(repo_id) and not re.search(r"--|\.\.|\.git$", repo_id)
    if is_id:
        return repo_id
    if repo_id != name:
        raise InputError(f"{name!r} names no published model; write {SCHEME}owner/name")
    return None


def folder_of(repo_id: str) -> Path:
    """The folder of a published model, which is downloaded if it is not in the cache."""
    return find(repo_id) or pull(repo_id)


def find(repo_id: str, revision: str | None = None) -> Path | None:
    """The folder of a model in the cache, if all of it is there. Makes no request.

    Raises InputError for a malformed id or revision, CheckpointError for a cache that cannot be
    read.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    _check(repo_id, revision)
    with _explained(repo_id, revision):
        try:
            folder = _snapshot(repo_id, revision, _SMALL, local_files_only=True)
        except LocalEntryNotFoundError:
            return None
    return folder if _is_whole(folder) else None


def pull(repo_id: str, revision: str | None = None) -> Path:
    """Download what is needed of a published model, unless it is in the cache; its folder there.

    revision  branch, tag or commit; None is `main`

    Configurations come first, and weights only for a model that can be loaded. One line on stderr
    says what is downloaded, its size and its licence. Under HF_HUB_OFFLINE only the cache is looked
    at. Raises InputError for a malformed id or revision, CheckpointError if there is no such
    repository or revision, if a token is needed, if the hub cannot be reached, if it holds no model
    that can be loaded, if the disk is full, or if a file is damaged.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        folder = find(repo_id, revision)
        if folder is None:
            raise CheckpointError(
                f"{repo_id}: is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE "
                "forbids to download it; unset HF_HUB_OFFLINE, or name a local model folder"
            )
        return folder
    _check(repo_id, revision)
    with _explained(repo_id, revision):
        commit = _look_up(repo_id, revision)
        folder = _snapshot(repo_id, commit.sha, (CONFIG, ADVICE, CARD, *_INDEXES))
    license = _config(folder, repo_id).license or str(read_license(folder))
    patterns = (*_SMALL, *_weight_names(folder, commit, repo_id))
    names = [name for name in commit.sizes if any(fnmatchcase(name, each) for each in patterns)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        num_bytes = sum(commit.sizes[name] for name in missing)
        _require_room(folder, num_bytes, repo_id)
        line = f"downloading {repo_id}: {num_bytes / 1e6:,.1f} MB, licence {license}"
        print(f"duologue: {line}", file=sys.stderr)
        with _explained(repo_id, revision):
            _snapshot(repo_id, commit.sha, patterns, shows_progress=True)
    _check_hashes(folder, {name: commit.hashes[name] for name in names if name in commit.hashes})
    with _explained(repo_id, revision):
        _snapshot(repo_id, revision, patterns)  # now the cache may know where the revision is
    return folder


# --- what a repository holds -------------------------------------------------------------------


@dataclass(frozen=True)
class _Commit:
    """One commit of a repository. Files in its folders are left out.

    sizes   name -> bytes
    hashes  name -> SHA-256 in hex, of the files that have one
    """

    sha: str
    sizes: dict[str, int]
    hashes: dict[str, str]


def _look_up(repo_id: str, revision: str | None) -> _Commit:
    from huggingface_hub import HfApi

    found = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    if not found.sha or not _SHA.fullmatch(found.sha):
        raise ValueError("no commit")
    files = [file for file in found.siblings or [] if "/" not in file.rfilename]
    return _Commit(
        found.sha,
        sizes={file.rfilename: file.size or 0 for file in files},
        hashes={file.rfilename: file.lfs.sha256 for file in files if file.lfs},
    )


def _snapshot(
    repo_id: str,
    revision: str | None,
    patterns: Sequence[str],
    *,
    local_files_only: bool = False,
    shows_progress: bool = False,
) -> Path:
    """Download the files that match and are not in the cache; the folder of the commit."""
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repo_id,
        revision=revision,
        allow_patterns=list(patterns),
        ignore_patterns="*/*",  # all that is needed lies at the top
        local_files_only=local_files_only,
        tqdm_class=_progress_bar(shows_progress),
    )
    return Path(folder)


def _check_hashes(folder: Path, hashes: dict[str, str]) -> None:
    """Remove a file that is not what was published, and raise CheckpointError."""
    for name, expected in hashes.items():
        path = folder / name
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            path.resolve().unlink()  # the folder holds links to the files
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path}: not what was published (wrong SHA-256) and removed; pull it again"
            )


def _check(repo_id: str, revision: str | None) -> None:
    if repo_id.startswith(SCHEME) or repository(repo_id) is None:
        raise InputError(f"{repo_id!r} names no published model; write owner/name")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise InputError(f"{revision!r} is no revision; give a branch, a tag or a commit")


def _config(folder: Path, repo_id: str) -> ModelConfig:
    """The configuration; CheckpointError if it is missing or of no model that can be loaded."""
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{repo_id}: holds no model ({CONFIG} is missing)")
    values = read_json(folder / CONFIG)
    if is_published(values):
        advice = read_json(folder / ADVICE) if (folder / ADVICE).is_file() else {}
        return model_config(values, advice, repo_id)[0]
    if "d_model" in values:
        return load_config(folder)
    raise CheckpointError(f"{repo_id}: {CONFIG} does not say what kind of model it is")


def _readable() -> tuple[str, ...]:
    """Names that weights can have, the best first; pickled ones need PyTorch to be read."""
    has_torch = importlib.util.find_spec("torch") is not None
    return (*_SAFETENSORS, *_PICKLED) if has_torch else _SAFETENSORS


def _weight_names(folder: Path, commit: _Commit, repo_id: str) -> list[str]:
    """The files that hold the weights, and the index that lists them, if there is one."""
    entry = next((name for name in _readable() if name in commit.sizes), None)
    if entry is None:
        has_pickled = any(name in commit.sizes for name in _PICKLED)
        raise CheckpointError(
            f"{repo_id}: has its weights as {_PICKLED[0]} only, which needs PyTorch to be "
            'read; install the extra "train" (pip install "duologue[train]")'
            if has_pickled
            else f"{repo_id}: holds no weights that can be read ({_SAFETENSORS[0]})"
        )
    names = [entry, *_shards(folder / entry)]
    absent = [name for name in names if name not in commit.sizes]
    if absent:
        raise CheckpointError(f"{repo_id}: {entry} lists {absent[0]}, which is missing")
    return names


def _shards(entry: Path) -> list[str]:
    """The files that an index lists; none for what is no index."""
    if entry.suffix != ".json":
        return []
    weights = read_json(entry).get("weight_map")
    names = list(weights.values()) if isinstance(weights, dict) else []
    if not names or not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in names):
        raise CheckpointError(f"{entry}: damaged (weight_map)")
    return sorted(set(names))


def _is_whole(folder: Path) -> bool:
    """Whether config.json and all weights are there; every file that is there is whole."""
    entry = next((name for name in _readable() if (folder / name).is_file()), None)
    if entry is None or not (folder / CONFIG).is_file():
        return False
    return all((folder / name).is_file() for name in _shards(folder / entry))


# --- what users see ----------------------------------------------------------------------------


def _require_room(folder: Path, num_bytes: int, repo_id: str) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise CheckpointError(
            f"{repo_id}: needs {num_bytes:,} bytes, and there is room for {free:,} at {folder}; "
            "make room, or set HF_HOME to a folder on a larger disk"
        )


def _progress_bar(is_shown: bool) -> Any:
    """A class of progress bars, which are shown at a terminal alone."""
    from huggingface_hub.utils.tqdm import tqdm

    is_hidden = not (is_shown and sys.stderr.isatty())

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options["disable"] = is_hidden or options.get("disable")
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    return Bar


@contextmanager
def _explained(repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn what huggingface_hub raises into a CheckpointError that says what to do.

    Its own messages are left out, also of its log: they span lines and may hold signed addresses.
    """
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:  # it lets out what its three ways to download raise
        raise CheckpointError(f"{repo_id}: {_explain(error, repo_id, revision)}") from error
    finally:
        log.setLevel(level)


def _explain(error: Exception, repo_id: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    match error:
        case errors.GatedRepoError():
            return (
                f"its publisher asks for consent; accept the terms at {hub}/{repo_id}, then set "
                "HF_TOKEN to a token of your account"
            )
        case errors.RepositoryNotFoundError():
            return (
                f"{hub} has no such repository, or it is private; check the spelling, or set "
                "HF_TOKEN to a token that may read it"
            )
        case errors.RevisionNotFoundError():
            return f"has no revision {revision!r}; leave it out for the newest"
        case errors.HfHubHTTPError():
            return _explain_status(error.response.status_code, hub)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return (
                f"the disk is full ({constants.HF_HUB_CACHE}); make room, or set HF_HOME to a "
                "folder on a larger disk"
            )
        case OSError(errno=int()) if not isinstance(error, ConnectionError | TimeoutError):
            where = error.filename or constants.HF_HUB_CACHE
            return f"{where}: {error.strerror}; HF_HOME says where models are kept"
        case OSError() if str(error).startswith("Consistency check failed"):
            return "a file came with another size than was announced; pull it again"
    cause = type(error.__cause__ or error).__name__
    return (
        f"{hub} cannot be reached or gave no answer that can be used ({cause}); "
        "check the network, the proxy and HF_ENDPOINT, and try again"
    )


def _explain_status(status: int, hub: str) -> str:
    if status in (401, 403):
        return f"{hub} refused access ({status}); check the spelling, and what HF_TOKEN may read"
    if status == 429:
        return f"{hub} had too many requests from here; wait a while, or set HF_TOKEN"
    return f"{hub} answered with status {status}; try again later"
