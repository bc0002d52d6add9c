"""slow_but: parameters of which a few run in the default tier and all others in the slow tier."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def slow_but(quick: Collection[str], options: Mapping[str, Any]) -> list[Any]:
    """Return one parameter per option, named by its key; mark all except ``quick`` as slow."""
    assert set(quick) <= set(options)
    return [
        pytest.param(value, id=name, marks=() if name in quick else pytest.mark.slow)
        for name, value in options.items()
    ]
