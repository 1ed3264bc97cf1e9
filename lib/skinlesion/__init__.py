"""Skin Lesion Lab: classify skin lesions in dermatoscopic images, from data check to exported model.

Importing this package imports nothing heavy; ``skinlesion.data``, ``skinlesion.training``, ``skinlesion.evaluation``
and ``skinlesion.serving`` each bring what they need.
"""

__version__ = "0.1.0"
