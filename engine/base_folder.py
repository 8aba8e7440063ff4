"""Where a base's files lie, and what is in them.

Must not import torch: whoever only asks whether there is a base need not wait for it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from engine.errors import BaseModelError


def base_folder(name: str) -> Path:
    """The folder of a base named by a folder, or by a Hugging Face name: fetched if it is not here yet.

    Raises:
        BaseModelError: there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(
                f"the folder {name!r} is no base model: it has no config.json. Set MILP_BASE_MODEL to a folder "
                "written by save_pretrained, or to a Hugging Face name."
            )
        return folder
    if folder.is_absolute() or name.startswith(("./", "../", "~")):
        raise BaseModelError(f"there is no folder {name!r}: set MILP_BASE_MODEL to a folder that exists.")
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds; all of them mean the same to the caller
        raise BaseModelError(
            f"{name!r} is neither a local folder nor a Hugging Face model that can be fetched from here."
        ) from error


def folder_digest(folder: Path) -> str:
    """SHA-256 over config.json and every weight file, names included."""
    digest = hashlib.sha256()
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    for file in files:
        digest.update(f"{file.name}\0{os.path.getsize(file)}\0".encode())
        with file.open("rb") as content:
            for block in iter(lambda: content.read(1 << 22), b""):
                digest.update(block)
    return digest.hexdigest()
