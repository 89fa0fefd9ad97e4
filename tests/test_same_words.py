"""The command line and Python have the same words: each entry point's arguments are its command's options."""

import inspect
from dataclasses import fields

import pytest

import vit_keras as vk
from vit_keras.cli.commands.data.check import check_command
from vit_keras.cli.commands.evaluate import evaluate_command
from vit_keras.cli.commands.explain import explain_command
from vit_keras.cli.commands.export import export_command
from vit_keras.cli.commands.features import features_command
from vit_keras.cli.commands.finetune import finetune_command
from vit_keras.cli.commands.predict import predict_command
from vit_keras.cli.commands.pretrain import pretrain_command
from vit_keras.cli.commands.train import train_command
from vit_keras.cli.commands.tune import tune_command

ENTRY_POINTS = {
    "train": (train_command, vk.train),
    "finetune": (finetune_command, vk.finetune),
    "pretrain": (pretrain_command, vk.pretrain),
    "tune": (tune_command, vk.tuning.search),
    "predict": (predict_command, vk.predict),
    "features": (features_command, vk.save_features),
    "evaluate": (evaluate_command, vk.evaluate),
    "export": (export_command, vk.export),
    "data check": (check_command, vk.data.check),
    "explain": (explain_command, vk.explain.prefix_attention),
}
OTHER_WORDS = {"out_file": "out"}  # `out` is where commands print
OF_THE_TERMINAL = {"context", "as_json", "debug", "quiet", "config", "overwrite"}
OF_A_LAUNCH = {"coordinator", "num_processes", "process_id"}  # arguments of `vk.join_launch`
OF_THE_COMMAND = {
    "pretrain": OF_A_LAUNCH | {"data"},  # the words that name the `images`
    "train": OF_A_LAUNCH,
    "finetune": OF_A_LAUNCH,
    "tune": {"join"},  # `vk.tuning.join`
    "evaluate": OF_A_LAUNCH | {"features"},  # `vk.evaluate_features`
    "predict": OF_A_LAUNCH | {"out", "all_classes"},  # `Predictions.save`, and top=None
    "data check": {field.name for field in fields(vk.data.ReadOptions)},  # of the argument `reading`
    # One function per method; `weights` is an argument of `from_preset`, and a report is made by `anatomy_report`.
    "explain": {"weights", "method", "against", "out", "report"},
}
OF_PYTHON = {
    "train": {"validation", "callbacks", "console"},  # objects
    "finetune": {"validation", "callbacks", "console", "recipe"},
    "pretrain": {"images", "callbacks", "console"},
    "tune": {"validation", "hypermodel", "options", "console"},
    "predict": {"preprocessing", "pixel_range", "on_error"},  # of arrays; no image ends the command
    "features": {"preprocessing", "pixel_range", "on_error", "on_progress"},
    "data check": {"reading", "on_progress"},
    "explain": {"batch_size"},
}


def parameters(function):
    found = inspect.signature(function).parameters
    return {OTHER_WORDS.get(name, name): parameter for name, parameter in found.items() if name not in OF_THE_TERMINAL}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_command_and_its_function_have_the_same_words_and_defaults(name):
    command, function = map(parameters, ENTRY_POINTS[name])
    assert command.keys() - OF_THE_COMMAND.get(name, set()) == function.keys() - OF_PYTHON.get(name, set())
    for word in command.keys() & function.keys():
        default = command[word].default
        if default not in (None, False, inspect.Parameter.empty) and word != "out":
            assert default == function[word].default, word


def test_each_exception_is_one():
    for name, words in OF_THE_COMMAND.items():
        if name != "data check":
            assert words <= parameters(ENTRY_POINTS[name][0]).keys(), name
    for name, words in OF_PYTHON.items():
        assert words <= parameters(ENTRY_POINTS[name][1]).keys(), name
