"""Figures with one look: every function returns the figure and a text that says what it shows.

``plots.show(*plots.confusion_matrix(…), save=run.figures / "confusion_matrix.png")``
"""

from skinlesion.evaluation.plots.data import (
    balancing,
    class_counts,
    color_scatter,
    color_swatches,
    histograms,
    image_grid,
    stacked_bars,
)
from skinlesion.evaluation.plots.scores import (
    confusion_matrix,
    forest,
    metric_forest,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
)
from skinlesion.evaluation.plots.style import new_figure, png, show, styled, write
from skinlesion.evaluation.plots.training import training_curves

__all__ = [
    "balancing",
    "class_counts",
    "color_scatter",
    "color_swatches",
    "confusion_matrix",
    "forest",
    "histograms",
    "image_grid",
    "metric_forest",
    "new_figure",
    "png",
    "precision_recall_curves",
    "reliability_diagram",
    "roc_curves",
    "show",
    "stacked_bars",
    "styled",
    "training_curves",
    "write",
]
