"""Recipes that begin with a trained model.

What a published recipe does that ours can't say is in its description; batches of another size want other learning rates.
"""

from typing import Any

from vit_keras.data.augment.augmentation import STRENGTHS, Augmentation
from vit_keras.training.recipes.named_recipe import NamedRecipe
from vit_keras.training.recipes.recipe import Recipe

_PAPER_STEPS = 500
_PAPER_CROP = (384 / 448) ** 2  # 384 px of 448
_FINETUNING: dict[str, Any] = {
    "learning_rate": 3e-3,
    "weight_decay": 0.3,
    "augmentation": STRENGTHS["moved"],
}


def _beside_all_weights(accuracy: str) -> str:
    return (
        f"here, with 20 images a class of three sets of small images, {accuracy} where all weights reach 80.1 and the head alone 64.6: "
        "benchmarks/results/finetune_methods.json"
    )


@NamedRecipe
def finetune(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for fine-tuning all weights of a trained model, the later layers faster than the earlier.

    The head starts at zero, as `from_preset(..., num_classes=...)` makes it.
    """
    return Recipe(
        name="finetune",
        source="measured: benchmarks/finetune.py; layer-wise decay: Bao et al. 2022, arXiv 2106.08254",
        expected="here, with 20 images a class of four sets of small images, 0.8 % of the test images fewer right than from a head that was fitted "
        "first, with a standard error of 0.2: benchmarks/results/finetune_ablation.json",
        **_FINETUNING,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def head_first(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for fitting the head to a trained model's features, then fine-tuning all weights.

    Paper: Kumar et al. 2022, arXiv 2202.10054.
    """
    return Recipe(
        name="head_first",
        source="https://arxiv.org/abs/2202.10054; numbers as for finetune",
        expected="a point above fine-tuning at once on the same distribution, ten on shifted ones (arXiv 2202.10054); here, of 16 sets of small images, "
        "30 % fewer errors than KerasHub's default in the median, and 4.3 points better at least: benchmarks/results/finetune_kerashub.json",
        method="head_first",
        **_FINETUNING,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def last_blocks(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for fine-tuning the last blocks and all after them; the others stay as they are.

    Paper: He et al. 2022, MAE, arXiv 2111.06377, partial fine-tuning.
    """
    return Recipe(
        name="last_blocks",
        source="https://arxiv.org/abs/2111.06377; numbers as for finetune",
        expected=_beside_all_weights("73.7 %"),
        method="last_blocks",
        **_FINETUNING,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def bias_only(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training the biases, the shifts of the norms, and the head, which is fitted first.

    Paper: Ben Zaken et al. 2022, BitFit, arXiv 2106.10199.
    """
    return Recipe(
        name="bias_only",
        source="https://arxiv.org/abs/2106.10199; numbers measured: benchmarks/finetune.py",
        expected=_beside_all_weights("69.9 %"),
        method="bias",
        learning_rate=1e-2,
        weight_decay=0.0,
        augmentation=STRENGTHS["moved"],
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def adapters(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training low-rank adapters and the head, which is fitted first; all other weights stay as they are.

    Paper: Hu et al. 2022, LoRA, arXiv 2106.09685.
    """
    return Recipe(
        name="adapters",
        source="https://arxiv.org/abs/2106.09685; numbers measured: benchmarks/finetune.py",
        expected=_beside_all_weights("76.0 %"),
        method="adapters",
        learning_rate=1e-2,
        augmentation=STRENGTHS["moved"],
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def linear_probe(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for logistic regression on a trained model's features, which becomes its head."""
    return Recipe(
        name="linear_probe",
        source="Oquab et al. 2023, DINOv2, https://arxiv.org/abs/2304.07193",
        expected="ImageNet-1k on DINOv2's features: S/14 81.1, B/14 84.5, L/14 86.3, g/14 86.5 % (github.com/facebookresearch/dinov2)",
        method="linear_probe",
        weight_decay=0.0,
        label_smoothing=0.0,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def nearest_neighbours(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for naming an image after the training images whose features are nearest; nothing is trained.

    Paper: Caron et al. 2021, DINO, arXiv 2104.14294.
    """
    return Recipe(
        name="nearest_neighbours",
        source="https://arxiv.org/abs/2104.14294",
        expected="ImageNet-1k on DINOv2's features: S/14 79.0, B/14 82.1, L/14 83.5, g/14 83.5 % (github.com/facebookresearch/dinov2)",
        method="nearest_neighbours",
        weight_decay=0.0,
        label_smoothing=0.0,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def vit_paper_finetune(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of Dosovitskiy et al. 2021, arXiv 2010.11929: 500 steps of plain gradient descent with momentum.

    For batches of 512 at 384 px. The epochs asked for don't count: it takes as many whole ones as hold 500 steps. Keras' momentum
    remembers steps and theirs gradients, which differ while the rate changes.
    """
    recipe = Recipe(
        name="vit_paper_finetune",
        source="https://github.com/google-research/vision_transformer/blob/main/vit_jax/configs/common.py",
        expected="B/16 of ImageNet-21k: CIFAR-10 98.59, CIFAR-100 89.17 % (its README.md)",
        optimizer="sgd",
        learning_rate=0.03,
        weight_decay=0.0,
        label_smoothing=0.0,
        augmentation=Augmentation(crop_scale=(0.05, 1.0), flip_rate=0.5),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)
    return recipe.replace(epochs=-(-_PAPER_STEPS // steps_per_epoch))


@NamedRecipe
def big_vision_transfer(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of `big_vision` for models of Steiner et al. 2021, arXiv 2106.10270, on other images.

    For batches of 512 at 384 px, 10,000 of them; of small sets 500, with a `warmup_rate` of 0.2. The best learning rate was 0.003 for
    CIFAR-10, Pets and Flowers, 0.01 for CIFAR-100.
    """
    return Recipe(
        name="big_vision_transfer",
        source="https://github.com/google-research/big_vision/blob/main/big_vision/configs/transfer.py",
        expected="B/32 of ImageNet-21k: CIFAR-10 98.55, CIFAR-100 91.35, Pets 93.78, Flowers 99.43 % (transfer.py)",
        optimizer="sgd",
        learning_rate=0.01,
        warmup_rate=0.05,
        weight_decay=0.0,
        label_smoothing=0.0,
        augmentation=Augmentation(crop_scale=(_PAPER_CROP, _PAPER_CROP), crop_ratio=(1.0, 1.0), flip_rate=0.5),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def mae_finetune(*, epochs: int, steps_per_epoch: int, num_layers: int = 12, **changes: Any) -> Recipe:
    """Returns the recipe of He et al. 2022, MAE, arXiv 2111.06377, for fine-tuning its models on ImageNet-1k.

    For batches of 1,024, 100 epochs of B and 50 of L and H, and a model that pools by the mean. MAE's rate ends at 1e-6, ours at zero.
    """
    base = num_layers <= 12
    return Recipe(
        name="mae_finetune",
        source="https://github.com/facebookresearch/mae/blob/main/FINETUNE.md",
        expected="on ImageNet-1k: B/16 83.66, L/16 85.95, H/14 86.93 % (FINETUNE.md)",
        learning_rate=2e-3 if base else 4e-3,  # 5e-4 and 1e-3 for 256 images
        warmup_rate=0.05 if base else 0.1,  # 5 epochs
        layer_decay=0.65 if base else 0.75,
        clip_norm=None,
        augmentation=STRENGTHS["strong"],
        stochastic_depth_rate=0.1 if base else 0.2 if num_layers <= 24 else 0.3,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)
