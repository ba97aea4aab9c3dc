"""The page: a record as one HTML file that needs nothing else, to be looked at.

series (what happened in each step of time) → plots (what is drawn of it) → html (the page). All from the record.
uPlot, which draws in the browser, stands beside it in `assets`, with its licence.
"""

from loadtest.page.html import page

__all__ = ["page"]
