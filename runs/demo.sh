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
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
say() { printf '\n== %s  [%d s]\n' "$*" "$SECONDS"; }

# Two predictions files of one model: greedy, and sampled at temperature 1 as GRPO does.
answer() {
  local name=$1 model=$2
  for temperature in 0 1; do
    r1sgg generate --ground-truth "$out/test/gt.jsonl" --model "$model" --batch-size 100 --max-new-tokens 200 \
      --temperature $temperature --out "$out/predictions/$name-$([ $temperature = 0 ] && echo greedy || echo sampled).jsonl"
  done
}

# One core trains while the other measures the stage before.
measure() { answer "$@" > "$out/predictions/$1.log" 2>&1; }
join() { wait "$1" || { cat "$2"; exit 1; }; }

say "1/5 scenes with known graphs: $images to test on; training scenes are drawn as they are needed"
rm -rf "$out" && mkdir -p "$out/predictions"
r1sgg data scenes --preset small --count "$images" --seed 1 --split test --out "$out/test"

say "2/5 SFT, $sft_steps steps; meanwhile the baseline answers: an instruct model that never saw our prompt"
measure baseline tiny-base & baseline=$!
r1sgg sft --config configs/tiny-sft.yaml --max_steps "$sft_steps" --validate_steps 50 --output_dir "$out/sft"
join $baseline "$out/predictions/baseline.log"

say "3/5 GRPO, $grpo_steps steps; meanwhile the SFT model answers"
measure sft "$out/sft" & sft=$!
r1sgg grpo --config configs/tiny-grpo.yaml --model "$out/sft" --max_steps "$grpo_steps" --output_dir "$out/grpo"
join $sft "$out/predictions/sft.log"

say "4/5 the GRPO model answers"
answer sft-grpo "$out/grpo"

say "5/5 evaluation, report and one picture"
for how in greedy sampled; do
  for stage in baseline sft sft-grpo; do files+=("$out/predictions/$stage-$how.jsonl"); done
done
r1sgg report "${files[@]}" --ground-truth "$out/test/gt.jsonl" --runs "$out/sft" --runs "$out/grpo" \
  --title "r1sgg demo" --json "$out/results.json" --out "$out/report.html"
pictures=("$out"/test/images/*.png)
r1sgg predict "${pictures[0]}" --model "$out/grpo" --out "$out/predict"

say "done: open $out/report.html"
