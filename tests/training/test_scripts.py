"""The scripts of runs/: what they start, in which order, and that an interrupted one goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trl import GRPOConfig, SFTConfig

from r1sgg.training.options import RewardOptions, RunOptions, TargetOptions
from r1sgg.training.parts import PartOptions
from r1sgg.training.recipe import read_recipe
from r1sgg.training.rollouts import RolloutOptions

from ..models.tiny_families import build_qwen2_vl

ROOT = Path(__file__).parents[2]

CPU = {"bf16": False, "use_cpu": True, "activation_checkpointing": False}

STUB = """#!/usr/bin/env bash
# Stands in for r1sgg: writes down what it is asked, and the files that say that it is done.
echo "$*" >> "$LOG"
{ printf '%q ' "$@"; echo; } >> "$LOG.quoted"
[ -z "${FAIL:-}" ] || [[ "$*" != *"$FAIL"* ]] || exit 2
folder=
for ((k = 1; k < $#; k++)); do
  next=$((k + 1))
  case ${!k} in --out | --output_dir | --json) mkdir -p "$(dirname "${!next}")"; folder=${!next} ;; esac
done
case $1 in
  doctor) [ -z "$folder" ] ||
    printf '  "launcher": "%s",\n  "options": "%s"\n' "${FOUND:-}" "${CHANGED:-}" > "$folder" ;;
  data) mkdir -p "$folder" && touch "$folder"/{dataset.json,gt.jsonl,full.jsonl}; [ -z "${LOST:-}" ] || exit 1 ;;
  sft | grpo) mkdir -p "$folder" && touch "$folder/trainer_state.json" "$folder/metrics.jsonl"
    [[ "$*" != *lora* ]] || touch "$folder/adapter_config.json" ;;
  publish) mkdir -p "$folder" && touch "$folder/README.md" ;;
  evaluate | generate | report) touch "$folder" ;;
  probe) mkdir -p "$folder" && touch "$folder/summary.json" ;;
esac
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "r1sgg"
    program.write_text(STUB)
    program.chmod(0o755)
    return tmp_path


def start(folder: Path, name: str = "vg150", *arguments: str, **more: str) -> tuple[int, list[str]]:
    """Run a script with the stub; returns its exit code and what it started since the last time."""
    log = folder / "log"
    log.write_text("")
    paths = {"DATA": folder / "data", "OUT": folder / "out", "LOG": log, "CARDS": "8"}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **{k: str(v) for k, v in paths.items()}, **more}
    command = ["bash", str(ROOT / "runs" / f"{name}.sh"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, [line.replace(str(folder), "") for line in log.read_text().splitlines()]


def kinds(lines: list[str]) -> str:
    return " ".join(line.split()[0] for line in lines if not line.startswith("doctor"))


MEASURE = "generate evaluate probe"


def test_the_whole_experiment_in_order(stub: Path) -> None:
    code, lines = start(stub)
    assert code == 0
    assert [line.split()[0] for line in lines[:3]] == ["doctor"] * 3, "before anything else"
    assert "doctor" not in kinds(lines[3:])
    for line, stage in zip(lines, ("sft", "grpo", "zero"), strict=False):
        assert line.startswith(f"doctor --config configs/vg150-{stage}.yaml --gpus 8 --launch auto --json")
        assert line.endswith("--model Qwen/Qwen2-VL-2B-Instruct --data hub:/data/train")
    asked = [line for line in lines if line.startswith(("generate", "probe --ground"))]
    assert len(asked) == 9, "the baseline is asked natively, too"
    assert all("--workers 0" in line for line in asked), "one model on each card"
    lines = lines[3:]
    assert (
        kinds(lines)
        == f"data data {MEASURE} generate evaluate sft {MEASURE} grpo {MEASURE} grpo {MEASURE} report probe"
    )
    sft, grpo, zero = (line for line in lines if line.split()[0] in ("sft", "grpo"))
    shared = "--data hub:/data/train --validation /data/validation/gt.jsonl"
    assert sft.startswith(f"sft --config configs/vg150-sft.yaml {shared} --output_dir /out/sft --requeue")
    assert "--model Qwen/Qwen2-VL-2B-Instruct" in sft
    assert "configs/vg150-grpo.yaml" in grpo
    assert grpo.endswith("--model /out/sft")
    assert "configs/vg150-zero.yaml" in zero
    assert zero.endswith("--model Qwen/Qwen2-VL-2B-Instruct")
    names = ("baseline", "zero", "sft", "sft-grpo")
    rows = ("baseline", "baseline-native", *names[1:])
    assert lines[-2].startswith("report " + " ".join(f"/out/predictions/{name}.jsonl" for name in rows))
    assert lines[-1] == "probe --table " + " ".join(f"/out/probe/{name}" for name in names) + " --out /out/probe"


def test_fewer_cards_are_the_first_that_are_visible(stub: Path) -> None:
    program = stub / "bin" / "r1sgg"
    program.write_text(STUB.replace('echo "$*"', 'echo "$* on ${CUDA_VISIBLE_DEVICES:-all}"', 1))
    for given, expected in (({}, "0,1,2,3,4,5,6,7"), ({"CUDA_VISIBLE_DEVICES": "5,6"}, "5,6"), ({"CARDS": "1"}, "0")):
        shutil.rmtree(stub / "out", ignore_errors=True)
        lines = start(stub, STAGES="baseline probe", **given)[1]
        assert lines
        assert all(line.endswith(f" on {expected}") for line in lines)


def test_a_stage_that_is_none_is_said(stub: Path) -> None:
    assert start(stub, STAGES="data baselin") == (2, [])


def test_psg_has_its_own_data_vocabulary_and_recipes(stub: Path) -> None:
    _, lines = start(stub, "psg")
    lines = [line for line in lines if not line.startswith("doctor")]
    assert "JosephZ/psg_train_sg" in lines[0]
    assert "JosephZ/psg_test_sg" in lines[1]
    assert all("--vocabulary psg" in line for line in lines if line.split()[0] in ("generate", "evaluate"))
    assert [line.split()[2] for line in lines if line.split()[0] in ("sft", "grpo")] == [
        f"configs/psg-{stage}.yaml" for stage in ("sft", "grpo", "zero")
    ]


@pytest.mark.parametrize("broken", ["vg150-sft.yaml", "vg150-grpo.yaml", "predictions/zero", "data/validation"])
def test_a_stage_that_fails_stops_it_and_the_same_command_goes_on(stub: Path, broken: str) -> None:
    code, before = start(stub, FAIL=broken)
    assert code == 2
    assert broken in before[-1]
    code, after = start(stub)
    assert code == 0
    assert broken in " ".join(after)
    trained = [line for line in before[:-1] if line.split()[0] in ("sft", "grpo", "data")]
    assert not set(trained) & set(after), "what was finished is not done again"
    assert kinds(start(stub)[1]) == "report probe"


def test_images_that_cannot_be_used_do_not_stop_it(stub: Path) -> None:
    assert start(stub, LOST="1")[0] == 0


def test_an_adapter_is_merged_before_it_is_used(stub: Path) -> None:
    options = {"SFT": "--include configs/lora-sft.yaml", "STAGES": "data sft grpo"}
    code, lines = start(stub, **options)
    assert code == 0
    assert ["--include configs/lora-sft.yaml" in line for line in lines[:2]] == [True, False]
    lines = lines[2:]
    assert kinds(lines) == "data data sft publish generate evaluate grpo generate evaluate"
    assert lines[3] == "publish /out/sft --out /out/sft-whole"
    assert "--include configs/lora-sft.yaml" in lines[2]
    assert lines[6].endswith("--model /out/sft-whole")
    shutil.rmtree(stub / "out" / "sft-whole")
    assert "publish /out/sft --out /out/sft-whole" in start(stub, **options)[1]


def test_training_is_started_as_asked_and_the_rest_is_not(stub: Path) -> None:
    _, lines = start(stub, LAUNCH="env LAUNCHED=1", GENERATE="--engine vllm", PROBE="--limit 5", GRPO="--beta 0.04")
    assert all("--engine vllm" in line for line in lines if line.startswith("generate"))
    assert all("--limit 5" in line for line in lines if line.startswith("probe --ground"))
    assert all("--beta 0.04" in line for line in lines if line.startswith("grpo"))
    (stub / "bin" / "env").write_text('#!/bin/bash\necho "launched $*" >> "$LOG"\nexec /usr/bin/env "$@"\n')
    (stub / "bin" / "env").chmod(0o755)
    shutil.rmtree(stub / "out")
    launched = [line for line in start(stub, LAUNCH="env LAUNCHED=1")[1] if line.startswith("launched")]
    assert [line.split()[3] for line in launched] == ["sft", "grpo", "grpo"]


def test_training_is_started_as_doctor_says_what_fits(stub: Path) -> None:
    (stub / "bin" / "env").write_text('#!/bin/bash\necho "launched $*" >> "$LOG"\nexec /usr/bin/env "$@"\n')
    (stub / "bin" / "env").chmod(0o755)
    changed = "--per_device_train_batch_size 8"
    _, lines = start(stub, FOUND="env FOUND=1", CHANGED=changed, MODEL="x/7b")
    launched = [line for line in lines if line.startswith("launched")]
    assert [line.split()[3] for line in launched] == ["sft", "grpo", "grpo"]
    assert all(line.endswith(changed) for line in launched)


@pytest.mark.parametrize("launch", ["fsdp2", "zero2", "zero3", "torchrun"])
def test_doctor_is_asked_about_the_launcher_that_is_given(stub: Path, launch: str) -> None:
    given = "torchrun" if launch == "torchrun" else f"accelerate launch --config_file configs/accelerate/{launch}.yaml"
    lines = start(stub, LAUNCH=given, STAGES="sft")[1]
    assert f"--launch {launch.replace('torchrun', 'ddp')}" in lines[0]


def test_a_stage_that_cannot_fit_stops_it_before_the_first(stub: Path) -> None:
    code, lines = start(stub, FAIL="vg150-zero.yaml")
    assert code == 2
    assert [line.split()[0] for line in lines] == ["doctor"] * 3


def tiny(stub: Path, *arguments: str, **more: str) -> tuple[int, list[str]]:
    """runs/tiny.sh, whose last line is a Python program; returns what it started, by what it makes."""
    python = stub / "bin" / "python"
    python.write_text('#!/bin/bash\necho "python $*" >> "$LOG"\n')
    python.chmod(0o755)
    return start(stub, "tiny", *arguments, **{"PROCESSES": "1", **more})


def made(lines: list[str], kind: str) -> list[str]:
    """The names of what the commands of a kind make."""
    words = [line.split() for line in lines if line.split()[0] == kind]
    return [Path(line[line.index("--out" if "--out" in line else "--output_dir") + 1]).name for line in words]


def test_the_small_experiment_in_order(stub: Path) -> None:
    code, lines = tiny(stub, SEEDS="0 1")
    assert code == 0
    assert made(lines, "sft") == ["base", "sft", "control-s0", "control-s1"]
    assert all("questions=20" in line for line in lines if line.startswith("sft") and "tiny-base.yaml" not in line)
    assert made(lines, "grpo") == [
        f"{name}-s{seed}" for seed in (0, 1) for name in ("zero-rl-guided", "zero-rl", "sft-rl", "sft-rl-balanced")
    ]
    models = dict(zip(made(lines, "grpo"), (line for line in lines if line.startswith("grpo")), strict=True))
    assert "configs/tiny-zero.yaml" in models["zero-rl-s1"]
    assert "--model /out/base " in models["zero-rl-guided-s1"]
    assert "--model /out/zero-rl-guided-s1 " in models["zero-rl-s1"]
    assert "--guide false" in models["zero-rl-s1"]
    assert "--model /out/sft " in models["sft-rl-s1"]
    assert "--rewards balanced" in models["sft-rl-balanced-s1"]
    assert "--seed 1 --data scenes:200000,seed=11,annotation=vg" in models["sft-rl-s1"]
    stages = ["baseline", "sft"]
    trained = ("zero-rl-guided", "zero-rl", "sft-rl", "sft-rl-balanced", "control")
    stages += [f"{name}-s{seed}" for seed in (0, 1) for name in trained]
    assert made(lines, "generate") == [f"{name}.{how}.jsonl" for name in stages for how in ("greedy", "sampled")]
    assert kinds(lines[-2:]) == "report python"
    assert lines[-2].count("--runs") == 11
    assert "--figure /out/curves.svg" in lines[-2]
    assert lines[-1] == "python benchmarks/tiny.py /out --json /out/table.json"
    for further, prefix in (("closed", "closed-"), ("rewards", "ablate-"), ("ablations", "ablate-")):
        code, lines = tiny(stub, further, SEEDS="0 1")
        assert code == 0
        assert all(name.startswith(prefix) for name in made(lines, "generate"))
        trained = [line for line in lines if line.startswith(("sft", "grpo"))]
        assert all("--vocabulary configs/tiny-vocabulary.json" in line for line in trained) == (further == "closed")
    code, lines = tiny(stub, "probe", SEEDS="0 1")
    assert code == 0
    probed = [line for line in lines if line.startswith("probe --ground")]
    assert [Path(line.split()[-1]).name for line in probed] == ["base", "sft", "sft-rl-s0", "sft-rl-s1"]
    assert tiny(stub, SEEDS="0 1")[1][-2].count("--runs") == 11, "ablations are not in the curves of the experiment"


def test_a_part_that_the_small_experiment_does_not_have_starts_nothing(stub: Path) -> None:
    assert tiny(stub, "everything") == (2, [])


def test_base_and_sft_share_their_batches_between_two_processes(stub: Path) -> None:
    (stub / "bin" / "torchrun").write_text('#!/bin/bash\necho "torchrun $*" >> "$LOG"\nexec "${@:4}"\n')
    (stub / "bin" / "torchrun").chmod(0o755)
    code, lines = tiny(stub, SEEDS="0", PROCESSES="2")
    assert code == 0
    shared = [line for line in lines if line.startswith("torchrun")]
    assert made(shared, "torchrun") == ["base", "sft"]
    assert all(line.startswith("torchrun --nproc_per_node 2 --no-python r1sgg sft ") for line in shared)
    assert all("--per_device_train_batch_size 16" in line for line in shared)
    assert not any("--bf16" in line for line in lines)
    shutil.rmtree(stub / "out")
    _, lines = tiny(stub, SEEDS="0", BF16="1")
    trainings = [line for line in lines if line.startswith(("sft", "grpo"))]
    assert trainings
    assert all("--bf16 true --model_init_kwargs" in line for line in trainings)


def test_every_training_of_the_small_experiment_is_one_that_can_be_asked_for(stub: Path) -> None:
    for part in ((), ("rewards",), ("closed",), ("ablations",)):
        assert tiny(stub, *part, SEEDS="0")[0] == 0
    lines = map(shlex.split, (stub / "log.quoted").read_text().splitlines())
    trainings = [line for line in lines if line[0] in ("sft", "grpo")]
    assert len(trainings) == 27
    for kind, option, config, *rest in trainings:
        assert option == "--config"
        classes = {"sft": (SFTConfig, TargetOptions), "grpo": (GRPOConfig, RewardOptions, RolloutOptions)}[kind]
        read_recipe((RunOptions, *classes, PartOptions), ROOT / config, rest, CPU)


def test_the_small_experiment_goes_on_and_can_begin_with_what_ships(stub: Path) -> None:
    assert tiny(stub, SEEDS="0", FAIL="sft-rl-s0")[0] == 2
    (stub / "out" / "sft-rl-s0" / "checkpoint-20").mkdir(parents=True)
    code, lines = tiny(stub, SEEDS="0")
    assert code == 0
    assert made(lines, "grpo") == ["sft-rl-s0", "sft-rl-balanced-s0"]
    assert [line.endswith("--resume true") for line in lines if line.startswith("grpo")] == [True, False]
    shutil.rmtree(stub / "out")
    _, lines = tiny(stub, SEEDS="0", START="tiny-sft")
    assert made(lines, "sft") == ["control-s0"]
    assert "--model tiny-sft" in next(line for line in lines if line.startswith("sft"))
    assert "--model tiny-base" in next(line for line in lines if line.startswith("grpo"))
    assert tiny(stub, "curves")[0] == 2


@pytest.mark.parametrize("mode", ["ovd", "ovr", "ovd+r"])
@pytest.mark.parametrize("subset", ["vg150", "tiny"])
def test_open_vocabulary_trains_on_base_names_and_predicts_the_whole_test_set_once(
    stub: Path, subset: str, mode: str
) -> None:
    code, lines = start(stub, "open", SET=subset, MODE=mode, VG="/vg")
    assert code == 0
    assert kinds(lines) == "sft generate evaluate"
    sft, generate, evaluate = lines
    assert f",open={mode} " in sft
    assert "open=" not in generate + evaluate
    assert f"--vocabulary {'open' if subset == 'tiny' else f'vg150-{mode}'} " in sft
    assert "--model /out/sft --vocabulary vg150 --out /out/predictions.jsonl" in generate
    assert f"--vocabulary vg150 --open-vocabulary {mode} " in evaluate
    if subset == "vg150":
        assert "splits=split_GLIPunseen,filters=ovsgtr," in sft
        assert "vg150:/vg,split=test,splits=split_GLIPunseen " in generate
        assert start(stub, "open", SFT="--include configs/lora-sft.yaml", VG="/vg")[1][0].startswith("generate")
    line = shlex.split((stub / "log.quoted").read_text().splitlines()[0])
    read_recipe((RunOptions, SFTConfig, TargetOptions, PartOptions), ROOT / line[2], line[3:], CPU)


def test_open_vocabulary_needs_the_data(stub: Path) -> None:
    assert start(stub, "open")[0] != 0


def captions(stub: Path, *arguments: str, **more: str) -> tuple[int, list[str]]:
    """runs/captions.sh, as `tiny` starts the other."""
    tiny(stub, "curves")  # makes the stand-in for Python
    return start(stub, "captions", *arguments, **more)


def test_the_experiment_with_captions_in_order(stub: Path) -> None:
    code, lines = captions(stub, "--short", SEEDS="0 1")
    assert code == 0
    names = [f"{name}-s{seed}" for seed in (0, 1) for name in ("captions-sft", "vg-sft")]
    assert made(lines, "sft") == names
    rl = [f"captions-rl-{rewards}-s{seed}" for seed in (0, 1) for rewards in ("paper-v1", "balanced", "sparse")]
    assert made(lines, "grpo") == rl
    trained = dict(zip(rl, (line for line in lines if line.startswith("grpo")), strict=True))
    assert "--model /out/captions-sft-s1 " in trained["captions-rl-sparse-s1"]
    assert "annotation=captions --rewards sparse" in trained["captions-rl-sparse-s1"]
    assert sum("--against /out/route/full.jsonl" in line for line in lines) == 1
    assert len(made(lines, "generate")) == 10
    assert lines[-1] == "python benchmarks/tiny.py /out --json /out/table.json"
    again = captions(stub, "--short", SEEDS="0 1")[1]
    assert not [line for line in again if line.split()[0] in ("sft", "grpo")]
    shutil.rmtree(stub / "out")
    assert "--model tiny-base" in next(x for x in captions(stub, SEEDS="0")[1] if x.startswith("sft"))
    assert captions(stub, "--long")[0] == 2


def test_every_training_with_captions_is_one_that_can_be_asked_for(stub: Path) -> None:
    assert captions(stub, SEEDS="0")[0] == 0
    lines = map(shlex.split, (stub / "log.quoted").read_text().splitlines())
    for kind, _, config, *rest in (line for line in lines if line[0] in ("sft", "grpo")):
        classes = {"sft": (SFTConfig, TargetOptions), "grpo": (GRPOConfig, RewardOptions, RolloutOptions)}[kind]
        read_recipe((RunOptions, *classes, PartOptions), ROOT / config, rest, CPU)


def test_slurm_starts_one_torchrun_a_machine(tmp_path: Path) -> None:
    """With stand-ins for SLURM's commands; `srun` runs its command once for each of two machines."""
    programs = {
        "scontrol": "echo first; echo second",
        "srun": 'for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
        "torchrun": 'echo "torchrun $*" >> "$LOG"',
        "accelerate": 'echo "accelerate $*" >> "$LOG"',
        "r1sgg": 'echo "r1sgg $*" >> "$LOG"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_PER_NODE": "4"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    command = ["bash", str(ROOT / "runs" / "slurm.sh"), "sft", "--config", "a b.yaml"]
    subprocess.run(command, env=environment, check=True)
    asked, *lines = log.read_text().splitlines()
    assert asked == "r1sgg doctor --gpus 8 --launch ddp --config a b.yaml"
    assert [line.split("--node_rank ")[1][0] for line in lines] == ["0", "1"]
    assert all(line.endswith("first:20007 --no-python r1sgg sft --config a b.yaml --requeue") for line in lines)
    assert all("--nnodes 2" in line and "--nproc_per_node 4" in line for line in lines)
    log.unlink()
    config = "configs/accelerate/fsdp2.yaml"
    subprocess.run(command, env={**environment, "ACCELERATE": config}, check=True)
    asked, *lines = log.read_text().splitlines()
    assert "--launch fsdp2" in asked
    assert [line.split("--machine_rank ")[1][0] for line in lines] == ["0", "1"]
    assert all(f"--config_file {config} --num_machines 2 --num_processes 8" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_experiment_on_a_tiny_model(tmp_path: Path) -> None:
    model = build_qwen2_vl(tmp_path / "model")
    small = "--max_steps 1 --bf16 false --activation_checkpointing false --global_batch_size 2"
    small += " --per_device_train_batch_size 2 --validate_steps 0 --validate_tokens 4 --report_to none --prompt short"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL": str(model),
        "TRAIN": "scenes:4,seed=1,split=train",
        "VALIDATION": "scenes:2,seed=2,split=validation",
        "DATA": str(tmp_path / "data"),
        "OUT": str(tmp_path / "out"),
        "SFT": f"{small} --include configs/lora-sft.yaml --lora_r 2",
        "GRPO": f"{small} --num_generations 2 --max_completion_length 4 --use_vllm false",
        "GENERATE": "--max-new-tokens 4",
        "PROBE": "--max-new-tokens 4 --limit 1 --settings original/*",
        "HF_HUB_OFFLINE": "1",
        "STAGES": "data baseline sft grpo report probe",
    }
    script = ["bash", str(ROOT / "runs" / "vg150.sh")]
    subprocess.run(script, env=environment, check=True)
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert len(results) == 3
    for name in ("report.html", "probe/table.md", "sft-whole/model.safetensors", "sft-grpo/model.safetensors"):
        assert (tmp_path / "out" / name).is_file()
    before = (tmp_path / "out" / "sft-grpo" / "model.safetensors").stat().st_mtime_ns
    subprocess.run(script, env=environment, check=True)
    assert (tmp_path / "out" / "sft-grpo" / "model.safetensors").stat().st_mtime_ns == before
