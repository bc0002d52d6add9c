"""check_torchvision, check_torchvision_imports: check that the versions of torch and torchvision match."""

import importlib
from importlib import metadata

from packaging.requirements import Requirement

_HINT = "Install a fitting pair: pip install --upgrade --force-reinstall torch torchvision"


def check_torchvision() -> None:
    """Compare the installed versions by their metadata, without importing the packages.

    Raises:
        ImportError: If torchvision was built for another torch.
    """
    torch, torchvision = metadata.version("torch"), metadata.version("torchvision")
    needed = unmet_torch(metadata.requires("torchvision") or [], torch)
    if needed is not None:
        raise ImportError(
            f"torchvision {torchvision} needs {needed}, but torch {torch} is installed. {_HINT}"
        )


def check_torchvision_imports() -> None:
    """Import torchvision first, to explain a failure.

    Otherwise mismatched versions fail later (``operator torchvision::nms does not exist``).

    Raises:
        ImportError: If torchvision cannot be imported with the installed torch.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        versions = f"torchvision {metadata.version('torchvision')} cannot be imported with torch "
        raise ImportError(f"{versions}{metadata.version('torch')} ({error}). {_HINT}") from error


def unmet_torch(requirements: list[str], torch: str) -> str | None:
    """Return the requirement on torch that a version does not meet, e.g. ``"torch==2.9.1"``.

    A local part does not count: torch 2.9.1+cpu meets ``torch==2.9.1``.

    Args:
        requirements: Requirements of a distribution, as its metadata lists them.
        torch: The installed version.
    """
    for requirement in map(Requirement, requirements):
        is_met = requirement.specifier.contains(torch.split("+")[0], prereleases=True)
        if requirement.name == "torch" and requirement.marker is None and not is_met:
            return str(requirement)
    return None
