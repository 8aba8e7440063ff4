"""Where a job's published version lies on this machine, and the command that loads it without this project.

A version of a service elsewhere is fetched over the REST API and unpacked. Knows folders and PEFT's file names only.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.client import ServiceClient
from app.cli.errors import CliError

Json = dict[str, Any]
_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Published:
    """A version as a PEFT folder on this machine."""

    version_id: str
    folder: Path
    command: str


def find_published(
    client: ServiceClient, user_id: str, job: Json, *, store: Path | None, out: Path
) -> Published | None:
    """The version a job published; None where the base won and there is none.

    Args:
        store: root of the adapter store if it is on this machine; else the version is unpacked under `out`.

    Raises:
        CliError: the service knows no such version any more, or what it gives is no PEFT folder.
    """
    version_id = job["version_id"]
    if version_id is None:
        return None
    folder = _in_store(client, user_id, version_id, store) or _unpacked(client, user_id, version_id, out)
    return Published(version_id, folder, load_command(folder))


def load_command(folder: Path) -> str:
    """A shell command that loads the version in `folder` with PEFT alone and says how much it loaded."""
    try:
        base = json.loads((folder / _CONFIG).read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise CliError(f"{folder} is no PEFT adapter ({_CONFIG} is missing or wrong). Was it changed?") from error
    code = (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM; "
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base)}); "
        f"model = PeftModel.from_pretrained(base, {json.dumps(str(folder))}); "
        'print(sum(p.numel() for name, p in model.named_parameters() if "lora_" in name), "LoRA parameters")'
    )
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def _in_store(client: ServiceClient, user_id: str, version_id: str, store: Path | None) -> Path | None:
    if store is None:
        return None
    path = next((v["path"] for v in client.versions(user_id) if v["id"] == version_id), None)
    folder = store / path if path else None
    return folder if folder is not None and (folder / _CONFIG).is_file() else None


def _unpacked(client: ServiceClient, user_id: str, version_id: str, out: Path) -> Path:
    folder = (out / version_id).resolve()
    unpack(client.export(user_id, version_id), folder)
    return folder


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of an exported zip into `folder`.

    Raises:
        CliError: it is no zip, or holds a path instead of a plain file name.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise CliError("The service's export is no zip file. See its logs.") from error
    with archive:
        for name in archive.namelist():
            if Path(name).name != name:
                raise CliError(f"The service's export holds a file outside its folder ({name}).")
        folder.mkdir(parents=True, exist_ok=True)
        archive.extractall(folder)
