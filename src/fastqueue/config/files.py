"""Own reading settings from `fastqueue.toml`, or `[tool.fastqueue]` of `pyproject.toml`.

Used by the settings. Only the current directory is looked into, and a file that isn't there or
doesn't mention fastqueue costs no more than trying to open it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastqueue.config.regular_file import read_regular_file
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FileSettings", "read_file_settings"]

# A `pyproject.toml` has the settings of many tools; nobody's is as large as this.
_BYTES_MAX = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Hold what one process's settings are in a file, and which file that is.

    Attributes:
        path: the file, for messages; empty if there is none.
        values: by the setting's name in lower case with underscores.
    """

    path: str
    values: Mapping[str, Any]


def read_file_settings(process: str, known: Mapping[str, frozenset[str]]) -> FileSettings:
    """Read the settings of one process: its own table first, then the top level.

    Args:
        process: whose table to read, a key of `known`.
        known: the names of the settings that each process has.

    Raises:
        ConfigurationError: a file can't be read, is not TOML, or has a setting nobody knows.
    """
    path, document = _read_document()
    anywhere = frozenset().union(*known.values())
    top = _checked(document, anywhere | known.keys(), path, "")
    values: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for name, value in top.items():
        if name not in known:
            values[name] = value
        elif isinstance(value, dict):
            tables[name] = _checked(value, known[name], path, f"[{_written(name)}] ")
        else:
            raise ConfigurationError(f"{path}: {_written(name)} must be a table of settings")
    return FileSettings(path, values | tables.get(process, {}))


def _read_document() -> tuple[str, Mapping[str, Any]]:
    content = _read_bytes("fastqueue.toml")
    if content is not None:
        path = os.path.abspath("fastqueue.toml")
        return path, _parse(content, path)
    content = _read_bytes("pyproject.toml")
    # Most name fastqueue nowhere: they are not worth parsing.
    if content is None or b"fastqueue" not in content:
        return "", {}
    path = os.path.abspath("pyproject.toml")
    tool = _parse(content, path).get("tool", {})
    table = tool.get("fastqueue", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tool.fastqueue must be a table of settings")
    return path, table


def _read_bytes(name: str) -> bytes | None:
    try:
        return read_regular_file(name, _BYTES_MAX)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{os.path.abspath(name)} can't be read: {error.strerror or error}"
        ) from error


def _parse(content: bytes, path: str) -> dict[str, Any]:
    import tomllib  # here, because most processes have no file to parse

    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: this is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else len(content.splitlines())
        raise ConfigurationError(f"{path}, line {line}: this is not TOML: {error}") from error


def _checked(
    table: Mapping[str, Any], known: frozenset[str], path: str, where: str
) -> dict[str, Any]:
    """Return the table with underscores in its names, once each of them is known."""
    values: dict[str, Any] = {}
    for written, value in table.items():
        name = written.replace("-", "_")
        if name not in known:
            import difflib  # here, because it is only ever needed once

            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise ConfigurationError(
                f"{path}: {where}{written} is not a setting; did you mean {_written(nearest)}?"
            )
        if name in values:
            raise ConfigurationError(f"{path}: {where}{_written(name)} is there twice")
        values[name] = value
    return values


def _written(name: str) -> str:
    return name.replace("_", "-")
