#!/usr/bin/env bash
# Learning from captions in miniature: SFT on graphs that rules make of captions of drawn scenes, then RL with a reward of
# recall (paper-v1), an F1 (balanced) and the positive-unlabelled F1 (sparse), beside SFT on an annotation like Visual
# Genome's. Every model is evaluated on test scenes against their complete graphs, with greedy decoding.
#
#   bash runs/captions.sh             3 seeds, from tiny-base
#   bash runs/captions.sh --short     from tiny-sft, a few hundred steps, 300 test scenes
#
# SEEDS="0" runs one seed. After an interruption run it again: finished stages are skipped, an interrupted one is resumed.
# Hardware, time and result: docs/captions.md.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/captions} seeds=${SEEDS:-0 1 2} start=tiny-base
scenes=1000 sft_steps=4600 rl_steps=60 rate=8.0e-4
if [ "${1:-}" = --short ]; then
  start=tiny-sft scenes=300 sft_steps=200 rl_steps=20 rate=3.0e-4
elif [ $# -gt 0 ]; then
  echo "runs/captions.sh: expected nothing or --short, found $1" >&2 && exit 2
fi
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
mkdir -p "$out/predictions"

# scenes ANNOTATION SEED: drawn scenes for training, as --data takes them
scenes() { echo "scenes:200000,seed=$2,preset=small,annotation=$1"; }

# train NAME sft|grpo OPTIONS...: train $out/NAME with that recipe, unless it is finished
train() {
  local folder=$out/$1 recipe=$2 resume=()
  shift 2
  [ -f "$folder/trainer_state.json" ] && return
  compgen -G "$folder/checkpoint-*" > /dev/null && resume=(--resume true)
  r1sgg "$recipe" --config "configs/tiny-$recipe.yaml" --output_dir "$folder" --save_steps 20 --validate_steps 100000 "$@" \
    "${resume[@]}"
}

# measure NAME: greedy answers of $out/NAME
measure() {
  r1sgg generate --images "$out/test/gt.jsonl" --model "$out/$1" --batch-size 100 --max-new-tokens 200 \
    --out "$out/predictions/$1.greedy.jsonl"
}

[ -f "$out/test/full.jsonl" ] ||
  r1sgg data scenes --annotation vg --count "$scenes" --seed 1 --split test --out "$out/test"
[ -f "$out/route/full.jsonl" ] ||
  r1sgg data scenes --annotation captions --count "$scenes" --seed 30 --out "$out/route"
r1sgg data stats --data "$out/route/gt.jsonl" --against "$out/route/full.jsonl" --json "$out/route/stats.json" --top 5

for seed in $seeds; do
  for annotation in captions vg; do
    train "$annotation-sft-s$seed" sft --model "$start" --max_steps "$sft_steps" --learning_rate "$rate" --seed "$seed" \
      --data "$(scenes $annotation $((30 + seed)))"
    measure "$annotation-sft-s$seed"
  done
  for rewards in paper-v1 balanced sparse; do
    train "captions-rl-$rewards-s$seed" grpo --model "$out/captions-sft-s$seed" --max_steps "$rl_steps" --seed "$seed" \
      --data "$(scenes captions $((40 + seed)))" --rewards "$rewards"
    measure "captions-rl-$rewards-s$seed"
  done
done
python benchmarks/tiny.py "$out" --json "$out/table.json"
