"""A worker farm for one workstation."""

__version__ = "0.1.0"
