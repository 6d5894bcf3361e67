#!/usr/bin/env bash
# The paper's full experiment: data, baseline, SFT, SFT + GRPO, zero-GRPO, with an evaluation of each; report; VQA probe.
# `runs/vg150.sh` and `runs/psg.sh` start it with their data. After an interruption run the same command again: finished
# stages are skipped, and an interrupted one is resumed.
#
#   MODEL      the instruct model: a Hub name or a folder             Qwen/Qwen2-VL-2B-Instruct
#   LAUNCH     launcher of training; default: a single process        torchrun --nproc_per_node 8 --no-python
#   SFT, GRPO  additional options of these stages                     --include configs/lora-sft.yaml
#   GENERATE, PROBE  additional options of `r1sgg generate` and `r1sgg probe`
#   STAGES     stages to run                                          data baseline sft grpo zero report probe
#   DATA, OUT  folders                                                data/$SET, runs/$SET/<the model's name>
#
# Hardware, time and result: not yet run at the paper's size; for the paper's numbers see the headers of the recipes.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SET:?start runs/vg150.sh or runs/psg.sh}" "${TRAIN:?}" "${VALIDATION:?}"
model=${MODEL:-Qwen/Qwen2-VL-2B-Instruct}
data=${DATA:-data/$SET} out=${OUT:-runs/$SET/$(basename "$model")}
stages=" ${STAGES:-data baseline sft grpo zero report probe} "
read -ra launch <<< "${LAUNCH:-}"
read -ra sft <<< "${SFT:-}"
read -ra grpo <<< "${GRPO:-}"
read -ra generate <<< "${GENERATE:-}"
read -ra probe <<< "${PROBE:-}"
truth=$data/validation/gt.jsonl
say() { printf '\n== %s  [%d s]\n' "$*" "$SECONDS"; }
wanted() { [[ $stages == *" $1 "* ]]; }
tolerate() { # exit code 1 means: done, except for images that cannot be used, which are named
  local code=0
  "$@" || code=$?
  [ $code -le 1 ] || return $code
}

# train NAME KIND CONFIG OPTIONS...: train $out/NAME, unless it is finished
train() {
  [ -f "$out/$1/trainer_state.json" ] && return
  tolerate ${launch[@]+"${launch[@]}"} r1sgg "$2" --config "configs/$3" --data "hub:$data/train" --validation "$truth" \
    --output_dir "$out/$1" --requeue "${@:4}"
}

# whole NAME: print the folder of the run's model; an adapter is first merged into its base model
whole() {
  if [ -f "$out/$1/adapter_config.json" ]; then
    if [ ! -f "$out/$1-whole/README.md" ]; then # the card is written last
      rm -rf "$out/$1-whole"
      r1sgg publish "$out/$1" --out "$out/$1-whole" >&2
    fi
    echo "$out/$1-whole"
  else
    echo "$out/$1"
  fi
}

# measure NAME MODEL: predictions for the validation images, evaluation and probe, unless they are finished
measure() {
  if [ ! -f "$out/results/$1.json" ]; then
    tolerate r1sgg generate --images "$truth" --model "$2" --vocabulary "$SET" --out "$out/predictions/$1.jsonl" \
      ${generate[@]+"${generate[@]}"}
    r1sgg evaluate "$out/predictions/$1.jsonl" --ground-truth "$truth" --vocabulary "$SET" --json "$out/results/$1.json"
  fi
  if wanted probe && [ ! -f "$out/probe/$1/summary.json" ]; then
    tolerate r1sgg probe --ground-truth "$truth" --vocabulary "$SET" --model "$2" --out "$out/probe/$1" \
      ${probe[@]+"${probe[@]}"}
  fi
}

mkdir -p "$out/predictions" "$out/results"
if wanted data; then
  say "data: $TRAIN, $VALIDATION"
  [ -f "$data/train/dataset.json" ] || tolerate r1sgg data build --data "$TRAIN" --out "$data/train"
  [ -f "$data/validation/dataset.json" ] ||
    tolerate r1sgg data build --data "$VALIDATION" --out "$data/validation" --images path
fi
if wanted baseline; then
  say "baseline: $model without training"
  measure baseline "$model"
fi
if wanted sft; then
  say "SFT"
  train sft sft "$SET-sft.yaml" --model "$model" ${sft[@]+"${sft[@]}"}
  measure sft "$(whole sft)"
fi
if wanted grpo; then
  say "SFT + GRPO"
  train sft-grpo grpo "$SET-grpo.yaml" --model "$(whole sft)" ${grpo[@]+"${grpo[@]}"}
  measure sft-grpo "$(whole sft-grpo)"
fi
if wanted zero; then
  say "zero-GRPO"
  train zero grpo "$SET-zero.yaml" --model "$model" ${grpo[@]+"${grpo[@]}"}
  measure zero "$(whole zero)"
fi
found=()
for name in baseline zero sft sft-grpo; do # in the order of the paper's table
  if [ -f "$out/results/$name.json" ]; then found+=("$name"); fi
done
if wanted report && [ ${#found[@]} -gt 0 ]; then
  say "report"
  predictions=("${found[@]/#/$out/predictions/}")
  predictions=("${predictions[@]/%/.jsonl}")
  runs=()
  for name in sft sft-grpo zero; do
    if [ -f "$out/$name/metrics.jsonl" ]; then runs+=(--runs "$out/$name"); fi
  done
  r1sgg report "${predictions[@]}" --ground-truth "$truth" --vocabulary "$SET" \
    ${runs[@]+"${runs[@]}"} --title "$SET, $(basename "$model")" --json "$out/results.json" --out "$out/report.html"
fi
if wanted probe && [ ${#found[@]} -gt 0 ]; then
  say "probe"
  r1sgg probe --table "${found[@]/#/$out/probe/}" --out "$out/probe"
fi
say "done: $out"
