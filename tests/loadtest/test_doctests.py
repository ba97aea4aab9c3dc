"""The examples in the modules' documentation."""

import doctest
import importlib

import pytest

MODULES = [
    f"loadtest.{name}"
    for name in ("compare", "figures", "floor", "incidents", "pacer", "show", "page.html", "page.series")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
