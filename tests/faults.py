"""Faults that `mutants` plants in the package, each with the tests that must see it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A text in a file of the package, what stands there instead, and the tests that see it.

    Attributes
    ----------
    file : str
        Within the package.
    text, instead : str
        What is replaced, which the file has once, and by what.
    tests : str
        A file of tests.
    matching : str
        Which of its tests, as for pytest's ``-k``; all if it is empty.
    """

    file: str
    text: str
    instead: str
    tests: str
    matching: str = ""


FAULTS = (
    # What CUDA's kernels make for themselves, and cuBLAS.
    Fault(
        "step/ops/elementwise.py",
        'scratch = tape.new(rows, width, dtype, "gradient * softmax")',
        "scratch = None",
        "test_scratch.py",
        "eager or softmax",
    ),
    Fault(
        "step/ops/attention.py",
        "if k.width < q.width:",
        "if False:",
        "test_scratch.py",
        "grouped",
    ),
    Fault(
        "step/ops/products.py",
        "tokens // 10 + min(tokens, table)",
        "min(tokens, table)",
        "test_scratch.py",
        "many or tens",
    ),
    Fault(
        "step/replay.py",
        "return [first, *body[:backward], second, *body[backward:]]",
        "return [first, *body]",
        "test_replay.py",
        "workspace",
    ),
    # The operators: what each keeps for backward, in which dtype it computes.
    Fault(
        "step/tape.py",
        "elif self.arrived.is_view and not self.owns_first:",
        "elif False:",
        "test_traced.py",
        "llama-3.2-1b and bf16",
    ),
    Fault(
        "step/tape.py",
        "stopped = last.logged - 1 if last else start",
        "stopped = end",
        "test_traced.py",
        "lora-dropout and checkpointing",
    ),
    Fault(
        "step/ops/checkpoint.py",
        "recording, tape.recording = tape.recording, False\n    out = run(x)",
        "recording = tape.recording\n    out = run(x)",
        "test_traced.py",
        "llama-3.2-1b and checkpointing",
    ),
    Fault(
        "step/ops/checkpoint.py",
        "outlasting, tape.outlasting = tape.outlasting, []",
        "outlasting = tape.outlasting",
        "test_traced.py",
        "qlora-int8 and entrant and eager",
    ),
    Fault(
        "step/tape.py",
        "if held is not None and self.grad.storage is held.storage:",
        "if held is None:",
        "test_traced.py",
        "mistral-7b and entrant and eager",
    ),
    Fault(
        "estimate/versions.py",
        "if version < until and",
        "if version <= until and",
        "test_older_versions.py",
    ),
    Fault(
        "step/ops/elementwise.py",
        "return a if a is b else FLOAT32",
        "return a",
        "test_traced.py",
        "float16 or fp16",
    ),
    Fault(
        "step/ops/elementwise.py",
        "saved = [a if b_wants else None, b if a_wants else None]",
        "saved = [a, b]",
        "test_traced.py",
        "qwen3-0.6b and lora",
    ),
    Fault(
        "step/ops/elementwise.py",
        "return follows(x.tape.new(x.rows, x.width, x.dtype, what), x, x)",
        "return follows(x.tape.new(x.rows, x.width, x.dtype, what), x)",
        "test_traced.py",
        "llama-3.2-1b and lora",
    ),
    Fault(
        "step/ops/elementwise.py",
        'x.tape.new(x.rows, x.width, BOOL, "mask")',
        'x.tape.new(x.rows, x.width, x.dtype, "mask")',
        "test_traced.py",
        "lora-dropout and llama",
    ),
    Fault(
        "step/ops/elementwise.py",
        "        saved = detach(out)\n\n        def backward(grad: Tensor) -> Gradients:",
        "        saved = None\n\n        def backward(grad: Tensor) -> Gradients:",
        "test_traced.py",
        "llama-3.2-1b and eager",
    ),
    Fault(
        "step/ops/products.py",
        "saved_x = x if weight.node is not None else None\n        saved_weight = weight",
        "saved_x = x\n        saved_weight = weight",
        "test_traced.py",
        "llama-3.2-1b and lora",
    ),
    Fault(
        "step/ops/products.py",
        "tape.casts[id(weight)] = copy",
        "pass",
        "test_traced.py",
        "llama-3.2-1b and autocast",
    ),
    Fault(
        "step/ops/attention.py",
        'bias = None if mask is None else tape.new(rows, length, dtype, "mask as numbers")',
        "bias = None",
        "test_traced.py",
        "padded",
    ),
    Fault(
        "step/ops/attention.py",
        "saved = q, k, v, detach(out), logsumexp, bias",
        "saved = q, k, v, logsumexp, bias",
        "test_traced.py",
        "lora-qv",
    ),
    Fault(
        "step/ops/attention.py",
        "tape.work(2.5 * flops)",
        "tape.work(2 * flops)",
        "test_runtime.py",
        "hand or six_flops",
    ),
    Fault(
        "step/ops/scan.py",
        "saved = [query, key, decayed, weights, corrected, states]",
        "saved = [query, key, decayed, weights, corrected]",
        "test_traced.py",
        "qwen3.5",
    ),
    Fault(
        "step/ops/kernels.py",
        "saved = detach(gate), detach(up)",
        "saved = detach(gate), detach(gate)",
        "test_losses.py",
    ),
    Fault(
        "step/ops/kernels.py",
        "saved, trains, dtype = (detach(x), rstd), weight",
        "saved, trains, dtype = rstd, weight",
        "test_losses.py",
    ),
    # Losses.
    Fault(
        "step/losses.py",
        'logits = ops.to(logits, FLOAT32, "logits in float32")\n    return',
        "return",
        "test_traced.py",
        "llama-3.2-1b and bf16",
    ),
    Fault("step/losses.py", "CHUNKS = 8", "CHUNKS = 16", "test_losses.py"),
    Fault(
        "step/losses.py",
        "saved = ops.detach(wide)",
        'saved = tape.new(wide.rows, wide.width, FLOAT32, "gradient")',
        "test_losses.py",
    ),
    Fault(
        "step/losses.py", "chunk = _power_of_two(", "chunk = 2 * _power_of_two(", "test_liger.py"
    ),
    # The families: a norm, a mask, a copy that one has and another has not.
    Fault(
        "step/norms.py",
        'scaled = ops.mul(normed(x), ops.scale(ops.to(weight, FLOAT32)), "scaled")',
        "scaled = ops.mul(ops.to(normed(x), x.dtype), weight)",
        "test_traced.py",
        "gemma-2-2b",
    ),
    Fault(
        "families/falcon.py", "        always_masked=True,\n", "", "test_traced.py", "falcon-40b"
    ),
    Fault(
        "families/olmo2.py",
        'q = float32_rms_norm(layer, "self_attn.q_norm"',
        'from ..step.norms import rms_norm\n\n    q = rms_norm(layer, "self_attn.q_norm"',
        "test_traced.py",
        "olmo-2-7b",
    ),
    Fault(
        "families/gemma.py",
        'x = gemma_rms_norm(layer, "post_feedforward_layernorm", x)',
        "pass",
        "test_traced.py",
        "gemma-2-2b",
    ),
    Fault(
        "families/gpt_oss.py",
        "gate = ops.clamp(gate, bounds=1)",
        "pass",
        "test_traced.py",
        "gpt-oss",
    ),
    Fault(
        "families/parts/attention.py",
        "wide = FLOAT32 if context.float32_softmax else scores.dtype",
        "wide = scores.dtype",
        "test_traced.py",
        "eager and llama",
    ),
    Fault(
        "families/parts/attention.py",
        "WIDEST_GROUPED = 256",
        "WIDEST_GROUPED = 1024",
        "test_traced.py",
        "gemma-4",
    ),
    Fault(
        "families/parts/experts.py",
        'return Routing(logits, ops.to(scores, logits.dtype, "scores"), chosen)',
        "return Routing(scores, scores, chosen)",
        "test_traced.py",
        "qwen3-30b",
    ),
    Fault(
        "families/parts/mamba.py",
        'x = ops.to(x, FLOAT32, "x in float32")',
        "pass",
        "test_traced.py",
        "granite-4.0-h",
    ),
    Fault(
        "families/qwen.py",
        "attention_weights(config, bias=True, out_bias=False)",
        "attention_weights(config, bias=False, out_bias=False)",
        "test_traced.py",
        "qwen2.5-0.5b and bf16",
    ),
    Fault(
        "families/parts/experts.py",
        'ops.linear(ops.to(x, FLOAT32, "input in float32"), weight)',
        "ops.linear(x, weight)",
        "test_traced.py",
        "deepseek-v3",
    ),
    Fault(
        "families/glm4_moe.py",
        'attention_weights(config, config["attention_bias"], out_bias=False)',
        'attention_weights(config, config["attention_bias"])',
        "test_traced.py",
        "glm",
    ),
    Fault(
        "families/lfm2.py",
        'linear("conv.in_proj", hidden, 3 * hidden, biased)',
        'linear("conv.in_proj", hidden, 2 * hidden, biased)',
        "test_traced.py",
        "lfm2",
    ),
    # Methods, optimizers and what a trainer does by itself.
    Fault(
        "trainers/trl.py",
        "reduces_gradients_in_last_pass=True",
        "reduces_gradients_in_last_pass=False",
        "test_sharding.py",
        "accumulated",
    ),
    Fault(
        "step/methods/lora.py",
        'scaled = tape.new(outputs, inputs, x.dtype, "adapter scaled")',
        "scaled = None",
        "test_traced.py",
        "dora and llama",
    ),
    Fault(
        "step/methods/qlora.py",
        "self.compute_dtype = BFLOAT16",
        'self.compute_dtype = DTYPES["float32"]',
        "test_traced.py",
        "qlora and llama",
    ),
    Fault(
        "step/methods/quantized.py",
        "NF4_BLOCK = 64",
        "NF4_BLOCK = 128",
        "test_traced.py",
        "qlora and llama",
    ),
    Fault(
        "step/methods/quantized.py",
        "SCALE_BLOCK = 256",
        "SCALE_BLOCK = 64",
        "test_traced.py",
        "qlora and llama",
    ),
    Fault(
        "step/methods/osft.py",
        'for factor, rows, width in (("U", outputs, k), ',
        "for factor, rows, width in (",
        "test_osft.py",
        "decomposition",
    ),
    Fault(
        "step/methods/osft.py",
        "(1 - settings.unfreeze_rank_ratio) or 0.5",
        "1 - settings.unfreeze_rank_ratio",
        "test_osft.py",
        "half",
    ),
    Fault("step/methods/optimizers.py", " or is_table", "", "test_traced.py", "8-bit"),
    Fault(
        "step/methods/optimizers.py",
        "BNB_BLOCK = 256",
        "BNB_BLOCK = 2048",
        "test_traced.py",
        "8bit",
    ),
    Fault(
        "step/methods/optimizers.py",
        "return (FLOAT32,) * (2 if dtype is FLOAT32 else 4)",
        "return (FLOAT32,) * 2",
        "test_traced.py",
        "adafactor",
    ),
    Fault(
        "step/methods/optimizers.py",
        'ALL_AT_ONCE = {"adamw_torch"}',
        'ALL_AT_ONCE = {""}',
        "test_traced.py",
        "adamw_torch",
    ),
    Fault(
        "step/states.py",
        '            ("U halves", rows, rank),\n',
        "",
        "test_osft.py",
        "decomposed",
    ),
    # Sharding: FSDP's two versions, DeepSpeed's three stages.
    Fault(
        "step/sharding/sharding.py",
        'if strategy == "fsdp2" and mixed and method in trainer.reduces_in_float32',
        "if False",
        "test_traced.py",
        "osft and fsdp",
    ),
    Fault(
        "step/sharding/sharding.py",
        'buckets=strategy == "ddp" and gpus > 1',
        "buckets=False",
        "test_sharding.py",
        "ddp",
    ),
    Fault(
        "step/sharding/fsdp2.py",
        "        self._copy_out(layer)\n        self._free_all_gather()",
        "        self._free_all_gather()\n        self._copy_out(layer)",
        "test_traced.py",
        "fsdp and 6",
    ),
    Fault(
        "step/layer.py",
        "    if sharding.upcasts_trained:",
        "    if False:",
        "test_sharding.py",
        "accelerate_keeps",
    ),
    Fault(
        "step/sharding/sharding.py",
        "        and not _is_4bit(settings),\n",
        ",\n",
        "test_sharding.py",
        "4_bit_ones",
    ),
    Fault(
        "step/sharding/tables_apart.py",
        "            self._post_backward(self.tail)",
        "            pass",
        "test_traced.py",
        "prepared and mistral",
    ),
    Fault(
        "step/methods/qlora.py",
        "if self.packs_integers and not self.shards_scales:",
        "if False:",
        "test_sharding.py",
        "4_bit_weights_in_integers",
    ),
    Fault(
        "step/sharding/fsdp1.py",
        "self._prefetch()\n\n    def post_backward",
        "\n    def post_backward",
        "test_traced.py",
        "flat",
    ),
    Fault(
        "step/methods/parameter.py",
        "rows=-(-self.rows // gpus)",
        "rows=self.rows // gpus",
        "test_traced.py",
        "fsdp and 6",
    ),
    Fault(
        "config/zero_optimization.py",
        '"reduce_bucket_size": 500_000_000',
        '"reduce_bucket_size": 200_000_000',
        "test_sharding.py",
    ),
    Fault(
        "config/zero_optimization.py",
        '"stage3_max_live_parameters": 1_000_000_000',
        '"stage3_max_live_parameters": 2_000_000_000',
        "test_sharding.py",
    ),
    Fault(
        "step/sharding/zero.py",
        "layer.until_used[last] = flat",
        "del flat",
        "test_traced.py",
        "zero3 and 1b and long",
    ),
    Fault(
        "step/sharding/zero.py",
        "if not _is_of_experts(parameter):",
        "if True:",
        "test_traced.py",
        "mixtral and zero3",
    ),
    Fault(
        "step/sharding/zero.py",
        "for size in reversed(_sizes(layers)):",
        "for size in _sizes(layers):",
        "test_traced.py",
        "mixtral and zero1",
    ),
    Fault(
        "step/sharding/sharding.py",
        "if gpus > 1 or offloads else",
        "if gpus > 1 else",
        "test_sharding.py",
        "one_gpu",
    ),
    Fault(
        "step/sharding/zero.py",
        "if flat.dtype is not FLOAT32:",
        "if False:",
        "test_sharding.py",
        "joins",
    ),
    Fault(
        "step/sharding/fsdp2.py",
        "self.all_reduce_inputs.append(reduced)",
        "pass",
        "test_traced.py",
        "hsdp and in and bf16",
    ),
    Fault(
        "step/sharding/sharding.py",
        'gpus // settings.num_nodes if settings.sharding == "hsdp" else gpus',
        "gpus",
        "test_sharding.py",
        "hybrid",
    ),
    # What lies beside tensors; times; other people's formulas.
    Fault("estimate/overhead.py", "int(0.3 * GiB)", "int(0.45 * GiB)", "test_overhead.py"),
    Fault("estimate/overhead.py", "count = 2 if", "count = 1 if", "test_laws.py", "communicator"),
    Fault(
        "estimate/run_time.py",
        "OPTIMIZER_TRAFFIC = 7",
        "OPTIMIZER_TRAFFIC = 5",
        "test_runtime.py",
        "adamw",
    ),
    Fault("estimate/pace.py", "matmul=0.75", "matmul=0.6", "test_runtime.py", "published"),
    Fault(
        "estimate/published.py",
        "min(shape) * sum(shape) + min(shape)",
        "min(shape) * min(shape) + min(shape)",
        "test_osft.py",
        "decomposed",
    ),
    Fault("estimate/published.py", "constant = 7 / 3", "constant = 8 / 3", "test_published.py"),
    Fault(
        "estimate/published.py",
        "return saved * self.unfreeze_rank_ratio if",
        "return saved if",
        "test_training_hub.py",
        "released_code_says",
    ),
    Fault(
        "estimate/estimate.py",
        "return self.high <= self.gpu.usable",
        "return self.expected <= self.gpu.usable",
        "test_laws.py",
        "verdict",
    ),
    # What trains beside adapters, what is frozen, and what a loader casts.
    Fault(
        "step/methods/lora.py",
        "return [*(p._replace(name=original) for p in originals), copy]",
        "return [copy]",
        "test_traced.py",
        "saved",
    ),
    Fault(
        "step/methods/lora.py",
        "if module == self.embedding_name and self.trainable_tokens:",
        "if False:",
        "test_traced.py",
        "tokens",
    ),
    Fault(
        "step/ops/products.py",
        "    rows = _adapter_in(weight.dtype, rows)",
        "",
        "test_traced.py",
        "tokens",
    ),
    Fault(
        "step/methods/expert_targets.py",
        "found |= {name: 1 for name",
        "found |= {name: 2 for name",
        "test_traced.py",
        "parameters",
    ),
    Fault(
        "step/methods/full.py",
        "trains = self.is_trained(name) if self.is_trained else self.trains_base",
        "trains = self.trains_base",
        "test_traced.py",
        "trains",
    ),
    Fault(
        "trainers/axolotl.py",
        'return frozenset({"norm", "router"} | tables)',
        'return frozenset({"norm", "router"})',
        "test_traced.py",
        "axolotl",
    ),
    Fault(
        "trainers/axolotl.py",
        'frozenset({"router", "other", "lm_head"} - tables)',
        'frozenset({"router", "other", "lm_head", "embedding"})',
        "test_traced.py",
        "qlora",
    ),
    Fault(
        "step/losses.py",
        'average = tape.new(vocabulary, 1, FLOAT32, "mean logits")',
        'average = tape.new(vocabulary, 8, FLOAT32, "mean logits")',
        "test_losses.py",
        "cut",
    ),
    Fault(
        "step/methods/optimizers.py",
        "size >= BNB_MIN_8BIT and size % block == 0",
        "size >= BNB_MIN_8BIT",
        "test_optimizers.py",
    ),
    Fault(
        "step/methods/targets.py",
        "targets, saved = tuple(name for name in targets if name not in moved), saved | moved",
        "targets = tuple(name for name in targets if name not in moved)",
        "test_targets.py",
        "unsloth",
    ),
    # Readers.
    Fault(
        "estimate/estimate.py",
        "if self.fits and not too_little:",
        "if self.fits:",
        "test_laws.py",
        "verdict",
    ),
    # Exports.
    Fault(
        "export/training_hub.py",
        '"nproc_per_node", config.num_gpus // config.num_nodes',
        '"nproc_per_node", config.num_gpus',
        "test_export.py",
        "training_hub and round",
    ),
    Fault(
        "export/trl.py",
        'arguments["packing"] = not config.padded',
        'arguments["packing"] = config.padded',
        "test_export.py",
        "trl and round",
    ),
    Fault(
        "export/axolotl.py",
        'draft.put("dp_replicate_size", config.num_nodes)',
        'draft.put("dp_replicate_size", config.num_gpus)',
        "test_export_keys.py",
    ),
    Fault(
        "export/llamafactory.py",
        '"nf4": 4, "int8": 8',
        '"nf4": 4, "int8": 4',
        "test_export_keys.py",
    ),
    Fault(
        "export/kubeflow.py",
        '"numNodes": nodes',
        '"numNodes": per_node',
        "test_export.py",
        "train_job",
    ),
    Fault(
        "export/deepspeed.py",
        'if config.cpu_offload in ("optimizer", "all"):',
        'if config.cpu_offload == "optimizer":',
        "test_export_keys.py",
    ),
    # GPUs.
    Fault(
        "gpu/catalogue.py",
        'memory=int(line["memory_gb"] * GiB)',
        'memory=int(line["memory_gb"] * 1e9)',
        "test_gpu.py",
    ),
    Fault(
        "gpu/catalogue.py",
        'line["bandwidth_gb_s"] * 1e9',
        'line["bandwidth_gb_s"] * GiB',
        "test_gpu.py",
    ),
    Fault(
        "gpu/discovery.py",
        "bandwidth=kind.bandwidth * card.memory_share",
        "bandwidth=kind.bandwidth",
        "test_gpu.py",
    ),
    Fault(
        "gpu/device.py",
        "found[: max(1, num_gpus)][-1]",
        "found[: max(1, num_gpus)][0]",
        "test_gpu.py",
    ),
    # Advice.
    Fault(
        "advise/search.py",
        "found is not None and found.fits",
        'found is not None and found.verdict != "does_not_fit"',
        "test_suggest.py",
        "lowered",
    ),
    Fault(
        "advise/largest.py",
        "found is not None and found >= 0:\n                good",
        "found is not None:\n                good",
        "test_largest.py",
        "line or reads",
    ),
    Fault(
        "advise/ladders/lossless.py",
        "more = passes * size // each",
        "more = passes",
        "test_suggest.py",
        "effective",
    ),
    Fault(
        "advise/ladders/feasible.py",
        'if values["optimizer_in_backward"] and',
        "if False and",
        "test_suggest.py",
        "summed",
    ),
    Fault(
        "advise/recommend.py",
        'if row.verdict(method) == "fits"',
        'if row.verdict(method) != "does_not_fit"',
        "test_recommend.py",
        "likely",
    ),
    # Checkpoints.
    Fault(
        "model/reconcile.py",
        "return stored if len(stored) == len(implied) else implied",
        "return implied",
        "hub/test_reconcile.py",
        "other_shapes",
    ),
    Fault(
        "model/stored_names.py",
        'both = gates + projections.pop("up_proj", [])',
        "both = gates",
        "hub/test_reconcile.py",
    ),
    Fault("model/quantized.py", 'return "awq" if', 'return "gptq" if', "hub/test_quantized.py"),
    Fault(
        "model/safetensors.py",
        "if begins != end:",
        "if begins < end:",
        "hub/test_hostile.py",
        "lying",
    ),
    # A model split over cards, and what a trainer runs.
    Fault(
        "step/model_split.py",
        "(max(coming, default=0) if card == 0 else 0)",
        "0",
        "test_model_split.py",
        "transformers",
    ),
    Fault(
        "estimate/run_time.py",
        "gpus, passes = config.num_processes,",
        "gpus, passes = config.num_gpus,",
        "test_model_split.py",
        "works",
    ),
    Fault(
        "trainers/training_hub.py",
        '"lora": frozenset({"ddp", "device_map"}),',
        '"lora": frozenset({"ddp", "zero3", "device_map"}),',
        "test_trainers.py",
        "refused",
    ),
)
