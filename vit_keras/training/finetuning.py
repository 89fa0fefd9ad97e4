"""Fine-tuning: a trained model, a data set, and no knob that must be turned."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import keras
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.data import ImageData, Preprocessing, preset_preprocessing
from vit_keras.data.scan.progress import file_progress
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.own_head import ends_in_probabilities, find_classifier
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.presets import list_presets, load_preset
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.training.callbacks.progress_bar import standard_console
from vit_keras.training.class_order import head_choices
from vit_keras.training.planning import plan_finetuning
from vit_keras.training.preparing import prepare
from vit_keras.training.recipes import FINETUNING
from vit_keras.training.recipes.recipe import Choice, Recipe
from vit_keras.training.runs.directory import RunDirectory, next_run_directory
from vit_keras.training.runs.random_state import random_state
from vit_keras.training.runs.session import Session, TrainingResult, check_options, load_as_recorded
from vit_keras.training.transfer.lora import merge_lora
from vit_keras.zoo.preset_directory import from_preset, load_preprocessing

BATCH_SIZE = 64
_JUDGED_BY_VALIDATION = "the result is that of the validation images, since there are no others"


def finetune(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    recipe: Recipe | None = None,
    method: str = "auto",
    epochs: int | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
    **changes: Any,
) -> TrainingResult:
    """Fine-tunes a model on images, evaluates it, and leaves a run directory; what is not said is chosen, and printed with its reason.

    The model that is passed stays as it is. Killed at any moment, the same call with `resume` goes on; on a CPU with TensorFlow or JAX
    to the same result, bit for bit.

    Args:
        model: What `vit` or `from_preset` made, usually with weights; its head is made new where the classes are others. A head of
            your own behind it is kept, and its last dense layer is made new where the classes are others.
        train: An `ImageData` of `vk.data.load`, which has all splits; or arrays `(images, labels)`, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`.
        validation: Likewise; also what the result is judged by. None where `train` has all splits, else a part of it is held out.
        recipe: How, all of it, such as `vk.recipes.finetune(model, data)`; None to have it made by what follows.
        method: A recipe of `vk.recipes.FINETUNING`; "auto" goes by the images a class.
        epochs: Passes over the training images; None to have it chosen.
        run_dir: A folder that does not exist; by default the first free `runs/NAME-1`, `runs/NAME-2`, ... in the current directory,
            with the name of the data.
        resume: Goes on with the interrupted run in `run_dir`.
        force_resume: Goes on under other versions, too; the result may then differ in the last digits.
        callbacks: Keras callbacks beside the recipe's, such as `keras.callbacks.TensorBoard`.
        console: Where choices and progress are shown; stdout by default.
        **changes: Fields of the recipe in place of what would be chosen.

    Raises:
        VitKerasError: Something was refused, before anything was trained.
        TrainingDivergedError: The loss is no number any more.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    console = console or standard_console()
    if resume and run_dir is None:
        raise InvalidArgumentError("To resume, say which run: give its run_dir.")
    data = _data_of(model, train, validation)
    run = RunDirectory(Path(run_dir)) if run_dir is not None else next_run_directory(data.name)
    if not resume:
        run.check_free()
    if recipe is None:
        recipe = plan_of(model, data, method=method, epochs=epochs, changes=changes)
    elif changes or method != "auto" or epochs is not None:
        named = ", ".join(
            [*changes, *(["method"] if method != "auto" else []), *(["epochs"] if epochs is not None else [])]
        )
        raise InvalidArgumentError(f"The recipe says {named} already: recipe.replace(...) makes another of it.")
    session = finetuning_session(model, data, recipe, run=run, console=console, callbacks=callbacks)
    return session.carry_out(resume=resume, force=force_resume)


def plan_of(
    model: keras.Model,
    data: ImageData,
    *,
    method: str = "auto",
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns how to fine-tune a model on a data set, by `plan_finetuning`.

    Args:
        model: What is fine-tuned.
        data: What to train on.
        method: As for `finetune`.
        epochs: As for `finetune`.
        changes: As for `finetune`.
    """
    data = _in_batches(data)
    recipe = plan_finetuning(
        data.splits["train"].labels,
        model_config(model),
        num_classes=len(data.class_names),
        steps_per_epoch=data.steps_per_epoch,
        method=method,
        epochs=epochs,
        changes={"seed": data.seed, **(changes or {})},
    )
    choices = [
        *recipe.choices,
        *_choices_of_head(read_model(model), len(data.class_names)),
        *head_choices(model, data.class_names),
    ]
    if recipe.name in FINETUNING and is_untrained(model):
        choices.append(_UNTRAINED)
    return replace(recipe, choices=tuple(choices), data=data)


def _choices_of_head(parts: ModelParts, num_classes: int) -> Iterator[Choice]:
    """Yields what happens to the user's own layers, and to a softmax at the end."""
    if parts.own_head:
        names = ", ".join(layer.name for layer in parts.own_head)
        classifier = find_classifier(parts.own_head)
        if parts.num_classes == num_classes:
            yield Choice(
                "own head", "kept", f"{names}, with weights, since the model tells {num_classes} classes apart already"
            )
        elif classifier is not None:
            yield Choice("own head", "kept", f"{names}, but {classifier.name} is new, for {num_classes} classes")
        else:
            yield Choice("own head", "kept", f"{names}, with a new dense layer for {num_classes} classes")
    if parts.classifier_activation is not None or any(map(ends_in_probabilities, parts.own_head[-1:])):
        yield Choice(
            "output",
            "logits",
            "recipes train on logits: the softmax at the end is left out; rebuild(..., classifier_activation="
            '"softmax") puts it back',
        )


_UNTRAINED = Choice(
    "weights",
    "random",
    "this model was never trained, and fine-tuning is for models that were: give it weights, or begin with "
    "`vit-keras train`, whose recipes are for random ones",
)


def is_untrained(model: keras.Model) -> bool:
    """Returns whether a model's weights are as they were drawn: every norm of its blocks is still the identity.

    Args:
        model: What `vit` made.
    """
    norms = [
        keras.ops.convert_to_numpy(weight)
        for block in read_model(model).blocks
        for weight in block.weights
        if weight.name in ("gamma", "beta") and "norm" in weight.path
    ]
    return all((norm == norm.flat[0]).all() and norm.flat[0] in (0, 1) for norm in norms)


@dataclass(frozen=True, kw_only=True)
class FinetuningOptions:
    """What to fine-tune, on what, and how, by names: what a command line says and `run.json` keeps.

    Args:
        preset: A name of `list_presets()`, or a preset directory.
        data: What `vk.data.load` takes: a data set's name or a folder.
        weights: A tag of the preset's checkpoints or a checkpoint's path; None for a directory's own.
        method: A recipe of `FINETUNING`, or "auto".
        epochs: Passes over the training images; None to have it chosen.
        batch_size: Images a batch.
        limit: Most images of each split; None for all.
        seed: Decides the new head, the order, augmentation and what is held out.
        precision: "auto", "float32", "mixed_bfloat16" or "mixed_float16".
        accept_license: Says yes to a license of the weights that restricts their use.
        changes: Fields of the recipe in place of what would be chosen.
    """

    command: ClassVar[str] = "finetune"

    preset: str
    data: str
    weights: str | None = None
    method: str = "auto"
    epochs: int | None = None
    batch_size: int = BATCH_SIZE
    limit: int | None = None
    seed: int = 0
    precision: str = "auto"
    accept_license: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def finetune_preset(
    options: FinetuningOptions,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    tensorboard: bool = False,
    console: Console | None = None,
) -> TrainingResult:
    """Fine-tunes a preset by name on data by name: `finetune` for a command line.

    Args:
        options: What to fine-tune.
        run_dir: As for `finetune`.
        resume: As for `finetune`.
        force_resume: As for `finetune`.
        tensorboard: Writes TensorBoard's logs into the run's `tensorboard/`.
        console: Where progress is shown; stdout by default.

    Raises:
        VitKerasError: Something was refused, before anything was trained, or the training diverged.
        TrainingInterrupted: Ctrl-C or SIGTERM.
    """
    console = console or standard_console()
    run = RunDirectory(Path(run_dir)) if run_dir is not None else next_run_directory(options.data)
    if resume:
        check_options(run, asdict(options))
    else:
        run.check_free()
    with random_state(options.seed), dtype_policy(resolve(options.precision)):
        model = from_preset(options.preset, weights=options.weights, accept_license=options.accept_license)
    preprocessing = _resizing_of(options)
    load = partial(_load, options, preprocessing, console)
    data = load_as_recorded(load, run) if resume else load()
    data = _in_batches(data)
    recipe = plan_of(model, data, method=options.method, epochs=options.epochs, changes=options.changes)
    session = finetuning_session(
        model,
        data,
        recipe,
        run=run,
        console=console,
        options=asdict(options),
        preprocessing=preprocessing,
        callbacks=[keras.callbacks.TensorBoard(str(run.path / "tensorboard"))] if tensorboard else [],
    )
    return session.carry_out(resume=resume, force=force_resume)


def _load(
    options: FinetuningOptions,
    preprocessing: Preprocessing,
    console: Console,
    class_names: tuple[str, ...] | None = None,
) -> ImageData:
    """Loads the data, with a bar over files that are checked for the first time."""
    with file_progress(console) as on_progress:
        return data_sources.load(
            options.data,
            preprocessing=preprocessing,
            batch_size=options.batch_size,
            limit=options.limit,
            seed=options.seed,
            class_names=class_names,
            on_progress=on_progress,
        )


def _resizing_of(options: FinetuningOptions) -> Preprocessing:
    if options.preset in list_presets():
        tag = options.weights if options.weights in load_preset(options.preset).weights else None
        return preset_preprocessing(options.preset, weights=tag)
    return load_preprocessing(options.preset)


def finetuning_session(
    model: keras.Model,
    data: ImageData,
    recipe: Recipe,
    *,
    run: RunDirectory,
    console: Console,
    options: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Session:
    """Returns a run that fine-tunes, introduced on the console.

    Args:
        model: The model to begin with.
        data: What to train on.
        recipe: How.
        run: Where everything is left.
        console: Where choices and progress are shown.
        options: What `run.json` says the run was told.
        preprocessing: What brought the images to their size.
        callbacks: Beside the recipe's.
    """
    data, config = recipe.seeded(data), model_config(model)

    def build(recipe: Recipe, resuming: bool) -> keras.Model:
        return prepared(model, data, recipe, probe=not resuming)

    session = Session(
        run=run,
        data=data,
        recipe=recipe,
        record={
            "command": "finetune",
            "options": dict(options or {}),
            "precision": policy_of(model),
            "config": config.to_dict(),
            "base": digest_of(model),
            "choices": [[choice.what, choice.value, choice.reason] for choice in recipe.choices],
        },
        build=build,
        fits=recipe.method != "linear_probe",
        finish=merge_lora if recipe.method == "adapters" else lambda trained: trained,
        console=console,
        preprocessing=preprocessing,
        callbacks=tuple(callbacks),
    )
    session.introduce(f"{config.num_params:,} parameters, {config.num_macs / 1e6:,.0f} MMACs an image")
    for choice in recipe.choices:
        console.print(f"choice   {choice.what} {choice.value}: {choice.reason}", highlight=False)
    return session


def prepared(model: keras.Model, data: ImageData, recipe: Recipe, *, probe: bool = True) -> keras.Model:
    """Returns a model as `prepare` does, compiled.

    Args:
        model: The model to begin with.
        data: What it is going to be trained on.
        recipe: How.
        probe: Fits the head to the features where the recipe begins so; False where a checkpoint fills it.
    """
    student = prepare(model, recipe, data, probe=probe)
    student.compile(**recipe.compile_kwargs())
    return student


def policy_of(model: keras.Model) -> str:
    """Returns the dtype policy that a model's blocks compute in.

    Args:
        model: What `vit` made.
    """
    return str(read_model(model).blocks[0].dtype_policy.name)


def digest_of(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, names and numbers.

    Args:
        model: What `vit` made.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(weight.path.encode())
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def _data_of(model: keras.Model, train: Any, validation: Any) -> ImageData:
    """Returns the data at the model's size, in batches that are no larger than what there is."""
    config = model_config(model)
    if isinstance(train, ImageData):
        if validation is not None:
            raise InvalidArgumentError("This ImageData has a validation split already; leave validation out.")
        data = train
    else:
        source = train if validation is None else {"train": train, "validation": validation, "test": validation}
        rule = Preprocessing(image_size=config.image_size, channels=config.channels)
        data = data_sources.load(source, preprocessing=rule, batch_size=BATCH_SIZE)
        if validation is not None:
            data = replace(data, notes=(*data.notes, _JUDGED_BY_VALIDATION))
    wanted = (*config.image_size, config.channels)
    if data.image_shape != wanted:
        raise InvalidArgumentError(
            f"The images of {data.name} are {data.image_shape} and the model takes {wanted}: load them with "
            f"image_size={config.image_size}, or make the model with image_size={data.image_shape[:2]}."
        )
    return _in_batches(data)


def _in_batches(data: ImageData) -> ImageData:
    """Returns the data in batches that are no larger than what there is to train on."""
    return replace(data, batch_size=min(data.batch_size, len(data.splits["train"])))
