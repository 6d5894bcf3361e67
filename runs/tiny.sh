#!/usr/bin/env bash
# The paper's experiment on the embedded model, from random weights: an instruct base that can see and was never asked for
# our graphs, zero-RL, SFT, SFT + RL, and the control: SFT continued for the compute of the RL stage. Annotations are as
# sparse as Visual Genome's. Every model is evaluated on 1,000 test scenes, against sparse and against complete
# annotations, with greedy decoding and with sampling.
#
#   bash runs/tiny.sh                 the main table, 3 seeds, with the curves of all runs as the paper's Fig. 2
#   bash runs/tiny.sh probe           the VQA probe of the base, SFT, and SFT + RL: 300 scenes, nine settings
#   bash runs/tiny.sh rewards         the other rewards (one seed)
#   bash runs/tiny.sh closed          the main table with prompts that list the classes and predicates
#   bash runs/tiny.sh ablations       one change of the RL recipe each (one seed)
#
# START=tiny-sft skips base and SFT and starts from the embedded checkpoints, BASE=DIR takes another base.
# After an interruption run it again: finished stages are skipped, and an interrupted one is resumed. SEEDS="0" for one.
# Base and SFT are trained by two processes, a core each (PROCESSES=1 for one); all other trainings take one core. BF16=1
# trains in bfloat16, which is faster on processors with instructions for it, and many times slower on others.
set -euo pipefail
case "${*:-main}" in
  main | probe | rewards | closed | ablations) ;;
  *) echo "runs/tiny.sh: expected nothing, probe, rewards, closed or ablations, found $*" >&2 && exit 2 ;;
esac
cd "$(dirname "$0")/.."
out=${OUT:-runs/tiny} seeds=${SEEDS:-0 1 2} scenes=${SCENES:-1000} start=${START:-} base=${BASE:-${START:+tiny-base}}
sft_steps=${SFT_STEPS:-2400} processes=${PROCESSES:-2} questions=${QUESTIONS:-20} closed_steps=${CLOSED_STEPS:-400}
zero_steps=${ZERO_STEPS:-60} rl_steps=${RL_STEPS:-60} control_steps=${CONTROL_STEPS:-480}
launch=() precision=()
[ -z "${BF16:-}" ] || precision=(--bf16 true --model_init_kwargs '{"attn_implementation": "eager"}')
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
mkdir -p "$out/predictions"
r1sgg doctor --config configs/tiny-grpo.yaml --gpus 0

# train NAME sft|grpo|zero OPTIONS...: train $out/NAME with that recipe, unless it is finished
train() {
  local folder=$out/$1 recipe=$2 resume=()
  shift 2
  [ -f "$folder/trainer_state.json" ] && return
  compgen -G "$folder/checkpoint-*" > /dev/null && resume=(--resume true)
  local stage=${recipe/zero/grpo}
  "${launch[@]}" r1sgg "${stage/base/sft}" --config "configs/tiny-$recipe.yaml" --output_dir "$folder" \
    "${precision[@]}" "$@" "${resume[@]}"
}

# measure NAME MODEL OPTIONS...: two predictions files
measure() {
  local how=(greedy sampled)
  for temperature in 0 1; do
    r1sgg generate --images "$out/test/gt.jsonl" --model "$2" --temperature $temperature --batch-size 100 \
      --max-new-tokens 200 --out "$out/predictions/$1.${how[temperature]}.jsonl" "${@:3}"
  done
}

# rl NAME grpo|zero SEED MODEL OPTIONS...
rl() {
  local steps=$rl_steps
  [ "$2" = zero ] && steps=$zero_steps
  train "$1" "$2" --seed "$3" --data "scenes:200000,seed=$((10 + $3)),annotation=vg" --model "$4" \
    --max_steps "$steps" "${@:5}"
  measure "$1" "$out/$1"
}

[ -f "$out/test/full.jsonl" ] ||
  r1sgg data scenes --annotation vg --count "$scenes" --seed 1 --split test --out "$out/test"

# graphs SEED: the data of SFT. The base has seen the scenes of SFT, with its own questions; the control's are new. A share of
# questions keeps the model answering those, in the control as in the SFT before it.
graphs() { echo "scenes:200000,seed=$1,annotation=vg,questions=$questions"; }

# more NAME MODEL STEPS SEED OPTIONS...: SFT from a model
more() { train "$1" sft --model "$2" --max_steps "$3" --data "$(graphs "$4")" "${@:5}"; }

if [ "$processes" -gt 1 ]; then
  launch=(env ACCELERATE_USE_CPU=true torchrun --nproc_per_node "$processes" --no-python)
fi
together=(--use_cpu true --per_device_train_batch_size $((32 / processes)))
if [ -z "$base" ]; then
  [ -d "$out/random" ] || r1sgg tiny --out "$out/random" --seed 0 --vision-steps "${VISION_STEPS:-3000}"
  train base base --model "$out/random" "${together[@]}"
  base=$out/base
fi
sft=$start
if [ -z "$sft" ]; then
  train sft sft --model "$base" --max_steps "$sft_steps" --data "$(graphs 1)" "${together[@]}"
  sft=$out/sft
fi
launch=()

# stages PREFIX SFT OPTIONS...: train and evaluate all stages for each seed, from the base and from the SFT model
stages() {
  for seed in $seeds; do
    rl "$1zero-rl-guided-s$seed" zero "$seed" "$base" "${@:3}"
    rl "$1zero-rl-s$seed" zero "$seed" "$out/$1zero-rl-guided-s$seed" --guide false --guide_share 1 "${@:3}"
    rl "$1sft-rl-s$seed" grpo "$seed" "$2" "${@:3}"
    rl "$1sft-rl-balanced-s$seed" grpo "$seed" "$2" --rewards balanced --beta 0.1 "${@:3}"
    more "$1control-s$seed" "$2" "$control_steps" $((20 + seed)) --seed "$seed" --learning_rate 3e-4 "${@:3}"
    measure "$1control-s$seed" "$out/$1control-s$seed"
  done
}

main() {
  measure baseline "$base"
  measure sft "$sft"
  stages "" "$sft"
  local runs=()
  [ -d "$out/sft" ] && runs+=(--runs "$out/sft")
  for run in "$out"/{zero-rl-guided,zero-rl,sft-rl,sft-rl-balanced,control}-s[0-9]*/; do runs+=(--runs "$run"); done
  r1sgg report "${runs[@]}" --title "The small experiment" --figure "$out/curves.svg" --out "$out/curves.html"
}

probe() {
  [ -f "$out/probed/gt.jsonl" ] || r1sgg data scenes --count 300 --seed 2 --split test --out "$out/probed"
  local names=(base sft) models=("$base" "$sft") k
  for seed in $seeds; do
    [ -d "$out/sft-rl-s$seed" ] || continue
    names+=("sft-rl-s$seed") models+=("$out/sft-rl-s$seed")
  done
  for k in "${!names[@]}"; do
    r1sgg probe --ground-truth "$out/probed/gt.jsonl" --model "${models[k]}" --batch-size 32 --out "$out/probes/${names[k]}"
  done
  r1sgg probe --table "${names[@]/#/$out/probes/}" --out "$out/probes"
}

rewards() {
  rl ablate-mixed-s0 grpo 0 "$sft" \
    --rewards '{"format": 1, "node": 1, "edge": 3, "hard_recall": 3, "distinct": 1}'
  rl ablate-soft-s0 grpo 0 "$sft" --rewards paper-v1
  rl ablate-soft-120-s0 grpo 0 "$sft" --rewards paper-v1 --max_steps $((2 * rl_steps))
  rl ablate-old-balanced-s0 grpo 0 "$sft" --beta 0.1 \
    --rewards '{"format": 0.5, "node": 0.5, "edge_f1": 1, "distinct": 0.1}'
}

closed() {
  local listed=(--vocabulary configs/tiny-vocabulary.json)
  measure closed-baseline "$base" --prompt closed "${listed[@]}"
  more closed-sft "$sft" "$closed_steps" 4 --learning_rate 3e-4 "${listed[@]}"
  measure closed-sft "$out/closed-sft"
  stages closed- "$out/closed-sft" "${listed[@]}"
}

ablations() {
  rl ablate-hard-relax-s0 grpo 0 "$sft" --rewards '{"format": 1, "hard_recall": 5, "hard_recall_relax": 5}'
  rl ablate-hard-precision-s0 grpo 0 "$sft" --rewards '{"format": 1, "hard_recall": 5, "precision": 2}'
  rl ablate-no-kl-s0 grpo 0 "$sft" --beta 0
  rl ablate-group-4-s0 grpo 0 "$sft" --num_generations 4
  rl ablate-group-16-s0 grpo 0 "$sft" --num_generations 16
  rl ablate-dapo-s0 grpo 0 "$sft" --loss_type dapo
  rl ablate-gspo-s0 grpo 0 "$sft" --loss_type grpo --importance_sampling_level sequence
  rl ablate-completions-s0 grpo 0 "$sft" --per_device_train_batch_size 256 --max_steps $((rl_steps / 2))
  rl ablate-vision-s0 grpo 0 "$sft" --freeze_vision false
  rl ablate-constant-s0 grpo 0 "$sft" --lr_scheduler_type constant_with_warmup --learning_rate 1e-4
}

"${1:-main}"
[ "${1:-main}" = probe ] || python benchmarks/tiny.py "$out" --json "$out/table.json"
