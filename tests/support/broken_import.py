"""A connector whose library is not installed."""

import no_such_library  # type: ignore[import-not-found]  # noqa: F401

from farm.connector import Connector


class BrokenImport(Connector):  # type: ignore[type-arg]
    name = "broken_import"
