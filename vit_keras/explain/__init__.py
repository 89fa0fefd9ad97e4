"""Looking inside: what a Vision Transformer does with an image, on any model that `vit` made, without changing it."""

from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.explain.anatomy_report import anatomy_report as anatomy_report
    from vit_keras.explain.anatomy_steps import anatomy as anatomy
    from vit_keras.explain.attention import attention_maps as attention_maps
    from vit_keras.explain.block_features import feature_extractor as feature_extractor
    from vit_keras.explain.block_features import features as features
    from vit_keras.explain.drawing import overlay as overlay
    from vit_keras.explain.drawing import show as show
    from vit_keras.explain.relevance import class_relevance as class_relevance
    from vit_keras.explain.relevance import gradient_rollout as gradient_rollout
    from vit_keras.explain.rollout import attention_rollout as attention_rollout
    from vit_keras.explain.statistics import mean_attention_distance as mean_attention_distance
    from vit_keras.explain.statistics import patch_filters as patch_filters
    from vit_keras.explain.statistics import position_similarity as position_similarity
    from vit_keras.explain.statistics import prefix_attention as prefix_attention
    from vit_keras.explain.statistics import token_colors as token_colors

_HOMES = {
    "anatomy": "explain.anatomy_steps",
    "anatomy_report": "explain.anatomy_report",
    "attention_maps": "explain.attention",
    "attention_rollout": "explain.rollout",
    "class_relevance": "explain.relevance",
    "feature_extractor": "explain.block_features",
    "features": "explain.block_features",
    "gradient_rollout": "explain.relevance",
    "mean_attention_distance": "explain.statistics",
    "overlay": "explain.drawing",
    "patch_filters": "explain.statistics",
    "position_similarity": "explain.statistics",
    "prefix_attention": "explain.statistics",
    "show": "explain.drawing",
    "token_colors": "explain.statistics",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
