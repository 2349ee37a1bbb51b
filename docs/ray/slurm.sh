#!/bin/bash
# sbatch slurm.sh: a search on all GPUs of four nodes, in a run directory that all of them see.
#SBATCH --job-name=hwnas
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=24:00:00

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
out=runs/slurm
executor='{type: ray, address: auto, gpus: 1}'

# Submitted again, the job goes on where the time limit has ended it.
if [ -e "$out" ]; then
    command=(hwnas resume "$out" --executor "$executor")
else
    command=(hwnas run experiment.yaml --out "$out" --executor "$executor")
fi
# Starts Ray on every node, runs the command on the first and stops Ray; needs Ray 2.49.
srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_NNODES" -- "${command[@]}"
