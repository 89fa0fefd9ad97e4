import json
import re

from vit_keras.pretraining.recipe import RECIPES as PRETRAINING
from vit_keras.training.recipes import RECIPES

ALL = [*RECIPES, *PRETRAINING]


def test_recipes_shows_every_recipe_and_its_expected_result(run):
    code, out, err = run("recipes")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:] if not line.startswith(" ")] == ALL
    assert "98.59" in out


def test_one_recipe_is_shown_with_every_value(run):
    code, out, _ = run("recipes", "finetune")
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    assert code == 0
    assert (rows["recipe"], rows["optimizer"]) == ("finetune", "adamw")
    assert rows["layer_decay"] == "1, up to 6 blocks; 0.75 for more"
    assert rows["learning_rate"].startswith("0.003, at width 128")
    assert "rotation 5" in rows["augmentation"]
    assert RECIPES["finetune"].unsized(epochs=1, steps_per_epoch=1).to_dict().keys() - rows.keys() == {
        "name", "epochs", "steps_per_epoch", "seed",
    }  # fmt: skip


def test_a_recipe_of_pretraining_shows_its_rule_and_options(run):
    code, out, _ = run("recipes", "mae")
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    assert code == 0
    assert rows["learning_rate"].strip() == "0.002, at width 128; the wider, the lower in proportion"
    assert rows["options"].strip() == "mask_ratio 0.75"


def test_json_holds_the_fields(run):
    code, out, _ = run("recipes", "deit3", "--json")
    assert code == 0
    size = {"epochs": 7, "steps_per_epoch": 9, "seed": 0}
    assert {**json.loads(out), **size} == {**RECIPES["deit3"].unsized(**size).to_dict(), "sized": {}}
    assert [recipe["name"] for recipe in json.loads(run("recipes", "--json")[1])] == ALL


def test_an_unknown_recipe_exits_2_and_suggests_the_closest(refused):
    assert refused(2, "There is no recipe 'fine_tune'; the closest are finetune", "recipes", "fine_tune") == ""
