"""Low-rank adapters: small matrices that train beside frozen ones, through peft.

add_adapters     freeze a model and put adapters beside its linear layers
merged_weights   the weights of a model by the names of the model folder, adapters added in

Hu et al. 2021 (arXiv:2106.09685, section 4.1). peft replaces each adapted layer by one that holds
it as `base_layer`; a model without adapters never imports it.
"""

from __future__ import annotations

from torch import Tensor, nn

from duologue.config import LoraConfig

ADAPTER = "default"  # peft's name for the only one
LAYERS = {
    "attention": ("qkv", "q", "kv", "out"),
    "feed_forward": ("gate_up", "up", "down"),
}


def add_adapters(model: nn.Module, config: LoraConfig) -> None:
    """Freeze all weights, and add adapters that change nothing until they are trained."""
    import peft

    names = [name for target in config.targets for name in LAYERS[target]]
    peft.inject_adapter_in_model(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=names,
        ),
        model,
        adapter_name=ADAPTER,
    )


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name -> weight as the model computes with it; tensors of the model where no adapter is."""
    weights = {
        name.replace(".base_layer.", "."): weight
        for name, weight in model.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weights[f"{name}.weight"] = (
                weights[f"{name}.weight"] + module.get_delta_weight(ADAPTER).detach()
            )
    return weights
