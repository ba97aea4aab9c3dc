"""The examples in core's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import farm.core

MODULES = [f"farm.core.{module.name}" for module in pkgutil.iter_modules(farm.core.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
