"""10,000 samples of the search space under budgets: legal, within them, different; parameters and MACs against what is built.

    KERAS_BACKEND=jax python benchmarks/search_space.py [--samples 10000] [--checked 20]

Parameters are held against the weights of the model that is built, exactly. MACs are held against XLA: of each matrix product and
convolution in the program of a forward pass, half of what XLA's cost analysis says it takes in operations. XLA leaves out what a
convolution multiplies with the zeros around an image, which every published count has in it; both ways are given. Needs JAX.
"""

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

import harness
import jax
import keras
import numpy as np

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning import ViTHyperModel

BUDGETS: dict[str, dict[str, Any]] = {
    "32 px": {"image_size": 32},
    "32 px, 1 M parameters": {"image_size": 32, "max_params": 1_000_000},
    "28 px, 200 k parameters, 3 M MACs": {
        "image_size": 28,
        "channels": 1,
        "max_params": 200_000,
        "max_macs": 3_000_000,
    },
    "224 px, 30 M parameters, 5 G MACs": {"image_size": 224, "max_params": 30_000_000, "max_macs": 5_000_000_000},
    "224 px, 4 GB of a training step": {"image_size": 224, "max_memory": 4_000_000_000},
}


def sampled(hypermodel: ViTHyperModel, count: int) -> dict[str, Any]:
    """Draws, and counts what is wrong."""
    began = time.perf_counter()
    pairs = hypermodel.sample(count, seed=0)
    seconds = time.perf_counter() - began
    illegal = 0
    for values, config in pairs:
        try:
            illegal += not hypermodel.space.has(values) or vk.ViTConfig.from_dict(config.to_dict()) != config
        except InvalidArgumentError:
            illegal += 1
    return {
        "samples": len(pairs),
        "illegal": illegal,
        "over_budget": sum(bool(hypermodel.find_problems(values)) for values, _ in pairs),
        "duplicates": len(pairs) - len({hypermodel.make_key(values) for values, _ in pairs}),
        "samples_a_second": len(pairs) / seconds,
        "largest_params": max(hypermodel.compute_costs(values)["params"] for values, _ in pairs),
    }


def products(jaxpr: Any) -> Iterator[Any]:
    """Every matrix product and convolution of a program, those inside of calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def macs_of_xla(model: keras.Model, *, zeros: bool) -> float:
    """Half the operations that XLA counts in the products of a forward pass of one image, those with zeros around it or not."""
    image = np.zeros((1, *model.input_shape[1:]), "float32")
    trainable, rest = (
        [variable.value for variable in each] for each in (model.trainable_variables, model.non_trainable_variables)
    )
    program = jax.make_jaxpr(lambda *arguments: model.stateless_call(*arguments, training=False)[0])(
        trainable, rest, image
    )
    operations = 0.0
    for equation in products(program.jaxpr):
        shapes = [jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in equation.invars]
        named = dict(equation.params)
        if zeros and "padding" in named:
            around = dict(zip(named["dimension_numbers"].lhs_spec[2:], map(sum, named["padding"]), strict=True))
            sides = tuple(side + around.get(place, 0) for place, side in enumerate(shapes[0].shape))
            shapes[0] = jax.ShapeDtypeStruct(sides, shapes[0].dtype)
            named["padding"] = tuple((0, 0) for _ in named["padding"])
        single = jax.jit(lambda *arguments, of=equation.primitive, named=named: of.bind(*arguments, **named))
        operations += single.lower(*shapes).cost_analysis()["flops"]
    return operations / 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--checked", type=int, default=20)
    options = parser.parse_args()
    spaces = {
        name: sampled(ViTHyperModel(num_classes=10, **budget), options.samples) for name, budget in BUDGETS.items()
    }
    hypermodel = ViTHyperModel(32, 10, max_params=1_000_000)
    wrong_params, errors, without = 0, [], []
    for values, config in hypermodel.sample(options.checked, seed=1):
        model, costs = vk.vit(config, num_classes=10), hypermodel.compute_costs(values)
        wrong_params += sum(math.prod(weight.shape) for weight in model.trainable_weights) != costs["params"]
        errors.append(abs(costs["macs"] / macs_of_xla(model, zeros=True) - 1))
        without.append(abs(costs["macs"] / macs_of_xla(model, zeros=False) - 1))
    harness.record(
        "search_space",
        {
            "spaces": spaces,
            "checked": options.checked,
            "wrong_params": wrong_params,
            "largest_error_of_macs": max(errors),
            "largest_error_of_macs_without_zeros": max(without),
            "median_error_of_macs_without_zeros": float(np.median(without)),
        },
    )
