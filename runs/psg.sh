#!/usr/bin/env bash
# The paper's experiment on PSG, with the authors' data sets on the Hub; for all options see runs/paper.sh.
#
#   bash runs/psg.sh
#   MODEL=Qwen/Qwen2.5-VL-7B-Instruct GENERATE="--engine vllm" bash runs/psg.sh
#   TRAIN=psg:DIR,split=train VALIDATION=psg:DIR,split=test bash runs/psg.sh    # from psg.json
#
# Hardware, time and result: not yet run.
set -euo pipefail
export SET=psg
export TRAIN=${TRAIN:-hub:JosephZ/psg_train_sg}
export VALIDATION=${VALIDATION:-hub:JosephZ/psg_test_sg}
exec bash "$(dirname "$0")/paper.sh"
