"""Data sets on the Hugging Face Hub."""

import re
from pathlib import Path

from focusvla.errors import DataError
from focusvla.storage import explained_storage_errors

_NAME = re.compile(
    r"(?P<repository>[a-z0-9][\w.-]*/[a-z0-9][\w.-]*)(?:/(?P<folder>[^@]+))?(?:@(?P<revision>[\w./-]+))?",
    re.ASCII | re.IGNORECASE,
)


def is_hub_name(location: str) -> bool:
    """Whether a text can name a data set on the Hub: `ORGANIZATION/NAME`, or a part of one, see `download`."""
    return _NAME.fullmatch(location) is not None and ".." not in re.split("[/@]", location)


def download(name: str, *, cache: Path | None = None, endpoint: str | None = None) -> Path:
    """Bring a data set here, unless it is in the Hub's cache already, and return its folder or file.

        lerobot/libero                          the newest revision
        lerobot/libero@v3.0                     a branch, a tag or a commit
        openvla/modified_libero_rlds/libero_goal_no_noops/1.0.0      a folder or a file of it, and nothing else

    Without a network, what was downloaded before is found in the cache. `cache` and `endpoint` are the Hub's
    own (`HF_HOME`, `HF_ENDPOINT`) unless given.

    Raises:
        DataError: there is none of that name, it is not public, or neither the Hub nor the cache has it.
        StorageError: the cache cannot be written.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The Hub's client downloads with one library or another, depending on its version, and lets its errors through.
    network_errors: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    found = _NAME.fullmatch(name)
    if found is None or not is_hub_name(name):
        raise DataError(f"{name}: expected ORGANIZATION/NAME of a data set on the Hub. Check the spelling.")
    folder = (found["folder"] or "").strip("/")
    try:
        with explained_storage_errors(Path(cache or constants.HF_HUB_CACHE)):
            root = snapshot_download(
                found["repository"],
                repo_type="dataset",
                revision=found["revision"],
                allow_patterns=[folder, f"{folder}/*"] if folder else None,
                cache_dir=cache,
                endpoint=endpoint,
            )
    except RevisionNotFoundError as error:
        raise DataError(
            f"{name}: expected a revision of the Hub's data set {found['repository']}, got none named "
            f"{found['revision']}. Name a branch, a tag or a commit."
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{name}: expected a local path or a data set on the Hub, got neither. Check the spelling; if it is "
            "not public, log in with: hf auth login"
        ) from error
    except (*network_errors, HFValidationError, OSError) as error:
        raise DataError(
            f"{name}: expected a local path or a data set on the Hub, got no such path, and the Hub cannot be "
            f"reached ({_first_line(error)}). Download it where there is a network, and give its folder."
        ) from error
    path = Path(root) / folder
    if not path.exists():
        raise DataError(
            f"{name}: expected {folder} in the Hub's data set {found['repository']}, got no such folder or file. "
            "Check the spelling on its page."
        )
    return path


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
