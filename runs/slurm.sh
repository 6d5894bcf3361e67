#!/usr/bin/env bash
# Training on several machines: SLURM starts one torchrun per machine. Submit it with the r1sgg command:
#
#   sbatch --nodes 4 runs/slurm.sh sft --config configs/vg150-sft.yaml --output_dir runs/vg150/sft
#   sbatch --nodes 4 runs/slurm.sh grpo --config configs/vg150-grpo.yaml --model runs/vg150/sft --output_dir runs/vg150/rl
#
# When SLURM restarts the job (--requeue), it resumes from its last checkpoint, so a time limit costs only the steps since
# then. The batch size is the same for any number of GPUs (global_batch_size). To shard the weights of 7B models, set
# ACCELERATE=configs/accelerate/fsdp2.yaml (or zero2.yaml, zero3.yaml).
#
# Without SLURM, on each of N machines, with RANK from 0 to N - 1 and HEAD the name of the first machine:
#
#   torchrun --nnodes N --node_rank RANK --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HEAD:29500 \
#       --no-python r1sgg sft --config configs/vg150-sft.yaml --output_dir runs/vg150/sft
#
# A vLLM server on a separate machine (then train with --vllm_mode server --vllm_server_host ITS_NAME):
#
#   python -m r1sgg.inference.vllm_server runs/vg150/sft --rollouts --dtype bfloat16 --max-pixels 401408 \
#       --host 0.0.0.0 --max-model-len 4096
#
# Hardware, time and result: not yet run.
#SBATCH --job-name=r1sgg
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.out
set -euo pipefail
export HEAD PORT=$((20000 + SLURM_JOB_ID % 20000)) CARDS=${SLURM_GPUS_PER_NODE:-4} OMP_NUM_THREADS=8
way=ddp
case ${ACCELERATE:-} in *fsdp2*) way=fsdp2 ;; *zero2*) way=zero2 ;; *zero3*) way=zero3 ;; esac
r1sgg doctor --gpus $((SLURM_NNODES * CARDS)) --launch $way "${@:2}" # stops here if the run cannot fit
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

# SLURM_NODEID differs between machines, so it is expanded there
if [ -n "${ACCELERATE:-}" ]; then
  srun bash -c 'exec accelerate launch --config_file "$ACCELERATE" --num_machines "$SLURM_NNODES" \
    --num_processes $((SLURM_NNODES * CARDS)) --machine_rank "$SLURM_NODEID" --main_process_ip "$HEAD" \
    --main_process_port "$PORT" --no_python r1sgg "$@" --requeue' r1sgg "$@"
else
  srun bash -c 'exec torchrun --nnodes "$SLURM_NNODES" --node_rank "$SLURM_NODEID" --nproc_per_node "$CARDS" \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$HEAD:$PORT" --no-python r1sgg "$@" --requeue' \
    r1sgg "$@"
fi
