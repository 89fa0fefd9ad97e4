"""Fine-tunes on four machines with eight GPUs each of a Ray cluster, one process per machine.

    python examples/scale/ray_train.py

Ray's JaxTrainer (2.60) starts the processes and joins them. /shared must be one folder for all machines. To resume, run it again.
"""

from pathlib import Path

from ray.train import RunConfig, ScalingConfig
from ray.train.v2.jax import JaxTrainer

WORKERS, GPUS_EACH = 4, 8
RUN = Path("/shared/runs/photos")


def train(config: dict) -> None:
    """Fine-tunes in one of the processes."""
    import jax

    import vit_keras as vk

    if jax.process_count() != config["workers"]:
        raise RuntimeError(
            f"Ray joined {jax.process_count()} of {config['workers']} processes: this version joins TPUs only."
        )
    vk.finetune(
        "vit_base_patch16_224",
        "/shared/photos",
        weights="augreg_in21k",
        batch_size=1024,
        run_dir=config["run_dir"],
        resume=config["resume"],
    )


def main() -> None:
    """Starts the processes, and waits for the last."""
    JaxTrainer(
        train,
        train_loop_config={"workers": WORKERS, "run_dir": str(RUN), "resume": (RUN / "run.json").is_file()},
        scaling_config=ScalingConfig(num_workers=WORKERS, use_gpu=True, resources_per_worker={"GPU": GPUS_EACH}),
        run_config=RunConfig(name="photos", worker_runtime_env={"env_vars": {"KERAS_BACKEND": "jax"}}),
    ).fit()


if __name__ == "__main__":
    main()
