"""A run's folder: the names of its files, in one place, and how a notebook opens it."""

from __future__ import annotations

from pathlib import Path

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.writing import write_json


class Run:
    """Names the files of one run. ``Run("reports/demo")``; the folder is made when the first file is written."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser().resolve()
        self.config_file = self.folder / "config.json"
        self.table_file = self.folder / "table.csv"
        self.table_info = self.folder / "table.json"
        self.data_check = self.folder / "data_check.csv"
        self.twins = self.folder / "twins.csv"
        self.split = self.folder / "split.csv"
        self.pixels = self.folder / "pixels.json"
        self.checkpoints = self.folder / "checkpoints"
        self.training = self.folder / "training.json"
        self.outputs = self.folder / "outputs.npz"
        self.features = self.folder / "features.npz"
        self.history = self.folder / "history.csv"
        self.predictions = self.folder / "predictions.csv"
        self.metrics = self.folder / "metrics.json"
        self.decision = self.folder / "decision.json"
        self.candidate = self.folder / "candidate"
        self.evaluation = self.folder / "evaluation.json"
        self.model = self.folder / "model"
        self.figures = self.folder / "figures"
        self.summary = self.folder / "run.json"

    def need(self, path: Path, maker: str) -> Path:
        """``path`` if it exists, else a DataError that names the step which makes it."""
        if not path.exists():
            raise DataError(f"{path} is not there yet; run {maker} for this run first")
        return path


def open_run(namespace: dict) -> tuple[Run, Config]:
    """The run and the configuration of a notebook: ``files, config = open_run(globals())``.

    The ``parameters`` cell declares ``run``, the run's folder, and parameters (``epochs: int = 8``). What it declares
    overrides the run's ``config.json`` and is written back to it; there is no list of names that could miss one. Raises
    ConfigError where ``run`` is missing, or a declared name is no parameter, or a value has another type or is out of
    range.
    """
    declared = namespace.get("__annotations__")
    if declared is None and "__annotate__" in namespace:  # Python 3.14 evaluates annotations on request
        declared = namespace["__annotate__"](1)
    if not declared or "run" not in declared:
        raise ConfigError('the parameters cell must declare run: str = "…", the run\'s folder; run that cell first')
    run = Run(namespace["run"])
    stored = Config.from_file(run.config_file) if run.config_file.exists() else Config()
    config = stored.but(**{name: namespace[name] for name in declared if name != "run"})
    write_json(run.config_file, config.to_dict())
    return run, config
