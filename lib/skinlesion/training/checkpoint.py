"""Checkpoints that a crash cannot break: safetensors and JSON only, written aside, synced, moved into place.

A checkpoint carries a CRC-32 of its tensors, so that a file which was cut or altered is recognised and the one before
it is used.
"""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skinlesion.errors import ModelError
from skinlesion.runs import atomic

KEPT = 2  # the newest, and the one before in case the newest is broken


def _crc(tensors: dict[str, torch.Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].numpy().reshape(-1).view("uint8"), zlib.crc32(name.encode(), value))
    return value


def write(path: Path, tensors: dict[str, torch.Tensor], state: dict) -> None:
    """Write tensors and a JSON state into one file, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(tensors, metadata={"state": json.dumps(state), "crc32": str(_crc(tensors))})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what :func:`write` wrote.

    Raises
    ------
    ModelError
        If the file is missing, cut short or altered.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            metadata = file.metadata() or {}
        state = json.loads(metadata["state"])
        whole = int(metadata["crc32"]) == _crc(tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"the checkpoint {path} cannot be read ({error}); delete it and run 03_training again"
        ) from None
    if not whole:
        raise ModelError(f"the checkpoint {path} has been altered or damaged; delete it and run 03_training again")
    return tensors, state


def save_step(folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict) -> None:
    """Write the checkpoint of a global step and drop those that are no longer needed."""
    write(folder / f"step-{step:08d}.safetensors", tensors, state)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink(missing_ok=True)


def newest(folder: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """The newest checkpoint that is whole, or None; a broken one is passed over with a warning."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            return read(path)
        except ModelError as error:
            warnings.warn(f"{error} Going on from the one before.", stacklevel=2)
    return None


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by name; its hyper-parameters come from the configuration."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
