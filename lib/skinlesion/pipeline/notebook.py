"""One notebook: what its ``parameters`` cell declares, and how it is executed.

Notebooks run with their own folder as the working directory, as they do when opened in JupyterLab.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.tables import counted
from skinlesion.report.page import read_notebook

STARTUP_SECONDS = 180  # for a kernel to come up on a cold, busy machine
HEARTBEAT_SECONDS = 60  # between lines about one long cell where the output is no terminal

#: Over the user's environment: figures go into the notebook whatever backend they set, and progress bars write rarely.
KERNEL_ENVIRONMENT = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TQDM_MININTERVAL": "1"}


def parameters(path: Path) -> dict[str, object]:
    """Names and values in a notebook's ``parameters`` cell, ``{"epochs": 8, …}``.

    The cell is read as Python: papermill's own inspection goes line by line with a pattern and drops every line whose
    comment holds an equals sign ("0 = all"). Raises ConfigError if there isn't exactly one such cell, it has a single
    line, or a line in it is anything but ``name: type = literal``.
    """
    cells = [cell for cell in read_notebook(path).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ConfigError(f"{path.name} must have one cell tagged 'parameters'; it has {len(cells)}")
    try:
        lines = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise ConfigError(
            f"the parameters cell of {path.name} is not Python ({error.msg}, line {error.lineno})"
        ) from None
    if len(cells[0].source.strip().splitlines()) == 1:
        raise ConfigError(
            f"begin the parameters cell of {path.name} with a comment line: IPython takes a cell of the one line "
            "'run: …' for its magic command %run"
        )
    found: dict[str, object] = {}
    for line in lines:
        try:
            match line:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    found[name] = ast.literal_eval(value)
                case _:
                    raise ValueError("no declaration")
        except (TypeError, ValueError):
            raise ConfigError(
                f"line {line.lineno} of the parameters cell of {path.name} must be written name: type = value"
            ) from None
    return found


def title(path: Path) -> tuple[str, str]:
    """The notebook's first heading and the paragraph below it, as words; the file's name where it has no heading."""
    for cell in read_notebook(path).cells:
        heading, _, rest = cell.source.strip().partition("\n")
        if cell.cell_type == "markdown" and heading.startswith("# "):
            paragraph = rest.strip().partition("\n\n")[0]
            return heading[2:].strip(), " ".join(paragraph.replace("*", "").replace("`", "").split())
    return path.stem, ""


def digest(path: Path) -> str:
    """SHA-256 over the code and prose of a notebook; outputs and editors' metadata don't count."""
    cells = [[cell.cell_type, cell.source, sorted(cell.metadata.get("tags", []))] for cell in read_notebook(path).cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def code(path: Path) -> str:
    """The code of a notebook's cells."""
    return "\n".join(cell.source for cell in read_notebook(path).cells if cell.cell_type == "code")


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: code cells run, and in ``error`` one line that says what went wrong where, or None."""

    cells: int
    seconds: float
    error: str | None = None


class Progress:
    """One notebook's progress: a line that renews itself on a terminal, one line a cell elsewhere.

    It is also the file that the notebook's stderr is copied to, so that the last state of a progress bar shows.
    """

    def __init__(self, name: str, total: int, stream):
        self.name, self.total, self.stream = name, total, stream
        self.cell = 0
        self._start = time.monotonic()
        self._note, self._last_line = "", self._start
        self._done = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._live = stream.isatty()

    def __enter__(self) -> Progress:
        self._ticker.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._ticker.join()
        if self._live:
            self.stream.write("\r\x1b[K")
        self.stream.flush()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def start_cell(self) -> None:
        self.cell, self._note = self.cell + 1, ""
        self._show()

    def write(self, text: str) -> int:
        states = [part.strip() for part in text.replace("\r", "\n").split("\n")]
        self._note = next((part for part in reversed(states) if part), self._note)
        return len(text)

    def flush(self) -> None:
        """Part of being a file; :meth:`_tick` shows what was written."""

    def _show(self) -> None:
        self._last_line = time.monotonic()
        line = f"{self.name}  cell {self.cell}/{self.total}  {clock(self.seconds)}  {self._note}".rstrip()
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{line[:width]}")
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def _tick(self) -> None:
        while not self._done.wait(1.0):
            if self._live or time.monotonic() - self._last_line >= HEARTBEAT_SECONDS:
                self._show()


def clock(seconds: float) -> str:
    """Seconds as people read them: ``0:07``, ``2:31``, ``1:02:31``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def execute(source: Path, target: Path, values: dict, *, cell_timeout: int, stream) -> Outcome:
    """Run ``source`` with parameters in a fresh kernel of this very interpreter and leave the result at ``target``.

    The result is written beside ``target`` while cells run and moved there at the end, whichever end it is: after an
    error, a time-out, a dead kernel or Ctrl-C it holds the cells so far, the last with an error output. Raises
    KeyboardInterrupt after the kernel is shut down and ``target`` is written, SkinLesionError if it cannot be written.
    ``values``: parameters, checked by the caller; ``cell_timeout``: seconds that one cell may take; ``stream``: text
    file for progress.
    """
    partial = target.parent.resolve() / f".{target.stem}.partial.ipynb"  # papermill wants that ending
    partial.parent.mkdir(parents=True, exist_ok=True)
    total = 1 + sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in read_notebook(source).cells)
    try:
        with Progress(source.stem, total, stream) as progress:
            error, interrupt = _run(source.resolve(), partial, values, cell_timeout, progress)
        partial.replace(target)
    except OSError as failure:
        raise SkinLesionError(
            f"{target} cannot be written ({failure}); free some space or choose another folder"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    if interrupt:
        raise interrupt
    error = error and f"cell {progress.cell}: {error.splitlines()[0]}"
    return Outcome(progress.cell, round(progress.seconds, 1), error)


def _run(source: Path, partial: Path, values: dict, cell_timeout: int, progress: Progress):
    """papermill's part; returns (what went wrong or None, the KeyboardInterrupt that ended it or None)."""
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # errors come back as exceptions, once
    try:
        papermill.execute_notebook(
            str(source),
            str(partial),
            values,
            kernel_name="python3",
            language="python",
            cwd=str(source.parent),
            progress_bar=False,
            start_timeout=STARTUP_SECONDS,
            stderr_file=progress,
            # the rest goes to nbclient
            execution_timeout=cell_timeout,
            iopub_timeout=60,
            kernel_manager_class=_kernel_manager(),
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            on_cell_execute=lambda cell, cell_index: progress.start_cell(),
        )
    except PapermillExecutionError as failure:
        return f"{failure.ename}: {failure.evalue}".rstrip(": "), None
    except (CellTimeoutError, RuntimeError, KeyboardInterrupt) as failure:  # RuntimeError: the kernel's end
        error = _explain(failure, cell_timeout)
        _add_error(partial, source, progress.cell, failure, error)
        return error, failure if isinstance(failure, KeyboardInterrupt) else None
    return None, None


def _kernel_manager():
    """A kernel manager that starts this interpreter, even where the user has another ``python3`` kernel installed."""
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec
    from traitlets import default

    class OwnKernelManager(AsyncKernelManager):
        @default("transport_encryption")
        def _encrypt(self):  # other users of this machine must not read along
            return "auto" if zmq.has("curve") else "disabled"

        @property
        def kernel_spec(self):
            return KernelSpec(**get_kernel_dict(), env=KERNEL_ENVIRONMENT)

    return OwnKernelManager


def _explain(failure: BaseException, cell_timeout: int) -> str:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if isinstance(failure, KeyboardInterrupt):
        return "interrupted"
    if isinstance(failure, CellTimeoutError):
        return f"the cell was stopped after {counted(cell_timeout, 'second')}; --cell-timeout allows more"
    if isinstance(failure, DeadKernelError):
        return "the kernel died, most often because memory ran out; use a smaller batch_size, image_size or max_images"
    return f"{type(failure).__name__}: {failure}"


def _add_error(partial: Path, source: Path, cell: int, failure: BaseException, message: str) -> None:
    """Write what stopped the notebook into its last started code cell, where readers look for it."""
    import nbformat

    executed = read_notebook(partial if partial.exists() and partial.stat().st_size else source)
    code = [c for c in executed.cells if c.cell_type == "code" and c.source.strip()]
    if code:
        code[max(cell - 1, 0)].setdefault("outputs", []).append(
            nbformat.v4.new_output("error", ename=type(failure).__name__, evalue=message, traceback=[message])
        )
    nbformat.write(executed, partial)
