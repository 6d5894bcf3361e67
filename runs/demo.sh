#!/usr/bin/env bash
# The paper's path in miniature, on a laptop:
# scenes -> instruct base -> SFT -> GRPO, every stage measured on the same held-out scenes, greedy and sampled.
#
#   make demo                  writes demo/report.html and demo/results.json
#   DEMO=short make demo       fewer images and steps, for continuous integration
#
# Hardware, time and result: see the table in README.md, which this script made.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${DEMO:-full}" = short ]; then
  images=200 sft_steps=40 grpo_steps=4
else
  images=1000 sft_steps=150 grpo_steps=20
fi
out=demo
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
say() { printf '\n== %s  [%d s]\n' "$*" "$SECONDS"; }

say "1/6 scenes with known graphs: $images to test on; training scenes are drawn as they are needed"
rm -rf "$out" && mkdir -p "$out/predictions"
r1sgg data scenes --preset small --count "$images" --seed 1 --split test --out "$out/test"

# Two predictions files of one model: greedy, and sampled at temperature 1 as GRPO does. One process on each core.
answer() {
  local name=$1 model=$2
  for how in greedy sampled; do
    OMP_NUM_THREADS=1 r1sgg generate --ground-truth "$out/test/gt.jsonl" --model "$model" --batch-size 100 \
      --max-new-tokens 200 --temperature "$([ $how = greedy ] && echo 0 || echo 1)" \
      --out "$out/predictions/$name-$how.jsonl" &
  done
  wait -n && wait -n
}

say "2/6 baseline: an instruct model that was never shown our prompt"
answer baseline tiny-base

say "3/6 SFT: $sft_steps steps"
r1sgg sft --config configs/tiny-sft.yaml --max_steps "$sft_steps" --output_dir "$out/sft"
answer sft "$out/sft"

say "4/6 GRPO: $grpo_steps steps"
r1sgg grpo --config configs/tiny-grpo.yaml --model "$out/sft" --max_steps "$grpo_steps" --output_dir "$out/grpo"
answer sft-grpo "$out/grpo"

say "5/6 evaluation and report"
cd "$out/predictions"
r1sgg report baseline-greedy.jsonl sft-greedy.jsonl sft-grpo-greedy.jsonl \
  baseline-sampled.jsonl sft-sampled.jsonl sft-grpo-sampled.jsonl \
  --ground-truth ../test/gt.jsonl --runs ../sft --runs ../grpo --title "r1sgg demo" \
  --json ../results.json --out ../report.html
cd ../..

say "6/6 one picture"
r1sgg predict "$out/test/images/$(ls "$out/test/images" | head -1)" --model "$out/grpo" --out "$out/predict"

say "done: open $out/report.html"
