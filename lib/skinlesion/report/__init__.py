"""What people read of a run: a page for each notebook and an index page, which load nothing from the network."""

from skinlesion.report.index import write_index
from skinlesion.report.page import SIZE_LIMIT, SYNTHETIC, notice, render_notebook

__all__ = ["SIZE_LIMIT", "SYNTHETIC", "notice", "render_notebook", "write_index"]
