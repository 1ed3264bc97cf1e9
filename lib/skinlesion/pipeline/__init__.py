"""The series: which notebook runs when, with which parameters, and what a run leaves."""

from skinlesion.pipeline.configure import PRESETS, need_data, resolve, run_folder, run_name
from skinlesion.pipeline.group import members, run_group
from skinlesion.pipeline.publish import need_place, publish
from skinlesion.pipeline.series import CELL_TIMEOUT, SERIES, Step, check_parameters, run_series
