"""Checkpoints that a crash cannot break: safetensors and JSON only, written to a temporary file and moved into place.

A checkpoint holds CRC-32 checksums of its tensors and of its state. Where they do not match, the file was cut or
altered, and the checkpoint before it is used.
"""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skinlesion.core.errors import ModelError
from skinlesion.core.writing import write_bytes, write_errors

STORED = 2  # the newest, and the one before in case the newest is damaged


def remove_partial(folder: Path, *files: Path) -> None:
    """Remove what a killed training left half written in a folder of checkpoints, and of the ``files`` elsewhere.

    Raises SkinLesionError where the folder cannot be written to.
    """
    for place, name in [(folder, "*"), *((file.parent, file.name) for file in files)]:
        for left in place.glob(f".{name}.*.partial"):
            with write_errors(place, "make it writable, or choose another folder"):
                left.unlink()


def _crc(tensors: dict[str, torch.Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].numpy().reshape(-1).view("uint8").data, zlib.crc32(name.encode(), value))
    return value


def write(path: Path, tensors: dict[str, torch.Tensor], state: dict) -> None:
    """Write tensors and a JSON state into one file, whole or not at all. Raises SkinLesionError on a full disk."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    facts = {"state": text, "state_crc32": str(zlib.crc32(text.encode())), "crc32": str(_crc(tensors))}
    data = save(tensors, metadata=facts)
    write_bytes(path, data)


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what :func:`write` wrote. Raises ModelError if the file is missing, cut short or altered."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            facts = file.metadata() or {}
        state, crc = json.loads(facts["state"]), zlib.crc32(facts["state"].encode())
        whole = int(facts["crc32"]) == _crc(tensors) and int(facts["state_crc32"]) == crc
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"the checkpoint {path} cannot be read ({error}); delete it and run 03_training again"
        ) from None
    if not whole:
        raise ModelError(f"the checkpoint {path} has been altered or damaged; delete it and run 03_training again")
    return tensors, state


def step_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of a global step lies."""
    return folder / f"step-{step:08d}.safetensors"


def _steps(folder: Path) -> list[Path]:
    """Checkpoints of steps, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def save_step(folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict) -> None:
    """Write the checkpoint of a global step and drop those that are no longer needed."""
    write(step_file(folder, step), tensors, state)
    for old in _steps(folder)[STORED:]:
        old.unlink(missing_ok=True)


def newest(folder: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """The newest undamaged checkpoint, or None; damaged ones are skipped with a warning."""
    paths = _steps(folder)
    for path in paths:
        try:
            return read(path)
        except ModelError as error:
            then = "the one before it is used" if path is not paths[-1] else "training starts from the beginning"
            warnings.warn(f"{error}; {then}", stacklevel=2)
    return None


def drop_after(folder: Path, step: int) -> None:
    """Delete the checkpoints after a step: a training that goes on from there writes them again."""
    for path in _steps(folder):
        if path > step_file(folder, step):
            path.unlink()


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by name; its hyper-parameters come from the configuration."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give the optimizer what :func:`flatten_optimizer` took. Raises ValueError where it is of other parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            if int(i) >= len(parameters) or (tensor.ndim and tensor.shape != parameters[int(i)].shape):
                raise ValueError(f"{name} fits no parameter")
            state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
