"""Recipes that begin with random weights.

What a published recipe does that ours can't say is in its description; batches of another size want other learning rates.
"""

from dataclasses import replace
from typing import Any

from vit_keras.data.augment.augmentation import STRENGTHS, Augmentation
from vit_keras.training.recipes.named_recipe import NamedRecipe
from vit_keras.training.recipes.recipe import Recipe


@NamedRecipe
def from_scratch(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training the sizes of the paper from random weights, without the paper's data.

    AdamW, cosine, smoothing and clipping as in Beyer et al. 2022, arXiv 2205.01580, with flips, crops and colour in place
    of its RandAugment and MixUp.
    """
    augmentation = Augmentation(
        flip_rate=0.5, zoom=0.3, stretch=0.2, shift=0.1, saturation=0.3, contrast=0.3, brightness=0.1
    )
    return Recipe(
        name="from_scratch",
        source="https://arxiv.org/abs/2205.01580",
        expected="emoji of an unseen drawing style 68.0 %, one seed, 50 epochs of the demo's preset: benchmarks/results/emoji_from_scratch.json",
        learning_rate=1e-3,
        weight_decay=0.1,
        augmentation=augmentation,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def small_images(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training small Vision Transformers from random weights on images of 28 to 96 px."""
    augmentation = Augmentation(
        flip_rate=0.5, rotation=10, zoom=0.25, stretch=0.25, shift=0.12, hue=54, saturation=0.42, contrast=0.24,
        brightness=0.12, grayscale_rate=0.1, erase_rate=0.1,
    )  # fmt: skip
    return Recipe(
        name="small_images",
        source="measured: benchmarks/README.md",
        expected="emoji of an unseen drawing style 72.6 %, mean of 3 seeds, in three minutes on two cores: benchmarks/results/emoji_demo.json",
        optimizer="muon",
        learning_rate=4e-3,
        augmentation=augmentation,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def augreg(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of Steiner et al. 2021, arXiv 2106.10270, for ImageNet-1k from random weights: augmentation as regulariser.

    For batches of 4,096. `big_vision` starts the head's biases at -6.9 and sums its loss over the classes, where ours is their mean.
    """
    return Recipe(
        name="augreg",
        source="https://github.com/google-research/big_vision/blob/main/big_vision/configs/vit_i1k.py",
        expected="ViT-B/16 on ImageNet-1k, 300 epochs: about 79 % (github.com/google-research/big_vision, issue 7)",
        learning_rate=1e-3,
        warmup_rate=0.108,  # 10,000 steps of 92,900
        weight_decay=0.1,
        loss="binary_crossentropy",
        label_smoothing=0.0,
        augmentation=Augmentation(crop_scale=(0.05, 1.0), flip_rate=0.5, policy="rand-m15-mmax15-n2", mixup_alpha=0.5),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def deit(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of Touvron et al. 2021, DeiT, arXiv 2012.12877, for ImageNet-1k from random weights, without a teacher.

    For batches of 1,024. DeiT's rate ends at 1e-5, ours at zero.
    """
    return Recipe(
        name="deit",
        source="https://github.com/facebookresearch/deit/blob/main/main.py",
        expected="on ImageNet-1k, 300 epochs: Ti/16 72.2, S/16 79.9, B/16 81.8 % (README_deit.md)",
        learning_rate=1e-3,  # 5e-4 for 512 images
        warmup_rate=5 / 300,
        clip_norm=None,
        augmentation=replace(STRENGTHS["strong"], repeats=3),
        stochastic_depth_rate=0.1,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def deit3(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of Touvron et al. 2022, DeiT III, arXiv 2204.07118, for S/16 on ImageNet-1k from random weights.

    For batches of 2,048 and a model with layer scale. Larger ones want a learning rate of 3e-3 and a `stochastic_depth_rate` of 0.2 (B)
    or 0.45 (L), at 192 px, then 20 epochs at 224. DeiT III has the same rate in every block, where ours rises to it, and counts both
    classes of a mixed image as whole: for that compile with `BinaryCrossentropy(threshold=0.0)`.
    """
    return Recipe(
        name="deit3",
        source="https://github.com/facebookresearch/deit/blob/main/README_revenge.md",
        expected="S/16 on ImageNet-1k, 800 epochs: 81.4 % (README_revenge.md)",
        optimizer="lamb",
        learning_rate=4e-3,
        warmup_rate=5 / 800,
        loss="binary_crossentropy",
        label_smoothing=0.0,
        augmentation=replace(STRENGTHS["3-augment"], repeats=3),
        stochastic_depth_rate=0.05,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)


@NamedRecipe
def simple_vit(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe of Beyer et al. 2022, arXiv 2205.01580, for S/16 on ImageNet-1k from random weights.

    For batches of 1,024 and a model that pools by the mean, with fixed sine positions.
    """
    return Recipe(
        name="simple_vit",
        source="https://github.com/google-research/big_vision/blob/main/big_vision/configs/vit_s16_i1k.py",
        expected="S/16 on ImageNet-1k: 76.5 % after 90 epochs, 80.0 % after 300 (arXiv 2205.01580)",
        learning_rate=1e-3,
        warmup_rate=0.09,  # 10,000 steps of 111,500
        weight_decay=0.1,
        label_smoothing=0.0,
        augmentation=Augmentation(crop_scale=(0.05, 1.0), flip_rate=0.5, policy="rand-m10-n2", mixup_alpha=0.2),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    ).replace(**changes)
