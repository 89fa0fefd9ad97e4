"""The files in `examples/scale`: their commands and variables are ones that the program knows."""

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import typer

import vit_keras as vk
from vit_keras.cli.main import build_app
from vit_keras.distributed.launchers import find_cluster

SCALE = Path(__file__).parents[1] / "examples" / "scale"
FILES = sorted(path for path in SCALE.iterdir() if path.suffix in (".sh", ".yaml"))

pytestmark = pytest.mark.any_backend


def words_of(text):
    """The command line in a file: of JobSet, the lists `command` and `args`."""
    text = text.replace("\\\n", " ")
    if "apiVersion" in text:
        lists = re.findall(r"(?:command|args): \[(.*)\]", text)
        return [word.strip().strip('"') for part in lists for word in part.split(",")]
    (line,) = [line for line in text.splitlines() if "vit-keras finetune" in line]
    words = [word for word in shlex.split(line) if word != "${resume[@]}"]
    return words[words.index("vit-keras") :]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_command_and_its_options_exist(path):
    program, name, *words = words_of(path.read_text("utf-8"))
    assert (program, name) == ("vit-keras", "finetune")
    command = typer.main.get_command(build_app()).get_command(None, name)
    context = command.make_context(name, words, resilient_parsing=False)
    assert context.params["model"] == "vit_base_patch16_224"
    assert context.params["batch_size"] == 1024
    assert context.params["run_dir"] is not None  # the processes have to agree on one


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_its_variables_describe_a_launch(path):
    text = path.read_text("utf-8")
    names = sorted(set(re.findall(r"KERAS_DISTRIBUTION_\w+", text)))
    values = dict(zip(names, ("node-0:1234", "4", "3"), strict=True))  # addresses, number, id
    cluster = find_cluster(values)
    assert (cluster.coordinator, cluster.num_processes, cluster.process_id) == ("node-0:1234", 4, 3)
    assert re.search(r"KERAS_BACKEND\W+(value: )?jax", text)


def test_the_slurm_script_is_a_shell_script_that_asks_for_a_process_per_gpu():
    path = SCALE / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    options = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", path.read_text("utf-8")))
    assert options["gpus-per-task"] == "1"
    assert options["signal"] == "TERM@120"  # time to save before the limit


class JaxTrainer:
    """Ray's, as its documentation and its source have it; it runs the loop here, once for each worker, as Ray does in their processes."""

    def __init__(
        self,
        train_loop_per_worker,
        *,
        train_loop_config=None,
        jax_config=None,
        scaling_config=None,
        dataset_config=None,
        run_config=None,
        datasets=None,
        validation_config=None,
    ):
        self.loop, self.config, self.workers = train_loop_per_worker, train_loop_config, scaling_config.num_workers
        self.made.append((scaling_config, run_config))

    def fit(self):
        for _ in range(self.workers):
            self.loop(self.config)


def ScalingConfig(*, num_workers, use_gpu=False, resources_per_worker=None):  # noqa: N802
    return SimpleNamespace(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources_per_worker)


def RunConfig(*, name=None, worker_runtime_env=None):  # noqa: N802
    return SimpleNamespace(name=name, worker_runtime_env=worker_runtime_env)


@pytest.fixture
def ray_train(monkeypatch, tmp_path):
    """The example, with a package `ray` that has what it uses, and the calls of `finetune`."""
    modules = {name: ModuleType(name) for name in ("ray", "ray.train", "ray.train.v2", "ray.train.v2.jax")}
    modules["ray.train"].RunConfig, modules["ray.train"].ScalingConfig = RunConfig, ScalingConfig
    modules["ray.train.v2.jax"].JaxTrainer = JaxTrainer
    monkeypatch.setattr(JaxTrainer, "made", [], raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    joined = SimpleNamespace(count=4)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(process_count=lambda: joined.count))
    calls, signature = [], inspect.signature(vk.finetune)
    monkeypatch.setattr(vk, "finetune", lambda *args, **kwargs: calls.append(signature.bind(*args, **kwargs).arguments))
    spec = importlib.util.spec_from_file_location("ray_train", SCALE / "ray_train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    return SimpleNamespace(module=module, calls=calls, made=JaxTrainer.made, joined=joined)


def test_ray_train_fine_tunes_in_each_worker_and_resumes(ray_train):
    ray_train.module.main()
    ((scaling, run),) = ray_train.made
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (4, True, {"GPU": 8})
    assert run.worker_runtime_env == {"env_vars": {"KERAS_BACKEND": "jax"}}
    assert len(ray_train.calls) == 4
    assert all(call == ray_train.calls[0] for call in ray_train.calls)
    assert ray_train.calls[0]["resume"] is False
    assert ray_train.calls[0]["batch_size"] % (scaling.num_workers * scaling.resources_per_worker["GPU"]) == 0
    ray_train.module.RUN.mkdir()
    (ray_train.module.RUN / "run.json").write_text("{}")
    ray_train.module.main()
    assert ray_train.calls[-1]["resume"] is True
    assert ray_train.calls[-1]["run_dir"] == os.fspath(ray_train.module.RUN)


def test_ray_train_refuses_processes_that_ray_did_not_join(ray_train):
    ray_train.joined.count = 1
    with pytest.raises(RuntimeError, match="Ray joined 1 of 4 processes"):
        ray_train.module.main()
    assert not ray_train.calls


@pytest.mark.slow
def test_ray_train_uses_what_the_installed_ray_has(monkeypatch):
    pytest.importorskip("ray.train.v2.jax")
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.jax import JaxTrainer

    names = inspect.signature(JaxTrainer.__init__).parameters
    assert {"train_loop_per_worker", "train_loop_config", "scaling_config", "run_config"} <= names.keys()
    assert {"num_workers", "use_gpu", "resources_per_worker"} <= inspect.signature(ScalingConfig).parameters.keys()
    assert {"name", "worker_runtime_env"} <= inspect.signature(RunConfig).parameters.keys()
