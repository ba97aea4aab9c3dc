"""Cells: worker processes that may hang, crash, leak, fork or lie without harming anybody else."""
