"""Data sets by name or path, always as a training and a test part."""

from holdfast.data.opening import open_data
from holdfast.data.split import Split

__all__ = ["Split", "open_data"]
