"""Other libraries' names of the fields of `ViTConfig` and of their values, for error messages."""

_HEAD = "num_classes, an argument of vit and from_preset; 0 builds the model without a head"
_POLICY = "keras.config.set_dtype_policy, before the model is built"

_FIELDS: dict[str, tuple[str, ...]] = {
    "num_layers": (
        "depth", "depths", "layers", "n_layers", "n_layer", "num_hidden_layers", "num_blocks", "blocks", "transformer_layers",
    ),
    "hidden_dim": ("embed_dim", "embedding_dim", "hidden_size", "dim", "width", "d_model", "projection_dim", "n_embd"),
    "num_heads": ("heads", "n_heads", "n_head", "num_attention_heads", "attention_heads"),
    "mlp_dim": ("intermediate_size", "mlp_hidden_dim", "hidden_features", "ffn_dim", "dim_feedforward"),
    "mlp_dim, which is mlp_ratio * hidden_dim": ("mlp_ratio",),
    "image_size": ("img_size", "input_size", "img_dim", "resolution"),
    "image_size=(height, width) and channels": ("input_shape", "image_shape"),
    "channels": ("in_chans", "in_channels", "num_channels", "input_channels"),
    "patch_size": ("patches", "patch_dim"),
    "pixel_mean": ("mean", "image_mean"),
    "pixel_std": ("std", "image_std"),
    "stochastic_depth_rate": ("drop_path_rate", "drop_path", "droppath", "survival_probability", "stochastic_depth"),
    "dropout_rate": ("drop_rate", "dropout", "hidden_dropout_prob", "proj_drop_rate", "emb_dropout"),
    "attention_dropout_rate": ("attn_drop_rate", "attn_drop", "attention_dropout", "attention_probs_dropout_prob"),
    "layer_scale": ("init_values", "layerscale_value", "layer_scale_init_value", "init_value"),
    "num_registers": ("reg_tokens", "num_register_tokens", "num_reg_tokens", "registers", "register_tokens"),
    "pooling": ("global_pool", "pool", "classifier", "pool_type", "pooling_type"),
    "activation": ("act_layer", "hidden_act", "act", "hidden_activation", "mlp_activation"),
    "norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_eps", "epsilon", "eps", "rms_norm_eps"),
    "norm": ("norm_layer",),
    "block_norm": ("block_fn", "norm_first"),
    "patch_norm": ("embed_norm_layer",),
    "projection_bias": ("proj_bias", "mlp_bias"),
    "differential_attention": ("attn_layer",),
    "relative_position": ("use_rel_pos_bias", "use_relative_position_bias", "rel_pos_type"),
    "relative_position_shared": (
        "use_shared_rel_pos_bias", "use_shared_relative_position_bias", "shared_rel_pos",
    ),
    "relative_position_dim": ("rel_pos_dim",),
    "stem_norm": ("pre_norm",),
    "final_norm": ("fc_norm", "use_fc_norm"),
    "qkv_bias": ("use_mha_bias", "attention_bias"),
    "qk_norm": ("use_qk_norm",),
    "gated_mlp": ("use_swiglu_ffn", "swiglu_mlp", "use_gated_mlp", "swiglu"),
    "pre_logits_dim": ("representation_size", "pooler_output_size"),
    "rotary_temperature": ("rope_theta", "rope_temperature"),
    "rotary_offset": ("rope_grid_offset", "grid_offset"),
    "rotary_embedding": ("use_rope", "rope", "use_rot_pos_emb"),
    "num_map_heads": ("attn_pool_num_heads",),
    "map_mlp_dim, the width itself": ("attn_pool_mlp_ratio",),
    "map_includes_prefix": ("pool_include_prefix",),
    'position_embedding="none"': ("use_abs_pos_emb", "pos_embed"),
    "position_on_prefix": ("no_embed_class",),
    'remat="block"': ("gradient_checkpointing", "grad_checkpointing", "set_grad_checkpointing"),
    _HEAD: ("num_labels", "classes", "n_classes", "nb_classes", "include_top", "include_rescaling"),
    "weights, an argument of from_preset: a tag of the preset or a path": (
        "pretrained", "checkpoint_path", "pretrained_weights", "load_weights",
    ),
    _POLICY: ("dtype", "dtype_policy", "torch_dtype", "precision"),
    "classifier_activation, an argument of vit and from_preset": ("classifier_activation", "classifier_act", "head_activation"),
    "name, an argument of vit and from_preset": ("name", "model_name"),
    "dynamic_image_size": ("dynamic_img_size", "dynamic_img_pad", "interpolate_pos_encoding", "strict_img_size"),
    "max_num_patches": ("max_seq_len", "use_naflex", "naflex"),
    "feature_extractor(model, blocks=[...], as_grid=True), which returns a model of feature maps": (
        "features_only", "out_indices", "out_features", "output_hidden_states", "return_features", "as_backbone",
    ),
    "save_preset(..., class_names=[...]) to name the classes": ("id2label", "label2id"),
    "accept_license, an argument of from_preset": ("accept_licence",),
    "offline, an argument of from_preset": ("local_files_only", "force_download"),
    "the environment variable VIT_KERAS_CACHE": ("cache_dir",),
    "the preset's first argument NAME:TAG, or weights": ("revision", "pretrained_cfg", "pretrained_cfg_overlay", "variant"),
    "keras.Model(inputs, model(inputs)), which calls the model on any tensor": ("input_tensor",),
    "vk.data.preset_preprocessing(preset), given to vk.data.load; the model normalizes pixels itself": (
        "preprocessor", "image_processor", "transforms", "rescaling",
    ),
    "nothing: a head for other classes is new without asking, and every change is logged": ("ignore_mismatched_sizes",),
    "nothing: no code of a checkpoint is ever run": ("trust_remote_code", "safe_mode"),
    "rebuild(model, num_classes=...) for a head on a model": ("backbone",),
}  # fmt: skip

FIELD_SYNONYMS = {synonym: field for field, synonyms in _FIELDS.items() for synonym in synonyms}
"""What to use here, by another library's name for a field."""

VALUE_SYNONYMS = {
    "pooling": {
        "cls": "token", "class_token": "token", "first": "token", "avg": "mean", "gap": "mean", "average": "mean",
        "attention": "map", "attn": "map",
    },
    "activation": {
        "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_python": "gelu",
        "swish": "silu", "swiglu": "silu",
    },
    "position_embedding": {"learn": "learned", "absolute": "learned", "sincos": "sincos2d", "sin-cos": "sincos2d"},
    "qkv_bias": {"True": "all", "False": "none"},
    "final_norm": {"True": "before", "False": "none"},
    "norm": {"rmsnorm": "rms", "RmsNorm": "rms", "layernorm": "layer", "LayerNorm": "layer"},
    "block_norm": {"pre": "before", "post": "after", "True": "before", "False": "after"},
    "relative_position": {"True": "table", "False": "none", "bias": "table"},
    "rotary_embedding": {"True": "axial", "rope": "axial"},
}  # fmt: skip
"""Our value by another library's value, by field."""
