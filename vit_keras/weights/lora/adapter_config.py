"""PEFT's adapter_config.json: what it says of an adapter's scale, and what of it can't be represented.

Compared with peft 0.21, `tuners/lora/config.py` and `utils/other.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.validation import is_number
from vit_keras.weights.settings.read import read_json

ADAPTER_CONFIG = "adapter_config.json"
_INITIALIZATIONS = (
    True,
    False,
    "gaussian",
    "eva",
    "orthogonal",
    "mica",
    "loftq",
)  # those that leave the base model's weights as they are
_READ = {
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "bias", "base_model_name_or_path",
}  # fmt: skip
# Which tensors there are says what these say; or they matter only for training or for PEFT itself.
_NO_EFFECT = {
    "auto_mapping", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_dropout", "megatron_core", "modules_to_save", "peft_version", "qalora_group_size",
    "revision", "runtime_config", "target_modules", "task_type", "lora_ga_config", "corda_config",
}  # fmt: skip
_NAMES = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "use_bdlora": "BD-LoRA",
}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What determines the scale of each adapter."""

    origin: str  # the file, for messages
    rank: int | None = None  # None for the rank that the tensors have
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)  # by a regular expression of the module's name
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    scaling: str = "rank"  # or "sqrt_rank"
    base_model: str | None = None  # name or path of the model that the adapter was trained on

    def rank_of(self, module: str) -> int | None:
        """Returns the rank of a module's adapter."""
        key = _find_pattern(self.rank_pattern, module)
        return self.rank if key is None else self.rank_pattern[key]

    def alpha_of(self, module: str) -> float:
        """Returns the alpha of a module's adapter."""
        key = _find_pattern(self.alpha_pattern, module)
        return self.alpha if key is None else self.alpha_pattern[key]


def read_adapter_config(path: Path) -> AdapterConfig:
    """Returns what PEFT's adapter_config.json says.

    Raises:
        StorageError: It can't be read.
        CorruptFileError: It is damaged.
        InvalidArgumentError: It describes something other than LoRA, or a variant that can't be represented; the message names it.
    """
    values = read_json(path)
    if not isinstance(values, dict) or "peft_type" not in values:
        raise CorruptFileError(
            f"{path}: this is not PEFT's config of an adapter; expected a JSON object with peft_type."
        )
    reasons = []
    if values["peft_type"] != "LORA":
        reasons.append(f"peft_type={values['peft_type']!r} is not LORA")
    for name, value in values.items():
        if name not in _READ | _NO_EFFECT and value not in (None, False, [], {}, ""):
            what = f" ({_NAMES[name]})" if name in _NAMES else ""
            reasons.append(f"{name}={value!r:.60}{what}")
    if values.get("init_lora_weights", True) not in _INITIALIZATIONS:
        reasons.append(
            f"init_lora_weights={values['init_lora_weights']!r} changes the base model's weights, unless PEFT saved the adapter with "
            "path_initial_model_for_weight_conversion"
        )
    if reasons:
        raise InvalidArgumentError(
            f"{path}: this adapter can't be represented: {'; '.join(reasons)}. Merge it with PEFT (merge_and_unload), save that model, "
            "and load its weights."
        )
    rank_pattern, alpha_pattern = (values.get(name) or {} for name in ("rank_pattern", "alpha_pattern"))
    rank, alpha = values.get("r", 8), values.get("lora_alpha", 8)
    for name, numbers in (("r", [rank]), ("rank_pattern", _values(rank_pattern, path))):
        if not all(type(number) is int and number > 0 for number in numbers):
            raise CorruptFileError(f"{path}: {name} is {values.get(name)!r}; expected positive integers.")
    for name, numbers in (("lora_alpha", [alpha]), ("alpha_pattern", _values(alpha_pattern, path))):
        if not all(is_number(number) and number > 0 for number in numbers):
            raise CorruptFileError(f"{path}: {name} is {values.get(name)!r}; expected positive numbers.")
    for pattern in (*rank_pattern, *alpha_pattern):
        _check_pattern(pattern, path)
    base = values.get("base_model_name_or_path")
    return AdapterConfig(
        origin=str(path), rank=rank, alpha=alpha, rank_pattern=rank_pattern, alpha_pattern=alpha_pattern,
        scaling="sqrt_rank" if values.get("use_rslora") else "rank", base_model=base if isinstance(base, str) else None,
    )  # fmt: skip


def _values(pattern: Any, path: Path) -> list[Any]:
    if not isinstance(pattern, dict):
        raise CorruptFileError(f"{path}: {pattern!r:.100} is not a JSON object of numbers by module.")
    return list(pattern.values())


def _find_pattern(patterns: Mapping[str, Any], module: str) -> str | None:
    return next((each for each in patterns if each == module or re.match(rf"(.*\.)?({each})$", module)), None)


def _check_pattern(pattern: str, path: Path) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise CorruptFileError(f"{path}: {pattern!r} is not a regular expression ({error}).") from error
    if re.search(r"\)\s*[*+{?]", pattern) or len(pattern) > 1000:  # a repeated group can take exponential time
        raise InvalidArgumentError(f"{path}: the pattern {pattern!r:.100} repeats a group; name the modules instead.")
