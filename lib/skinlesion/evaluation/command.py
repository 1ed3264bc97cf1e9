"""``skinlesion evaluate``: any model's predictions in, ``metrics.json`` and figures out."""

from __future__ import annotations

from pathlib import Path

from skinlesion.evaluation import plots
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import NAMES, OVERALL
from skinlesion.evaluation.metrics import evaluate as evaluate_predictions
from skinlesion.evaluation.predictions import Predictions, read
from skinlesion.runs import Run, write_json

_COLUMNS = ("sensitivity", "specificity", "ppv", "auroc")


def evaluate(predictions: str | Path, labels: str | Path | None, output: str | Path, replicates: int = 2000) -> int:
    """Evaluate a ``predictions.csv`` (its test split where it names splits), write the results, print a summary.

    Parameters
    ----------
    predictions, labels : see :func:`skinlesion.evaluation.predictions.read`
    output : folder for ``metrics.json`` and ``figures/``

    Returns
    -------
    int, the exit status

    Raises
    ------
    DataError
        If the files break the contract, or there are splits but no test split.
    """
    everything = read(predictions, labels)
    names_splits = bool((everything.split != "").any())
    chosen = everything.of("test") if names_splits else everything
    left_out = len(everything) - len(chosen)
    print(
        f"Evaluating {len(chosen):,} images{' of the test split' if names_splits else ''}"
        + (f"; {left_out:,} of other splits left out" if left_out else "")
    )
    metrics = evaluate_predictions(chosen, replicates)
    run = Run(output)
    figures = {
        "confusion_matrix": plots.confusion_matrix(chosen),
        "roc_curves": plots.roc_curves(chosen, metrics),
        "precision_recall_curves": plots.precision_recall_curves(chosen, metrics),
        "reliability": plots.reliability_diagram(
            {"As predicted": chosen.probabilities}, chosen.y, {"As predicted": metrics["ece"]}
        ),
        "by_class": plots.metric_forest(metrics, chosen.labels),
    }
    for name, (figure, alt) in figures.items():
        plots.write(figure, alt, run.figures / f"{name}.png")
    write_json(run.metrics, metrics)
    print(summary(chosen, metrics))
    print(f"Wrote {run.metrics} and {len(figures)} figures in {run.figures}")
    return 0


def summary(predictions: Predictions, metrics: dict) -> str:
    """The metrics as a table in plain text."""
    lines = [
        f"{metrics['n_images']:,} images, {metrics['n_lesions']:,} lesions; in brackets: {metrics['interval']}",
        "",
    ]
    lines += [f"{NAMES[name]:<24}{describe(metrics[name])}" for name in OVERALL]
    lines += ["", f"{'class':<8}{'images':>7}  " + "".join(f"{NAMES[name]:<24}" for name in _COLUMNS).rstrip()]
    for code in predictions.labels.codes:
        by_class = metrics["per_class"][code]
        cells = "".join(f"{describe(by_class[name]):<24}" for name in _COLUMNS).rstrip()
        lines.append(f"{code:<8}{by_class['sensitivity']['n']:>7,}  {cells}")
    return "\n".join(lines) + "\n"
