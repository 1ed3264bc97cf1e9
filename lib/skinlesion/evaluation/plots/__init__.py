"""Figures in one style: every function returns the figure and its text alternative.

``plots.show(*plots.confusion_matrix(…), save=run.figures / "confusion_matrix.png")``
"""

from skinlesion.evaluation.plots.data import (
    ages,
    balancing,
    class_counts,
    color_scatter,
    color_swatches,
    frame_fitting,
    image_grid,
    skin_tone_histogram,
    stacked_bars,
)
from skinlesion.evaluation.plots.decisions import (
    decision_curve,
    differences,
    external_figure,
    leakage_figure,
    operating_points,
)
from skinlesion.evaluation.plots.robustness import (
    corruption_calibration,
    corruption_curves,
    coverage_curve,
    domain_detection,
    domain_scores,
    map_aim,
    movement_curves,
    subgroup_forest,
)
from skinlesion.evaluation.plots.scores import (
    class_reliability,
    confusion_matrix,
    forest,
    labelled_images,
    metric_forest,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
    training_curves,
)
from skinlesion.evaluation.plots.style import Chart, png, show, show_all, show_table, write
