#!/bin/bash
# Four nodes with eight GPUs each, one process per GPU: sbatch examples/scale/slurm.sh
# After a time limit or a lost node, the same command resumes the run (exit code 75).
#SBATCH --job-name=vit-keras
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=12
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue

export KERAS_BACKEND=jax
run=/shared/runs/photos
resume=()
if [ -f "$run/run.json" ]; then
    resume=(--resume)
fi
srun --kill-on-bad-exit=1 vit-keras finetune vit_base_patch16_224 /shared/photos --weights augreg_in21k \
    --batch-size 1024 --run-dir "$run" "${resume[@]}"
