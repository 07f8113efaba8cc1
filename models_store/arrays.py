"""The one name for NumPy arrays in annotations, and the functions of arrays and tensors."""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A NumPy array of any shape and dtype."""


def array_namespace(*arrays: Any) -> Any:
    """Returns the functions of the array API for these arrays, or tensors of torch.

    For arrays it is numpy itself: the numpy of ``array_api_compat`` imports numpy.f2py and numpy.testing,
    which takes a tenth of the service's start.
    """
    return array_api_compat.array_namespace(*arrays) if array_api_compat.is_torch_array(arrays[0]) else np
