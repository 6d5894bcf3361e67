#!/usr/bin/env bash
# The paper's experiment in miniature, on a laptop: what fails, what SFT repairs, and what RL adds to more of the same SFT.
# Training scenes are annotated as sparsely as Visual Genome; every stage is measured on the same held-out scenes against
# their whole truth, greedy and sampled.
#
#   make demo                  writes demo/report.html, demo/results.json and demo/table.json
#   DEMO=short make demo       fewer images and steps, for continuous integration
#
# The long SFT that RL needs as its start ships as tiny-sft; the stages are runs/tiny.sh, shortened.
# Hardware, time and result: README.md; the long experiment: docs/tiny.md.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${DEMO:-full}" = short ]; then
  images=100 sft_steps=20 rl_steps=2 control_steps=20
else
  images=500 sft_steps=100 rl_steps=12 control_steps=120
fi
out=demo
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
say() { printf '\n== %s  [%d s]\n' "$*" "$SECONDS"; }

# Two predictions files of one model: greedy, and sampled at temperature 1 as GRPO does.
answer() {
  local how=(greedy sampled)
  for temperature in 0 1; do
    r1sgg generate --images "$out/test/gt.jsonl" --model "$2" --batch-size 100 --max-new-tokens 160 \
      --temperature $temperature --out "$out/predictions/$1.${how[temperature]}.jsonl"
  done
}

# One core trains while the other does this.
beside() { "$@" > "$out/$1-$2.log" 2>&1; }
join() { wait "$1" || { cat "$2"; exit 1; }; }
train() { r1sgg "${2/zero/grpo}" --config "configs/tiny-$2.yaml" --output_dir "$out/$1" --validate_steps 0 --validate_images 100 --save_strategy no "${@:3}"; }
rl() { train "$1" "$2" --model "$3" --max_steps $rl_steps --seed 0; }

say "1/5 $images scenes to test on, annotated as Visual Genome is; training scenes are drawn as they are needed"
rm -rf "$out" && mkdir -p "$out/predictions"
r1sgg data scenes --preset small --annotation vg --count "$images" --seed 1 --split test --out "$out/test"

say "2/5 zero-RL, $rl_steps steps from the instruct base; meanwhile SFT, $sft_steps steps from the same base"
beside train sft sft --model tiny-base --max_steps $sft_steps & other=$!
rl zero-rl zero tiny-base
join $other "$out/train-sft.log"

say "3/5 SFT + RL, $rl_steps steps from the long SFT (tiny-sft); meanwhile the control: as much more SFT, $control_steps steps"
beside train control sft --model tiny-sft --max_steps $control_steps --learning_rate 3e-4 \
  --data scenes:200000,seed=20,preset=small,annotation=vg & other=$!
rl sft-rl grpo tiny-sft
join $other "$out/train-control.log"

say "4/5 all of them answer"
{ answer baseline tiny-base && answer zero-rl "$out/zero-rl" && answer sft-short "$out/sft"; } > "$out/answers.log" 2>&1 & other=$!
answer sft tiny-sft
answer sft-rl "$out/sft-rl"
answer control "$out/control"
join $other "$out/answers.log"

say "5/5 evaluation, report and one picture"
for how in greedy sampled; do
  for stage in baseline zero-rl sft-short sft control sft-rl; do files+=("$out/predictions/$stage.$how.jsonl"); done
done
r1sgg report "${files[@]}" --ground-truth "$out/test/full.jsonl" --runs "$out/zero-rl" --runs "$out/sft-rl" \
  --title "r1sgg demo" --json "$out/results.json" --out "$out/report.html"
python benchmarks/tiny.py "$out" --json "$out/table.json"
pictures=("$out"/test/images/*.png)
r1sgg predict "${pictures[0]}" --model tiny --guide --out "$out/predict"

say "beside it, the long experiment (60 RL steps, 3 seeds, 1,000 scenes), measured by us in 4.5 core-hours: docs/tiny.md"
sed -n '/^## What was measured/,/^What it shows/{/^|/p}' docs/tiny.md

say "done: open $out/report.html"
