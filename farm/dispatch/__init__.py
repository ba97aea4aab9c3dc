"""The farm's main loop and the only writer of the ledger: `dispatcher` is the loop, the rest are its parts.

inbox      what other threads ask for, and their answers
settling   what came back from the cells and the lander, on its way into the ledger
listings   listings whose units become jobs, step by step
placing    what runs next, within the budget
flights    the launches under way
pressure   the full disk
"""
