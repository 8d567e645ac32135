"""Errors of the engine's durable side, each said in one line with what to do next.

    EngineError
    ├── SnapshotError              what is stored does not fit this engine
    └── VersionError               a version of the model is not there, or cannot be had

What else is wrong with a configuration or an argument is a plain ValueError.
"""

from __future__ import annotations


class EngineError(ValueError):
    """Something the engine was asked to go on with cannot be gone on with."""


class SnapshotError(EngineError):
    """What is stored was made by an engine of other settings, or of another format."""


class VersionError(EngineError):
    """A version of the model is not there, or cannot be used."""
