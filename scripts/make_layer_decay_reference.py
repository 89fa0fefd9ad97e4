"""Makes `tests/golden/timm_layer_decay.json`: timm's learning rate and weight decay of each parameter of ViT-B/16.

pip install timm torch torchvision
python scripts/make_layer_decay_reference.py
"""

import json
from pathlib import Path

import timm
from timm.optim import param_groups_layer_decay

OUT = Path(__file__).parents[1] / "tests" / "golden" / "timm_layer_decay.json"

if __name__ == "__main__":
    model = timm.create_model("vit_base_patch16_224")
    groups = param_groups_layer_decay(
        model, weight_decay=0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.75
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = {
        names[id(parameter)]: [group["lr_scale"], group["weight_decay"]]
        for group in groups
        for parameter in group["params"]
    }
    source = "timm 1.0.31, param_groups_layer_decay(vit_base_patch16_224, weight_decay=0.05, layer_decay=0.75)"
    OUT.write_text(json.dumps({"source": source, "parameters": parameters}, indent=1) + "\n")
