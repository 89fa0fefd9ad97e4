import csv
from pathlib import Path

import pytest

from vit_keras import list_presets, list_weights, preset_info
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.preset import PRETRAININGS

ALL = {f"{name}:{tag}" for name in list_presets() for tag in preset_info(name)["weights"]}


def facts(name):
    preset, _, tag = name.partition(":")
    info = preset_info(preset)
    return {**info, **info["weights"].get(tag, {}), "image_size": tuple(info["config"]["image_size"])}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"family": "dinov2"}, lambda each: each["family"] == "dinov2"),
        ({"image_size": 384}, lambda each: each["image_size"] == (384, 384)),
        ({"image_size": (518, 518)}, lambda each: each["image_size"] == (518, 518)),
        ({"max_params": 22e6}, lambda each: each["params"] <= 22e6),
        ({"max_gmacs": 1.5}, lambda each: each["gmacs"] <= 1.5),
        ({"min_top1": 87}, lambda each: (each["top1"] or 0) >= 87),
        ({"license": "MIT"}, lambda each: each["license"] == "MIT"),
        ({"license": "mit"}, lambda each: each["license"] == "MIT"),
        ({"pretraining": "self-supervised"}, lambda each: each["pretraining"] == "self_supervised"),
        ({"label_set": "imagenet-12k"}, lambda each: each["num_classes"] == 11_821),
        ({"label_set": "none", "family": "vit"}, lambda each: each["family"] == "vit" and each["label_set"] is None),
        ({"license": "Apache-2.0", "min_top1": 85, "max_params": 90e6}, lambda each: each["license"] == "Apache-2.0" and (each["top1"] or 0) >= 85 and each["params"] <= 90e6),
    ],
)  # fmt: skip
def test_conditions_choose_weights_and_the_presets_that_have_them(condition, holds):
    found = list_weights(**condition)
    assert found
    assert found == sorted(name for name in ALL if holds(facts(name)))
    with_weights = {name.partition(":")[0] for name in found}
    presets = list_presets(**condition)
    assert set(presets) >= with_weights
    assert all(
        not preset_info(name)["weights"] for name in set(presets) - with_weights
    )  # conditions on the architecture alone


def test_patterns_and_conditions_are_joined():
    assert list_presets("vit_*", family="deit") == []
    assert list_presets("deit_t*", family="deit") == ["deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224"]


def test_presets_and_weights_are_sorted_by_what_was_asked_for():
    for order in ("params", "gmacs", "image_size"):
        values = [facts(name)[order] for name in list_presets("vit_*", sort_by=order)]
        assert values == sorted(values)
    accuracies = [facts(name)["top1"] or 0 for name in list_weights(sort_by="top1")]
    assert accuracies == sorted(accuracies, reverse=True)
    best = max(ALL, key=lambda name: facts(name)["top1"] or 0)
    assert list_presets(sort_by="top1")[0] == best.partition(":")[0]
    # the order of presets is that of the weights that meet the conditions
    free = list_presets(sort_by="top1", license="Apache-2.0", family="clip")
    values = [max(facts(name)["top1"] or 0 for name in list_weights(preset, license="Apache-2.0")) for preset in free]
    assert values == sorted(values, reverse=True)


def test_weights_with_a_head_for_classes_are_those_that_timm_measured():
    path = Path(__file__).parents[1] / "golden" / "timm" / "checkpoints.csv"
    with path.open() as file:
        counts = {row["name"]: int(row["num_classes"]) for row in csv.DictReader(file)}
    numbers = {
        "imagenet-1k": 1000,
        "imagenet-12k": 11_821,
        "imagenet-21k": 21_843,
        "imagenet-22k": 21_841,
        "imagenet-21k-miil": 11_221,
    }
    for label_set, count in numbers.items():
        timms = {name for name, classes in counts.items() if classes == count}
        ours = {name.replace(":", ".") for name in list_weights(label_set=label_set)}
        assert ours & counts.keys() == timms


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"family": "dinov"}, r"family='dinov' is unknown \(did you mean 'dinov\d'\?\): expected one of "),
        (
            {"max_params": "10M", "min_top1": float("nan")},
            "max_params='10M' is not a number; min_top1=nan is not a number",
        ),
        ({"image_size": (224,)}, r"image_size=\(224,\) is neither"),
        ({"image_size": 0}, "image_size=0 is neither"),
        ({"pretraining": "magic"}, "pretraining='magic' is unknown.*'image_text'"),
        ({"max_parms": 1e6}, "there is no field 'max_parms' .did you mean 'max_params'"),
        ({"sort_by": "accuracy"}, "sort_by='accuracy': expected one of .*top1"),
    ],
)
def test_illegal_conditions_are_named_together(conditions, message):
    for function in (list_presets, list_weights):
        with pytest.raises(InvalidArgumentError, match=message):
            function(**conditions)


def test_published_weights_say_what_they_were_trained_on():
    kinds = {"vit_base_patch16_224:mae": "self_supervised", "vit_base_patch16_224:augreg_in21k": "supervised"}
    kinds |= {
        "vit_base_patch16_clip_224:openai_ft_in1k": "image_text",
        "vit_base_patch14_dinov2:lvd142m": "self_supervised",
    }
    assert {name: facts(name)["pretraining"] for name in kinds} == kinds
    assert {facts(name)["pretraining"] for name in ALL} <= set(PRETRAININGS)
