#!/usr/bin/env bash
# Prints the table of all runs when they are finished: makes what is missing, which is nothing after a complete array.
#   sbatch --dependency=afterok:JOB docs/examples/slurm/table.sh FOLDER
#SBATCH --job-name=noisysgd-table
#SBATCH --cpus-per-task=1
#SBATCH --time=00:10:00
set -euo pipefail
noisysgd-train "$1" --resume --device cpu
