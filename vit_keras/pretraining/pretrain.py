"""`pretrain`: trains an encoder on images without labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
from rich.console import Console

from vit_keras.config import ViTConfig
from vit_keras.data import ImageData, Preprocessing, ReadOptions, load_unlabeled
from vit_keras.data.scan.progress import file_progress
from vit_keras.data.tasks import describe_count
from vit_keras.distributed.arguments import Distribution
from vit_keras.distributed.devices import chief_console, devices_in_use, run_on
from vit_keras.errors import ClusterError, InvalidArgumentError
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model
from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.methods import Method, find_method
from vit_keras.pretraining.recipe import PretrainingRecipe, plan_pretraining
from vit_keras.pretraining.session import PretrainingResult, PretrainingSession, copy_encoder
from vit_keras.reporting.progress import standard_console
from vit_keras.runtime.precision import dtype_policy
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations
from vit_keras.training.model_run import digest_model, find_preprocessing, list_callbacks, open_run
from vit_keras.training.recipes.recipe import Choice
from vit_keras.training.run_inputs import RunOptions, find_word, open_base
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.load_model import OpenModel, open_model

BATCH_SIZE = 128
_SMALLEST_SIDE = 8  # px, as for all image files
_MOST_UNUSABLE = 0.5  # of the files: they are listed, and without labels none is missed


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions(RunOptions):
    """The options that define the result of a pre-training run, which `run.json` keeps.

    Args:
        teacher: The word that names the teacher.
    """

    teacher: str | None = None


def pretrain(
    model: keras.Model | str | Path,
    images: Any,
    *,
    method: str = "mae",
    epochs: int | None = None,
    teacher: keras.Model | str | Path | None = None,
    weights: str | Path | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    precision: str = "auto",
    accept_license: bool = False,
    offline: bool | None = None,
    devices: int | Literal["auto"] = "auto",
    distribution: Distribution = "data",
    run_dir: str | Path | None = None,
    resume: bool = False,
    force_resume: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
    **changes: Any,
) -> PretrainingResult:
    """Pre-trains a copy of a model on images without labels, and writes the encoder, metrics and a report to a run directory.

    `RUN/model` is a preset directory without a head: `finetune(RUN, data)`, `from_preset(RUN, num_classes=...)`, `evaluate_features(RUN, data)`
    and all else take the run directory as any other model. A run that was killed at any moment can be resumed with the same call and
    `resume=True`; on a CPU with TensorFlow or JAX, the result is the same bit for bit.

    Labels are not needed. Where all images have them, they only measure the features while they are learned, by kNN accuracy.

    Args:
        model: A preset's name for random weights, `NAME:TAG` to go on from a preset's weights, a run or preset directory, a `.keras` file,
            or a model of this library. A head is left out.
        images: What `vk.data.load_unlabeled` takes, such as a folder of images at any depth, a list of folders, or an array. One image in
            20, at most 1,000, is held out to validate the loss.
        method: "mae", masked autoencoder; more in `vit-keras recipes`.
        epochs: Training epochs; None to choose by the number of images.
        teacher: Of methods that learn from one: the model whose features are learned, as for `model`.
        weights: For a preset's name: a tag of its weights, or the path of a checkpoint.
        batch_size: Images per batch; None for up to 128, as few as the number of images needs.
        limit: Maximum number of training images.
        seed: Random seed of the weights, the order, augmentation, and what the method draws; None for 0, or that of an `ImageData`.
        image_dir: Of a table, as for `vk.data.load`, as the next four are.
        image_column: Name of the column of image files.
        label_column: Name of the column of labels, or several names.
        label_separator: What stands between several class names in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        precision: As for `finetune`.
        accept_license: As for `finetune`.
        offline: As for `finetune`.
        devices: As for `finetune`.
        distribution: As for `finetune`.
        run_dir: A folder that does not exist; by default the first free `runs/pretrain-NAME-1`, `runs/pretrain-NAME-2`, ....
        resume: Whether to resume the interrupted run in `run_dir`.
        force_resume: Whether to resume under other versions, which may change the last digits of the result.
        tensorboard: Whether to write TensorBoard logs to the run directory.
        callbacks: Keras callbacks in addition to the run's.
        console: Where choices and progress are printed; None for stdout.
        **changes: Fields of `PretrainingRecipe` or options of the method, such as `mask_ratio=0.6`, to use instead of the recipe's.

    Raises:
        VitKerasError: Something was refused, before training.
        TrainingDivergedError: The loss became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    prefer_parallel_operations()
    with run_on(devices, distribution):
        console = chief_console(console or standard_console())
        chosen = find_method(method)
        check_teacher(chosen, teacher)
        _check_devices(chosen)
        options = PretrainingOptions(
            model=find_word(model),
            data=_find_words(images),
            weights=None if weights is None else str(weights),
            method=method,
            teacher=find_word(teacher),
            epochs=epochs,
            batch_size=batch_size,
            limit=limit,
            seed=seed,
            image_dir=image_dir,
            image_column=image_column,
            label_column=label_column,
            label_separator=label_separator,
            contained=contained,
            precision=precision,
            accept_license=accept_license,
            changes=changes,
        )
        run = open_run(run_dir, images, options, resume=resume, prefix="pretrain-")
        base = open_base(model, options, offline=offline)
        data = _load(images, options, base.preprocessing, model_config(base.model), console)
        session = _plan(
            base,
            data,
            chosen,
            _open_teacher(teacher, options, offline=offline),
            options=options,
            run=run,
            console=console,
            callbacks=list_callbacks(callbacks, run, tensorboard=tensorboard),
        )
        return session.execute(resume=resume, force=force_resume)


def check_teacher(method: Method, teacher: object) -> None:
    """Raises `InvalidArgumentError` where a method lacks its teacher, or takes none."""
    if method.needs_teacher and teacher is None:
        raise InvalidArgumentError(
            f"method={method.name!r} learns the features of a teacher: pass teacher=..., such as a preset's NAME:TAG or a model."
        )
    if not method.needs_teacher and teacher is not None:
        raise InvalidArgumentError(
            f"method={method.name!r} has no teacher: leave out teacher=..., or choose another method."
        )


def _check_devices(method: Method) -> None:
    """Raises `ClusterError` where the loss of a method would be another on several devices."""
    devices = devices_in_use()
    if method.compares_images and devices.count > 1 and keras.backend.backend() == "tensorflow":
        raise ClusterError(
            f"method={method.name!r} compares the images of a batch with each other, and on TensorFlow each of the {devices.count} devices "
            "sees only its own: set KERAS_BACKEND=jax, where all see the batch, or use devices=1."
        )


def _open_teacher(
    teacher: keras.Model | str | Path | None, options: PretrainingOptions, *, offline: bool | None
) -> keras.Model | None:
    if teacher is None or isinstance(teacher, keras.Model):
        return teacher
    with dtype_policy(options.policy):
        return open_model(teacher, accept_license=options.accept_license, offline=offline).model


def _find_words(images: Any) -> str | list[str] | None:
    """Returns the words that name the images again; None for objects."""
    if isinstance(images, list | tuple) and images:
        words = [find_word(each) for each in images]
        return None if None in words else [str(word) for word in words]
    return find_word(images)


def _load(
    images: Any, options: PretrainingOptions, preprocessing: Preprocessing, config: ViTConfig, console: Console
) -> ImageData:
    seed = options.seed if options.seed is not None else images.seed if isinstance(images, ImageData) else 0
    with file_progress(console) as on_progress:  # while files are checked for the first time
        data = load_unlabeled(
            images,
            preprocessing=preprocessing,
            batch_size=options.batch_size,
            limit=options.limit,
            seed=seed,
            reading=ReadOptions(min_side=max(_SMALLEST_SIDE, config.patch_size), max_error_rate=_MOST_UNUSABLE),
            on_progress=on_progress,
            **options.load_keywords,
        )
    if options.batch_size is None:
        data = data.fit_batch_size(BATCH_SIZE)
        return replace(data, batch_size=devices_in_use().fit_batch(data.batch_size))
    return replace(data, batch_size=min(data.batch_size, len(data.splits["train"])))


def _plan(
    base: OpenModel,
    data: ImageData,
    method: Method,
    teacher: keras.Model | None,
    *,
    options: PretrainingOptions,
    run: RunDirectory,
    console: Console,
    callbacks: Sequence[keras.callbacks.Callback],
) -> PretrainingSession:
    """Returns the run, after printing its plan."""
    config = model_config(base.model)
    recipe, choices = plan_pretraining(
        method,
        images=len(data.splits["train"]),
        batch_size=data.batch_size,
        steps_per_epoch=data.steps_per_epoch,
        hidden_dim=config.hidden_dim,
        epochs=options.epochs,
        changes={**options.changes, "seed": data.seed},
    )

    def make_objective(encoder: keras.Model, adapted: PretrainingRecipe) -> PretrainingModel:
        return method.make(encoder, options=adapted.options, seed=adapted.seed, teacher=teacher)

    with random_state(data.seed):  # so that what the method refuses is refused before there is a run directory
        about = make_objective(copy_encoder(base.model), recipe).describe()
    choices = (*choices, *_explain_start(options))
    session = PretrainingSession(
        run=run,
        data=data,
        recipe=recipe,
        record={
            "command": "pretrain",
            "options": options.to_dict(),
            "precision": str(read_model(base.model).blocks[0].dtype_policy.name),
            "config": config.to_dict(),
            "base": digest_model(base.model),
            "choices": [[choice.what, choice.value, choice.reason] for choice in choices],
            "about": about,
            **({} if teacher is None else {"teacher": digest_model(teacher)}),
        },
        base=base.model,
        make_objective=make_objective,
        preprocessing=find_preprocessing(data, config, None if options.model is None else base.preprocessing),
        console=console,
        callbacks=tuple(callbacks),
    )
    name = "" if options.model is None else f"{options.model}: "
    session.print_plan(
        f"{name}{config.num_params:,} parameters, {config.num_macs / 1e6:,.0f} MMACs per image",
        images=describe_count(data.task, len(data.class_names)),
    )
    return session


def _explain_start(options: PretrainingOptions) -> tuple[Choice, ...]:
    """Returns which weights the run starts from."""
    if options.model is None:
        return ()
    found = find_model(options.model)
    tag = options.weights or found.tag
    if found.path is not None:
        return (Choice("weights", str(found.path), "pre-training goes on from these"),)
    if tag is not None:
        return (Choice("weights", tag, "pre-training goes on from these pretrained weights"),)
    return (Choice("weights", "random", "the preset's name without a tag"),)
