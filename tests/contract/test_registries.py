"""Names that stand in two layers, since the lower may not import the upper, are the same names."""

from cxrbench.config.sections import SPLITS
from cxrbench.dataset.splits import POLICIES


def test_the_configuration_knows_every_split_policy():
    assert set(SPLITS.choices) == set(POLICIES)
