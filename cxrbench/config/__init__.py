"""What a run is, as checked and frozen values: the settings, TOML in and out, and the recipes in the package."""

from cxrbench.config.library import load_recipe, recipes, reference
from cxrbench.config.sections import (
    SECTIONS,
    SETTINGS,
    DataConfig,
    EvalConfig,
    LoaderConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RegimeConfig,
    RunConfig,
    ScheduleConfig,
    TrainConfig,
    ViewConfig,
)
from cxrbench.config.toml import apply, assigned, from_toml, override, to_toml

__all__ = [
    "SECTIONS",
    "SETTINGS",
    "DataConfig",
    "EvalConfig",
    "LoaderConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RegimeConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainConfig",
    "ViewConfig",
    "apply",
    "assigned",
    "from_toml",
    "load_recipe",
    "override",
    "recipes",
    "reference",
    "to_toml",
]
