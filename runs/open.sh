#!/usr/bin/env bash
# Open-vocabulary scene graphs on VG150, as OvSGTR splits them: SFT on base names, one set of predictions for the whole
# test set, and the table Base+Novel / Novel Object / Novel Relation from it.
#
#   VG=DIR bash runs/open.sh                     DIR: VG-SGG.h5 with split_GLIPunseen, its dictionary, image_data.json
#   MODE=ovr VG=DIR bash runs/open.sh            ovd, ovr or ovd+r (default)
#   SET=tiny bash runs/open.sh                   the same on drawn scenes, whose names are 12 and 11 of VG150's
#
#   MODEL      the instruct model                               Qwen/Qwen2-VL-2B-Instruct; tiny-base
#   LAUNCH     launcher of training                             torchrun --nproc_per_node 8 --no-python
#   SFT, GENERATE  additional options of the stages             --include configs/lora-sft.yaml
#   SCENES, IMAGES  numbers of drawn training scenes and test images (SET=tiny)
#   OUT        folder of all outputs
#
# Prompts list names: those that training may see while training, all of VG150's afterwards. After an interruption run it
# again: finished stages are skipped, and training is resumed. Drawn scenes: 25 minutes of one core for training, result in
# docs/metrics.md. VG150: not yet run.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${MODE:-ovd+r} set=${SET:-vg150}
read -ra launch <<< "${LAUNCH:-}"
read -ra sft <<< "${SFT:-}"
read -ra generate <<< "${GENERATE:-}"
if [ "$set" = tiny ]; then
  export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
  model=${MODEL:-tiny-base} config=configs/tiny-sft.yaml
  train=scenes:${SCENES:-20000},seed=1,preset=small,open=$mode
  test=scenes:${IMAGES:-300},seed=1,preset=small,split=test
  seen=open # its 1,852 tokens would spell a list of 150 names letter by letter
  sft=(--validation "" --validate_steps 0 --max_steps 1200 ${sft[@]+"${sft[@]}"})
  generate=(--prompt open --guide --max-new-tokens 200 --batch-size 50 ${generate[@]+"${generate[@]}"})
else
  : "${VG:?the folder of VG-SGG.h5}"
  model=${MODEL:-Qwen/Qwen2-VL-2B-Instruct} config=configs/vg150-sft.yaml
  train=vg150:$VG,split=train,splits=split_GLIPunseen,filters=ovsgtr,open=$mode
  test=vg150:$VG,split=test,splits=split_GLIPunseen
  seen=vg150-$mode
  generate=(--prompt closed --guide ${generate[@]+"${generate[@]}"})
fi
out=${OUT:-runs/open/$set-$mode}
mkdir -p "$out"

[ -f "$out/sft/trainer_state.json" ] || ${launch[@]+"${launch[@]}"} r1sgg sft --config "$config" --model "$model" \
  --data "$train" --vocabulary "$seen" --output_dir "$out/sft" --requeue ${sft[@]+"${sft[@]}"}
trained=$out/sft
if [ -f "$trained/adapter_config.json" ]; then
  trained=$out/sft-whole
  [ -f "$trained/README.md" ] || r1sgg publish "$out/sft" --out "$trained"
fi
r1sgg generate --images "$test" --model "$trained" --vocabulary vg150 --out "$out/predictions.jsonl" \
  ${generate[@]+"${generate[@]}"}
r1sgg evaluate "$out/predictions.jsonl" --ground-truth "$test" --vocabulary vg150 --open-vocabulary "$mode" \
  --bootstrap 1000 --json "$out/results.json" --out "$out/table.md"
