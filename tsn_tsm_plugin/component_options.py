"""``bind_arguments``: a registered component together with the options that a recipe gives it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tsn_tsm_plugin.errors import ConfigError


def bind_arguments(
    component: Callable[..., Any], label: str, *args: Any, **options: Any
) -> Callable[..., Any]:
    """Return a component with its arguments, or refuse options that it does not take.

    Args:
        component: Of a registry.
        label: Its kind and name, for the message.
        *args: What the contract of the kind hands over.
        **options: What a recipe or a call adds.

    Raises:
        ConfigError: If the component takes no such argument.
    """
    try:
        signature = inspect.signature(component)
    except ValueError:  # Written in C.
        return functools.partial(component, *args, **options)
    try:
        signature.bind_partial(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{label} takes {signature}, got options that do not fit: {error}.") from error
    return functools.partial(component, *args, **options)
