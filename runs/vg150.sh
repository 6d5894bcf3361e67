#!/usr/bin/env bash
# The paper's experiment on VG150, with the authors' data sets on the Hub; for all options see runs/paper.sh.
#
#   bash runs/vg150.sh
#   MODEL=Qwen/Qwen2.5-VL-7B-Instruct GENERATE="--engine vllm" bash runs/vg150.sh
#   TRAIN=vg150:DIR,split=train VALIDATION=vg150:DIR,split=validation bash runs/vg150.sh    # from VG-SGG.h5
#
# Hardware, time and result: not yet run.
set -euo pipefail
export SET=vg150
export TRAIN=${TRAIN:-hub:JosephZ/vg150_train_sgg_prompt}
export VALIDATION=${VALIDATION:-hub:JosephZ/vg150_val_sgg_prompt}
exec bash "$(dirname "$0")/paper.sh"
