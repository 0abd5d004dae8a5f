"""A name for users who have none; to be settled before torch is imported, so nothing here imports it."""

from __future__ import annotations

import getpass
import os

__all__ = ["name_the_user"]


def name_the_user() -> None:
    """Let LOGNAME say `uid12345` where neither the environment nor the system knows what the user is called.

    Containers are started so (`docker run --user 12345`), and torch ends with a KeyError when it is imported: it asks for the
    name to build the path of a cache. Processes that are started from here inherit the name.
    """
    if os.name != "posix":
        return  # elsewhere the environment always says it
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError: from Python 3.13 on
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
