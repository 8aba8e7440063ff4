"""stack.json: what a kept stack is, where it comes from, and the digests that everything is checked against.

A version's id is made of its content, so whoever holds the path can tell that nothing in the folder was changed. Must
not know tensors or where files are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from adapters_store.errors import AdapterCorruptError
from adapters_store.layout import WEIGHTS_FILE
from engine.configuration import Configuration

FORMAT = 1
_SOFTWARE = ("milp-serve", "torch", "transformers", "peft", "safetensors")


@dataclass(frozen=True)
class Provenance:
    """Where a stack comes from; kept beside it.

    Args:
        base_name: folder or Hugging Face name of the base.
        base_digest: SHA-256 of the base's weights, hex; a stack loads onto this base only.
        model_type: the base's architecture, as in its Hugging Face config.
        fan_in_fan_out: whether the base keeps its projections transposed (GPT-2's Conv1D).
        metrics: scores of the winner; plain JSON.
        sample_digests: digests of the samples it was trained on.
        seed: the seed that replays the search.
        options: the job's options; plain JSON.
    """

    base_name: str
    base_digest: str
    model_type: str
    fan_in_fan_out: bool
    metrics: Mapping[str, Any] = field(default_factory=dict)
    sample_digests: list[str] = field(default_factory=list)
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def content_digest(weights: bytes, configuration: Configuration, base_digest: str) -> str:
    """32 hex digits that name a stack: of its weights file, its configuration and the base it belongs to."""
    return _content_digest(sha256(weights), _describe(configuration), base_digest)


def version_record(
    files: Mapping[str, bytes], configuration: Configuration, provenance: Provenance, version_id: str
) -> bytes:
    """The stack.json of a version.

    Raises:
        ValueError: metrics or options hold what JSON has no word for (NaN, infinity, objects).
    """
    body = {
        "format": FORMAT,
        "id": version_id,
        "configuration": _describe(configuration),
        "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in sorted(files.items())},
        "base": {
            "name": provenance.base_name,
            "digest": provenance.base_digest,
            "model_type": provenance.model_type,
            "fan_in_fan_out": provenance.fan_in_fan_out,
        },
        "metrics": dict(provenance.metrics),
        "samples": list(provenance.sample_digests),
        "seed": provenance.seed,
        "options": dict(provenance.options),
        "software": _software(),
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return sealed(body)


def read_record(data: bytes) -> dict[str, Any]:
    """The content of a stack.json whose seal is whole.

    Raises:
        AdapterCorruptError: not JSON, not a record, a later format, or changed since it was written.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterCorruptError(f"stack.json is not JSON ({error}).") from error
    if not isinstance(body, dict) or not isinstance(seal := body.pop("seal", None), str):
        raise AdapterCorruptError("stack.json is no record of a stack.")
    if body.get("format") != FORMAT:
        raise AdapterCorruptError(
            f"stack.json has format {body.get('format')!r}, this software reads {FORMAT}. "
            "If a later version of the service wrote it, update this one."
        )
    if seal != sha256(_canonical(body)):
        raise AdapterCorruptError("stack.json was changed after it was written.")
    return body


def configuration_of(record: Mapping[str, Any]) -> Configuration:
    """The configuration in a record."""
    described = record["configuration"]
    return Configuration.from_bits(described["layers"], described["n"], described["r"])


def check_files(record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Compare files with the sizes and digests in the record.

    Raises:
        AdapterCorruptError: one of them is shorter, longer or other than it was.
    """
    for name, data in files.items():
        expected = record["files"][name]
        if len(data) != expected["bytes"]:
            raise AdapterCorruptError(f"{name} has {len(data)} bytes instead of {expected['bytes']}.")
        if sha256(data) != expected["sha256"]:
            raise AdapterCorruptError(f"{name} was changed: its SHA-256 is not the recorded one.")


def check_content(record: Mapping[str, Any], content: str) -> None:
    """Check that a record belongs to the folder it was found in, named by `content`.

    Raises:
        AdapterCorruptError: it is another stack's record.
    """
    base_digest = record.get("base", {}).get("digest", "")
    found = _content_digest(record["files"][WEIGHTS_FILE]["sha256"], record["configuration"], base_digest)
    if found != content:
        raise AdapterCorruptError("stack.json belongs to another stack: its content does not give this name.")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe(configuration: Configuration) -> dict[str, Any]:
    return {"layers": configuration.layer_bits, "n": configuration.n, "r": configuration.r}


def _content_digest(weights_digest: str, configuration: Mapping[str, Any], base_digest: str) -> str:
    named = {"base": base_digest, "configuration": configuration, "weights": weights_digest}
    return sha256(_canonical(named))[:32]


def sealed(body: dict[str, Any]) -> bytes:
    # The seal is taken over what a reader gets back, so that a tuple in the metrics does not break it.
    body = json.loads(_canonical(body))
    return (json.dumps(body | {"seal": sha256(_canonical(body))}, indent=2, sort_keys=True) + "\n").encode()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _software() -> dict[str, str]:
    found = {}
    for name in _SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that was not installed
            continue
    return found
