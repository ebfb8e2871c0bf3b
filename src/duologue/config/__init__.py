"""Every setting, as frozen dataclasses: load, override, validate, save.

ModelConfig       the shape of a model; stored as `config.json` in a model folder   (model.py)
GenerationConfig  how an imported model wants to be decoded                         (model.py)
DatasetConfig     one data set of a mix                                             (recipe.py)
AugmentConfig     text augmentation, each kind an option
DataConfig        which data, mixed how, in batches of what size
TrainConfig       optimizer, schedule, validation, budget
LoraConfig        small matrices that train in place of the weights
Recipe            model + tokenizer + data + training: one YAML file, one run

Unknown keys, wrong types and contradictions raise ConfigError, which names the key.
Reads and writes plain dictionaries (values.py); knows nothing of tensors or tokens.
"""

from duologue.config.model import FAMILIES, LEARNT, GenerationConfig, ModelConfig
from duologue.config.recipe import (
    AugmentConfig,
    DataConfig,
    DatasetConfig,
    LoraConfig,
    Recipe,
    TokenizerConfig,
    TrainConfig,
    load_recipe,
    save_recipe,
)
from duologue.config.values import from_dict, replace, to_dict

__all__ = [
    "FAMILIES",
    "LEARNT",
    "AugmentConfig",
    "DataConfig",
    "DatasetConfig",
    "GenerationConfig",
    "LoraConfig",
    "ModelConfig",
    "Recipe",
    "TokenizerConfig",
    "TrainConfig",
    "from_dict",
    "load_recipe",
    "replace",
    "save_recipe",
    "to_dict",
]
