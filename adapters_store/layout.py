"""Where things lie in the store: every path is built here, from digests and checked ids only.

    <tenant>/<user digest>/<version id>/             a published version: PEFT's two files and stack.json

A user id is never part of a path, only its digest. Knows no files and no tensors.
"""

from __future__ import annotations

import hashlib
import json
import re

from adapters_store.errors import AdapterNotFoundError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
RECORD_FILE = "stack.json"
"""The record seals a folder: it is written last and removed first, and a folder without it is no adapter."""

# Lower case only, so that two tenants stay apart on file systems that fold case; digests start with "t_".
_SAFE_TENANT = re.compile(r"(?!t_)[a-z0-9][a-z0-9_-]{0,63}")
_USER_FOLDER = r"[a-z0-9][a-z0-9_-]{0,63}/[0-9a-f]{32}"
_VERSION_PATH = re.compile(rf"{_USER_FOLDER}/v_[0-9a-f]{{32}}")


def user_digest(tenant: str, user_id: str) -> str:
    """What stands for a user in paths: 32 hex digits of SHA-256 over tenant and user id."""
    return _digest(tenant, user_id)


def user_folder(tenant: str, user_id: str) -> str:
    """The folder that holds everything kept of one user."""
    return f"{_tenant_folder(tenant)}/{user_digest(tenant, user_id)}"


def version_path(tenant: str, user_id: str, version_id: str) -> str:
    """The folder of a version. The id is one that `record.version_id` made."""
    return checked_version_path(f"{user_folder(tenant, user_id)}/{version_id}")


def checked_version_path(path: str) -> str:
    """`path`, if a version can lie there.

    Raises:
        AdapterNotFoundError: it is not `<tenant>/<user digest>/<version id>`.
    """
    if not _VERSION_PATH.fullmatch(path):
        raise AdapterNotFoundError(
            f"{path!r} is no path of a version in the adapter store. Use the one it was saved as."
        )
    return path


def _tenant_folder(tenant: str) -> str:
    return tenant if _SAFE_TENANT.fullmatch(tenant) else f"t_{_digest(tenant)}"


def _digest(*parts: str) -> str:
    # JSON keeps ("a", "bc") and ("ab", "c") apart, and encodes any string there is.
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
