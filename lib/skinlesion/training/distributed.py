"""One process or many: the same training runs alone, or as one of the processes that torchrun starts.

    torchrun --nproc-per-node 2 -m skinlesion.cli -- train --data demo --run runs/two

(``--`` keeps torchrun from taking ``--run`` for one of its own options.)

Every process holds the whole network and takes its part of every global batch; what they find is summed before the
step is made, so the step is the one that a single process would have made on the whole batch. Processes talk through
gloo, and through NCCL where their tensors lie on GPUs, one GPU a process.

All gradients travel in one flat bucket. ``DistributedDataParallel`` would send its first half while the second is still
being computed, which pays for networks much larger than these (EfficientNet-Lite0: 13 MB); in return nothing wraps the
network, and the loop reads the same for one process and for many.

Two things differ from a single process. Batch normalisation normalises each part by itself (torch's synchronised one
needs GPUs), and the running statistics are the mean over the parts. Dropout draws other masks.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.core.writing import write_text

_PR_SET_PDEATHSIG = 1  # from Linux's prctl.h
#: Torchrun is there before its processes, unless it was killed while they were starting. torch tries twice as long, and
#: listens to no signal but SIGKILL meanwhile.
MEETING = timedelta(seconds=20)
PATIENCE = timedelta(hours=6)  # the others wait this long while the first one checks and decodes the images


@contextmanager
def _together():
    """Say what happened where a process waits for another that is gone."""
    try:
        yield
    except RuntimeError as error:
        raise SkinLesionError(
            "another process of this training has ended; its own message, or torchrun's report, says why. The same "
            "command continues from the last checkpoint"
        ) from error


@dataclass(frozen=True)
class World:
    """The processes that train together, and which of them this one is. Alone, every method returns at once."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def part(self, batch: np.ndarray) -> np.ndarray:
        """This process's part of a global batch, [N] -> [about N / size]; the parts of all make the whole.

        A part lies symmetrically about the batch's middle: mixing pairs a sample with its mirror image in the batch,
        and so the pairs are the same for any number of processes.
        """
        half = len(batch) // 2
        pairs = np.array_split(np.arange(half), self.size)[self.rank]
        middle = np.arange(half, len(batch) - half) if self.rank == self.size - 1 else pairs[:0]
        return batch[np.concatenate([pairs, middle, len(batch) - 1 - pairs[::-1]])]

    @_together()
    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes, float64, the same in each."""
        if self.size == 1:
            return values
        total = torch.from_numpy(np.array(values, dtype=np.float64))
        dist.all_reduce(total)
        return total.numpy()

    @_together()
    def broadcast(self, number: int) -> int:
        """The first process's number, in every process."""
        if self.size == 1:
            return number
        sent = torch.tensor([number])
        dist.broadcast(sent, 0)
        return int(sent)

    def wait(self) -> None:
        """Wait until every process is here."""
        self.sum(np.zeros(1))

    @_together()
    def share_weights(self, model: nn.Module) -> None:
        """Give every process the first one's weights, should another version have drawn them differently."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    @_together()
    @torch.no_grad()
    def average_gradients(self, model: nn.Module, share: float) -> None:
        """Replace gradients, and the running statistics of batch normalisation, by their mean over all processes.

        ``share`` is the weight of this process: its part of the batch over the whole.
        """
        if self.size == 1:
            return
        parts = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        for module in batch_norms(model):
            statistics = (module.running_mean, module.running_var) if module.track_running_stats else ()
            parts += [statistic for statistic in statistics if statistic is not None]
        bucket = torch.cat([part.reshape(-1) for part in parts]).mul_(share)
        dist.all_reduce(bucket)
        for part, mean in zip(parts, bucket.split([part.numel() for part in parts]), strict=True):
            part.copy_(mean.view_as(part))

    def need_shared(self, *folders: Path) -> None:
        """Raise DataError, in every process alike, unless all see what the first one writes into the folders."""
        for folder in folders if self.size > 1 else ():
            mark = folder / f".shared-{self.broadcast(secrets.randbits(62)):x}"
            if self.first:
                write_text(mark, "")
            self.wait()
            seen = int(self.sum(np.array([mark.exists()]))[0])
            if self.first:
                mark.unlink()
            if seen < self.size:
                raise DataError(
                    f"{self.size - seen} of {self.size} processes do not see {folder}, which the first one writes; put "
                    "the run's folder and the cache (SKINLESION_CACHE) on a disk that all machines share"
                )


ALONE = World()


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch normalisations that learn from what passes through them."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]


def world() -> World:
    """What torchrun says in the environment; a world of one where there is no torchrun."""
    if not dist.is_torchelastic_launched():
        return ALONE
    return World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


@contextmanager
def join() -> Iterator[World]:
    """Meet the other processes that torchrun started; each on its own GPU where there are GPUs.

    Raises ConfigError where a machine has fewer GPUs than processes.
    """
    here = world()
    if here.size == 1 or dist.is_initialized():
        yield here
        return
    if sys.platform == "linux":  # have the kernel end this process when torchrun is killed: nobody would watch it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if torch.cuda.is_available():
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise ConfigError(f"this machine has {count} GPUs; start torchrun with --nproc-per-node {count} or less")
        torch.cuda.set_device(local)
    with _together():
        store, rank, size = next(dist.rendezvous("env://", timeout=MEETING))
        store.set_timeout(PATIENCE)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    yield here
    dist.destroy_process_group()  # not after an error: that could wait for the others, who learn of it when we end
