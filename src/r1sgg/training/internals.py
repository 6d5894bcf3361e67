"""What this package uses of trl, transformers and vllm beyond their documented interface, with the reason for each.

`r1sgg.training.upstream` compares the table with the installed packages, and tests/training/test_upstream.py with the
source of this one.
"""

from __future__ import annotations

from typing import NamedTuple


class Internal(NamedTuple):
    """A name of another package that this one depends on.

    Attributes:
        owner: the class or module that has it, as an import path.
        name: the method, attribute or function.
        used_by: the class or module here.
        use: what is done with it, as the end of "which X ...".
        why: the reason, with the upstream issue where one is known.
        parameters: of the method or function, those that we pass or read by name.
        needs: a package without which the name is neither there nor used.
    """

    owner: str
    name: str
    used_by: str
    use: str
    why: str
    parameters: tuple[str, ...] = ()
    needs: str = ""


_RESUMABLE = "r1sgg.training.checkpoints.ResumableTrainer"
_GRPO = "r1sgg.training.grpo.GraphTrainer"
_VALIDATION = "r1sgg.training.validation.Validation"

INTERNALS = (
    Internal(
        "transformers.GenerationMixin",
        "_sample",
        "r1sgg.training.rollouts",
        "calls",
        "leaves guided rollouts to transformers' own loop where an option looks at the tokens so far",
        ("input_ids", "logits_processor", "stopping_criteria", "generation_config"),
    ),
    Internal(
        "transformers.utils.hub",
        "cached_files",
        "r1sgg.models.finding",
        "calls",
        "finds a checkpoint's tokenizer files here or on the Hub, where not every one of them has to exist",
        ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"),
    ),
    # ---- saving: see r1sgg.training.checkpoints
    Internal(
        "transformers.Trainer",
        "_get_output_dir",
        _RESUMABLE,
        "overrides",
        "lets _save_checkpoint write into a folder that is renamed when it is complete",
        ("trial",),
    ),
    Internal(
        "transformers.Trainer",
        "_save_checkpoint",
        _RESUMABLE,
        "overrides",
        "transformers 5.23 writes checkpoints in place, so a killed run leaves a half-written one that looks complete "
        "(huggingface/transformers pull requests 27820 and 35580 used a temporary folder)",
        ("model", "trial"),
    ),
    Internal(
        "transformers.Trainer",
        "_push_from_checkpoint",
        _RESUMABLE,
        "calls",
        "the upload has to start after the rename, and _save_checkpoint would start it before",
        ("checkpoint_folder",),
    ),
    # ---- resuming
    Internal(
        "transformers.Trainer",
        "_load_from_checkpoint",
        _RESUMABLE,
        "overrides",
        'it compares names in files ("visual.") with names in memory ("model.visual.") and leaves what differs '
        "unloaded (QwenLM/Qwen3-VL issue 1763, modelscope/ms-swift issue 7947)",
        ("resume_from_checkpoint", "model"),
    ),
    Internal(
        "transformers.Trainer",
        "_load_best_model",
        _RESUMABLE,
        "overrides",
        "it loads by the same comparison of names as _load_from_checkpoint",
    ),
    Internal(
        "transformers.Trainer",
        "_load_optimizer_and_scheduler",
        _RESUMABLE,
        "overrides",
        "it loads the old learning rate over the recipe's, so that a lower one would have no effect",
        ("checkpoint",),
    ),
    Internal(
        "torch.optim.lr_scheduler.LRScheduler",
        "_last_lr",
        _RESUMABLE,
        "sets",
        "get_last_lr, which the logs read, returns it, and the next step would be logged with the old rate",
    ),
    Internal(
        "transformers.Trainer",
        "_run_epoch",
        _RESUMABLE,
        "overrides",
        "it is the only call between the reset of the counters and the first step of a resumed run; and it takes one "
        "step too many if the checkpoint is the last",
        ("resume_from_checkpoint",),
    ),
    Internal(
        "transformers.Trainer",
        "_tr_loss",
        _RESUMABLE,
        "saves and restores",
        "the loss since the last log line, which transformers sets to 0 at the start of a resumed run",
    ),
    Internal(
        "transformers.Trainer",
        "_globalstep_last_logged",
        _RESUMABLE,
        "saves and restores",
        "the step of the last log line, by which the mean loss is divided",
    ),
    Internal(
        "trl.SFTTrainer",
        "_metrics",
        _RESUMABLE,
        "saves and restores",
        "TRL's own numbers since the last log line (accuracy, entropy)",
    ),
    Internal(
        "trl.GRPOTrainer",
        "_metrics",
        _RESUMABLE,
        "saves, restores and reads",
        "TRL's own numbers since the last log line; frac_reward_zero_std tells the guards of groups without advantage",
    ),
    Internal("trl.SFTTrainer", "_total_train_tokens", _RESUMABLE, "saves and restores", "the count behind num_tokens"),
    Internal("trl.GRPOTrainer", "_total_train_tokens", _RESUMABLE, "saves and restores", "the count behind num_tokens"),
    Internal(
        "trl.GRPOTrainer",
        "_step",
        _GRPO,
        "saves and restores",
        "decides whether a step samples new rollouts; TRL starts a resumed run at 0",
    ),
    Internal(
        "trl.GRPOTrainer",
        "_buffered_inputs",
        _GRPO,
        "saves and restores",
        "rollouts that still serve further steps; TRL samples new ones when it resumes (huggingface/trl pull request "
        "3148), so the resumed run would differ",
    ),
    # ---- watching
    Internal(
        "transformers.Trainer",
        "_get_grad_norm",
        _RESUMABLE,
        "overrides",
        "the guards have to see the gradient before the optimizer's step; on_pre_optimizer_step is not given it",
        ("model", "grad_norm"),
    ),
    Internal(
        "trl.GRPOTrainer",
        "_generate_and_score_completions",
        _GRPO,
        "overrides",
        "the guide needs the frame of each row, and the guards check that the images reach the model",
        ("inputs",),
    ),
    # ---- sampling: see r1sgg.training.rollouts
    Internal(
        "trl.GRPOTrainer",
        "_generate_single_turn",
        _GRPO,
        "overrides",
        "the guides of a batch are in force during this call only, and vLLM is sent one placeholder per image",
    ),
    Internal(
        "trl.GRPOTrainer",
        "_tokenize_prompts",
        _GRPO,
        "overrides",
        "it expands image placeholders, which vLLM does again (huggingface/trl issue 6294); here the texts are kept",
        ("prompts",),
    ),
    # ---- vLLM: see r1sgg.training.engine and r1sgg.training.gate
    Internal(
        "trl.generation.vllm_generation",
        "LLM",
        "r1sgg.training.engine",
        "replaces while the trainer is made",
        "TRL makes its engine without pixel limits and precision",
        needs="vllm",
    ),
    Internal(
        "trl.generation.vllm_generation.VLLMGeneration",
        "generate",
        "r1sgg.training.engine.RolloutEngine",
        "calls",
        "the gate samples from the whole distribution, on the way that rollouts take",
        ("prompts", "images", "num_generations"),
    ),
    Internal(
        "trl.generation.vllm_generation.VLLMGeneration",
        "generation_kwargs",
        "r1sgg.training.engine.RolloutEngine",
        "sets for the time of one call",
        "beside temperature, top_p and the others of its arguments, which it reads at each call",
    ),
    Internal(
        "trl.generation.vllm_generation.VLLMGeneration",
        "_fix_param_name_to_vllm",
        "r1sgg.training.engine",
        "wraps",
        "transformers names LLaVA's vision tower without a part of the name that vLLM 0.32 expects",
    ),
    Internal(
        "trl.generation.vllm_client.VLLMClient",
        "image_features",
        "r1sgg.training.engine.RolloutEngine",
        "wraps for the time of one call",
        "the gate compares the number of image features that a server makes",
        ("images",),
    ),
    Internal(
        "trl.generation.vllm_client",
        "parse_logprobs",
        "r1sgg.training.engine",
        "replaces while a trainer asks a server",
        "it does not read the replies of vLLM 0.32, which name tokens by token_id",
    ),
    Internal(
        "vllm.v1.engine.llm_engine.LLMEngine",
        "add_request",
        "r1sgg.inference.vllm_inputs.EngineInputs",
        "wraps for the time of one call",
        "vLLM returns neither the number of image features nor the size of the resized image",
        ("request_id", "prompt"),
        needs="vllm",
    ),
    Internal(
        "vllm.model_executor.layers.utils",
        "dispatch_cpu_unquantized_gemm",
        "r1sgg.training.engine",
        "replaces while the engine is made",
        "on CPUs vLLM packs weights into a layout that TRL's weight sync does not reach",
        ("layer", "remove_weight"),
        needs="vllm",
    ),
    Internal(
        "trl.GRPOTrainer",
        "_get_per_token_logps_and_entropies",
        "r1sgg.training.gate",
        "calls",
        "the gate compares the engine with the log-probabilities that are trained",
        ("model", "input_ids", "attention_mask", "logits_to_keep", "num_images"),
    ),
    Internal(
        "transformers.GenerationMixin",
        "generate",
        "r1sgg.training.rollouts.GuidedRollouts",
        "replaces on the model for the time of one call",
        "TRL's call passes no logits processors",
        ("logits_processor",),
    ),
    Internal(
        "trl.distributed",
        "DistributedBackend",
        _VALIDATION,
        "imports",
        "tells how the weights are spread over processes, so that the evaluation can gather them",
        ("accelerator",),
    ),
    Internal(
        "trl.models.utils",
        "unwrap_model_for_generation",
        _VALIDATION,
        "imports",
        "gathers the weights of ZeRO-3 for generation",
        ("model", "accelerator"),
    ),
    # ---- the arithmetic of memory
    Internal(
        "transformers.PreTrainedModel",
        "_no_split_modules",
        "r1sgg.training.shape",
        "reads",
        "the classes of the layers that accelerate shards and gathers one by one",
    ),
    # ---- r1sgg.models
    Internal(
        "transformers.models.qwen2_vl.image_processing_qwen2_vl",
        "smart_resize",
        "r1sgg.models.coordinates",
        "imports",
        "the size after the processor's own resizing, without resizing",
        ("height", "width", "factor", "min_pixels", "max_pixels"),
    ),
)
