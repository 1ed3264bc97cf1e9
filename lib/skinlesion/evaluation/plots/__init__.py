"""Figures in one style: every function returns the figure and its text alternative.

``plots.show(*plots.confusion_matrix(…), save=run.figures / "confusion_matrix.png")``
"""

from skinlesion.evaluation.plots.acting import *
from skinlesion.evaluation.plots.data import *
from skinlesion.evaluation.plots.scores import *
from skinlesion.evaluation.plots.style import *
from skinlesion.evaluation.plots.trust import *
