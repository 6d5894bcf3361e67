#!/usr/bin/env bash
# The paper's full experiment: data, baseline, SFT, SFT + GRPO, zero-GRPO, with an evaluation of each; report; VQA probe.
# `runs/vg150.sh` and `runs/psg.sh` start it with their data. After an interruption run the same command again: finished
# stages are skipped, and an interrupted one is resumed.
#
#   MODEL      the instruct model: a Hub name or a folder             Qwen/Qwen2-VL-2B-Instruct
#   CARDS      use only the first so many GPUs that torch sees        8
#   LAUNCH     launcher of training; default: what fits on CARDS, the whole model on each or FSDP2 (`r1sgg doctor`)
#   SFT, GRPO  additional options of these stages                     --include configs/lora-sft.yaml
#   GENERATE, PROBE  additional options of `r1sgg generate` and `r1sgg probe`, which use all CARDS
#   STAGES     stages to run                                          data baseline sft grpo zero report probe
#   DATA, OUT  folders                                                data/$SET, runs/$SET/<the model's name>
#
# First `r1sgg doctor` computes the memory of each stage, and stops here if one cannot fit or needs a package that is
# missing. Hardware, time and result: not yet run at the paper's size; for the paper's numbers see the recipes' headers.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SET:?start runs/vg150.sh or runs/psg.sh}" "${TRAIN:?}" "${VALIDATION:?}"
model=${MODEL:-Qwen/Qwen2-VL-2B-Instruct}
data=${DATA:-data/$SET} out=${OUT:-runs/$SET/$(basename "$model")}
stages=" ${STAGES:-data baseline sft grpo zero report probe} "
for stage in $stages; do
  case $stage in
    data | baseline | sft | grpo | zero | report | probe) ;;
    *) echo "STAGES: expected data, baseline, sft, grpo, zero, report or probe, found $stage" >&2 && exit 2 ;;
  esac
done
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

# plan NAME CONFIG OPTIONS...: see that a stage fits on the cards, and write down how it is started, unless it is finished
plan() {
  [ -f "$out/$1/trainer_state.json" ] && return
  mkdir -p "$out/doctor"
  r1sgg doctor --config "configs/$2" --gpus "$cards" --launch "$way" --json "$out/doctor/$1.json" --model "$model" \
    --data "hub:$data/train" "${@:3}"
}

# told KEY NAME: what doctor has written down for a stage
told() { sed -n 's/^ *"'"$1"'": "\(.*\)",*$/\1/p' "$out/doctor/$2.json"; }

# train NAME KIND CONFIG OPTIONS...: train $out/NAME, unless it is finished
train() {
  [ -f "$out/$1/trainer_state.json" ] && return
  local launch options
  read -ra launch <<< "${LAUNCH-$(told launcher "$1")}"
  read -ra options <<< "$(told options "$1")"
  tolerate ${launch[@]+"${launch[@]}"} r1sgg "$2" --config "configs/$3" --data "hub:$data/train" --validation "$truth" \
    --output_dir "$out/$1" --requeue "${@:4}" ${options[@]+"${options[@]}"}
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

# predict NAME MODEL OPTIONS...: predictions for the validation images and their evaluation, unless they are finished
predict() {
  if [ ! -f "$out/results/$1.json" ]; then
    tolerate r1sgg generate --images "$truth" --model "$2" --vocabulary "$SET" --workers 0 \
      --out "$out/predictions/$1.jsonl" "${@:3}" ${generate[@]+"${generate[@]}"}
    r1sgg evaluate "$out/predictions/$1.jsonl" --ground-truth "$truth" --vocabulary "$SET" --json "$out/results/$1.json"
  fi
}

# measure NAME MODEL: the same, and the probe
measure() {
  predict "$1" "$2"
  if wanted probe && [ ! -f "$out/probe/$1/summary.json" ]; then
    tolerate r1sgg probe --ground-truth "$truth" --vocabulary "$SET" --model "$2" --workers 0 \
      --out "$out/probe/$1" ${probe[@]+"${probe[@]}"}
  fi
}

mkdir -p "$out/predictions" "$out/results"
cards=${CARDS:-$(python -c 'import torch; print(torch.cuda.device_count())')}
if [ "${CARDS:-0}" -gt 0 ] && [ -z "${CUDA_VISIBLE_DEVICES:-}" ]; then
  CUDA_VISIBLE_DEVICES=$(seq -s , 0 $((CARDS - 1)))
  export CUDA_VISIBLE_DEVICES
fi
case ${LAUNCH-auto} in
  auto) way=auto ;;
  *fsdp2*) way=fsdp2 ;;
  *zero2*) way=zero2 ;;
  *zero3*) way=zero3 ;;
  *) way=ddp ;;
esac
say "doctor: $cards cards"
if wanted sft; then plan sft "$SET-sft.yaml" ${sft[@]+"${sft[@]}"}; fi
if wanted grpo; then plan sft-grpo "$SET-grpo.yaml" ${grpo[@]+"${grpo[@]}"}; fi
if wanted zero; then plan zero "$SET-zero.yaml" ${grpo[@]+"${grpo[@]}"}; fi
if wanted data; then
  say "data: $TRAIN, $VALIDATION"
  [ -f "$data/train/dataset.json" ] || tolerate r1sgg data build --data "$TRAIN" --out "$data/train"
  [ -f "$data/validation/dataset.json" ] ||
    tolerate r1sgg data build --data "$VALIDATION" --out "$data/validation" --images path
fi
if wanted baseline; then
  say "baseline: $model without training"
  measure baseline "$model"
  predict baseline-native "$model" --ask native # in the words of its makers: both rows are reported (docs/generate.md)
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
for name in baseline baseline-native zero sft sft-grpo; do # in the order of the paper's table
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
  probed=()
  for name in "${found[@]}"; do
    if [ -f "$out/probe/$name/summary.json" ]; then probed+=("$out/probe/$name"); fi
  done
  r1sgg probe --table "${probed[@]}" --out "$out/probe"
fi
say "done: $out"
