"""reparameterize: fold the branches of a trained network into single convolutions.

Source: Vasu et al., "MobileOne", arXiv:2206.04040, section 3.2. The folding itself is timm's.
"""

from collections.abc import Iterable

from timm.utils import reparameterize_model
from torch import nn

_FOLDED = ".reparam_conv."


def is_reparameterized(names: Iterable[str]) -> bool:
    """Return whether the branches of a state dict with these names are folded."""
    return any(_FOLDED in name for name in names)


def reparameterize(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose branches are folded, for evaluation only.

    Raises:
        ValueError: If nothing in the model can be folded.
    """
    folded: nn.Module = reparameterize_model(model.eval(), inplace=False)
    if not is_reparameterized(folded.state_dict()):
        raise ValueError(
            f"There is nothing to re-parameterise in {type(model).__name__}: it has no branches."
        )
    return folded


def reparameterize_(model: nn.Module) -> None:
    """Fold the branches of a model in place, for evaluation only."""
    reparameterize_model(model.eval(), inplace=True)
