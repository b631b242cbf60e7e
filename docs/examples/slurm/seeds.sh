#!/usr/bin/env bash
# An array job: the seeds of a suite, each as a task on one GPU. All tasks write into one folder.
#   sbatch --array=1-3 docs/examples/slurm/seeds.sh CONFIG FOLDER
#SBATCH --job-name=noisysgd
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail
config=$1 folder=$2

# Without --gres, or on a node without a GPU: --device cpu.
noisysgd-train "$config" --output "$folder" --resume --only "seed=$SLURM_ARRAY_TASK_ID" \
  --device "${NSGD_DEVICE:-cuda}" --threads "${SLURM_CPUS_PER_TASK:-0}" --quiet &
training=$!
# Slurm sends SIGTERM two minutes before the end: the run saves its state, and the requeued task goes on from it.
trap 'kill -TERM "$training"' TERM
status=0
wait "$training" || status=$?
while kill -0 "$training" 2>/dev/null; do # the signal ended the waiting, not the run
  status=0
  wait "$training" || status=$?
done
if ((status == 143)); then # interrupted by SIGTERM, with a checkpoint
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
