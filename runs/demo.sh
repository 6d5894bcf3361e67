#!/usr/bin/env bash
# The paper's experiment in miniature, on a laptop: the failures of the baseline, the effect of SFT, and the effect of RL
# compared with continued SFT. Training scenes are annotated as sparsely as Visual Genome. Every stage is evaluated on the
# same test scenes against complete annotations, with greedy decoding and with sampling.
#
#   make demo                  writes demo/report.html, demo/results.json and demo/table.json
#   DEMO=short make demo       fewer images and steps, for CI
#
# RL starts from the embedded checkpoint tiny-sft, the result of a long SFT. The stages are those of runs/tiny.sh, shortened.
# Hardware, time and result: README.md; the long experiment: docs/tiny.md.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${DEMO:-full}" = short ]; then
  images=100 sft_steps=20 zero_steps=2 rl_steps=2 control_steps=20
else
  images=400 sft_steps=100 zero_steps=20 rl_steps=12 control_steps=120
fi
out=demo
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
say() { printf '\n== %s  [%d s]\n' "$*" "$SECONDS"; }

# predict NAME MODEL: two predictions files, greedy and sampled at temperature 1 (as in GRPO)
predict() {
  local how=(greedy sampled)
  for temperature in 0 1; do
    r1sgg generate --images "$out/test/gt.jsonl" --model "$2" --batch-size 100 --max-new-tokens 200 \
      --temperature $temperature --out "$out/predictions/$1.${how[temperature]}.jsonl"
  done
}

# background COMMAND NAME ...: run on the other core, with the output in a log file
background() { "$@" > "$out/$1-$2.log" 2>&1; }
join() { wait "$1" || { cat "$2"; exit 1; }; }
train() { r1sgg "${2/zero/grpo}" --config "configs/tiny-$2.yaml" --output_dir "$out/$1" --validate_steps 0 --validate_images 100 --save_strategy no "${@:3}"; }
rl() { train "$1" "$2" --model "$3" --max_steps "$4" --seed 0; }

say "1/5 $images test scenes, annotated as sparsely as Visual Genome; training scenes are drawn during training"
rm -rf "$out" && mkdir -p "$out/predictions"
r1sgg doctor --config configs/tiny-grpo.yaml --gpus 0
r1sgg data scenes --annotation vg --count "$images" --seed 1 --split test --out "$out/test"

say "2/5 zero-RL, $zero_steps steps from the instruct base; meanwhile SFT, $sft_steps steps from the same base"
background train sft sft --model tiny-base --max_steps $sft_steps & other=$!
rl zero-rl zero tiny-base $zero_steps
join $other "$out/train-sft.log"

say "3/5 SFT + RL, $rl_steps steps from the long SFT (tiny-sft); meanwhile the control: SFT continued for $control_steps steps"
background train control sft --model tiny-sft --max_steps $control_steps --learning_rate 3e-4 \
  --data scenes:200000,seed=20,annotation=vg,questions=20 & other=$!
rl sft-rl grpo tiny-sft $rl_steps
join $other "$out/train-control.log"

say "4/5 predictions of all stages"
{ predict baseline tiny-base && predict zero-rl "$out/zero-rl" && predict sft-short "$out/sft"; } > "$out/predict.log" 2>&1 & other=$!
predict sft tiny-sft
predict sft-rl "$out/sft-rl"
predict control "$out/control"
join $other "$out/predict.log"

say "5/5 evaluation, report and one picture"
for how in greedy sampled; do
  for stage in baseline zero-rl sft-short sft control sft-rl; do files+=("$out/predictions/$stage.$how.jsonl"); done
done
r1sgg report "${files[@]}" --ground-truth "$out/test/full.jsonl" --runs "$out/zero-rl" --runs "$out/sft-rl" \
  --title "r1sgg demo" --json "$out/results.json" --out "$out/report.html"
pictures=("$out"/test/images/*.png)
r1sgg predict "${pictures[0]}" --model tiny --guide --out "$out/predict"

say "done: open $out/report.html; the long experiment is in docs/tiny.md"
python benchmarks/tiny.py "$out" --short --json "$out/table.json"
