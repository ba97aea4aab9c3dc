"""The folder that a source is: is it there, and is it still the same one?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from farm.connector import SourceUnavailable


def look_into(folder: Path, cursor: Any = None) -> list[int]:
    """The folder's identity. Raises SourceUnavailable, in one sentence, where it cannot be listed.

    A folder that held documents and is now empty and another one than before is a disk that is not mounted,
    not a person who deleted everything.
    """
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
        status = folder.stat()
    except FileNotFoundError as error:
        raise SourceUnavailable(f"there is no folder {folder}") from error
    except NotADirectoryError as error:
        raise SourceUnavailable(f"{folder} is a file, not a folder") from error
    except PermissionError as error:
        raise SourceUnavailable(f"the folder {folder} may not be read by this user") from error
    except OSError as error:
        raise SourceUnavailable(f"the folder {folder} cannot be read: {error.strerror}") from error
    identity = [status.st_dev, status.st_ino]
    if empty and isinstance(cursor, dict) and cursor.get("documents") and cursor.get("folder") != identity:
        raise SourceUnavailable(f"{folder} is empty and not the folder it was: is its disk mounted?")
    return identity
