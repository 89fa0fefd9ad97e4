from pathlib import Path

import pytest
from type_checkers import CHECKERS, TYPED_USE, check_typed_use, find_errors

import vit_keras as vk

pytestmark = pytest.mark.slow
ROOMS = ("data", "explain", "training", "tuning", "weights")
PACKAGES = {"vk": vk, **{f"vk.{name}": getattr(vk, name) for name in ROOMS}}
ROOT = Path(vk.__file__).parents[1]


@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_know_every_public_name_and_report_wrong_arguments_alone(checker, tmp_path):
    names = [f"{package}.{name}" for package, module in PACKAGES.items() for name in module.__all__]
    wrong = [f"{package}.no_such_name" for package in PACKAGES]
    sample = tmp_path / "sample.py"
    sample.write_text("import vit_keras as vk\n" + "".join(f"print({name})\n" for name in names + wrong))
    of_names, of_use = find_errors(checker, sample, TYPED_USE, folder=ROOT)  # together: the package is read once
    assert len(of_names) == len(wrong), of_names
    assert all("no_such_name" in text for _, text in of_names)
    check_typed_use(of_use)
