"""Names of functions and methods of the libraries that train models, by what they do."""

import re

DEEPEST = 7
MODES = frozenset({"train", "eval", "zero_grad", "state_dict", "load_state_dict", "compile"})
TAKEN = frozenset({"parameters", "named_parameters", "trainable_variables", "param_groups"})
FORWARD = frozenset(
    {"forward", "encode", "decode", "features", "predict", "predict_proba", "log_prob", "generate",
     "forward_features", "decision_function"}
)  # fmt: skip
GROWS = frozenset({"append", "extend", "add", "insert", "update", "appendleft", "put"})
WRITES = frozenset(
    {"fill_", "zero_", "masked_fill_", "index_fill_", "copy_", "index_put_", "index_copy_", "put_"}
)
SUMS = frozenset({"add_", "sub_", "add", "sub", "mul", "mul_", "lerp", "lerp_"})
REDUCES = frozenset({"max", "min", "mean", "sum", "median", "amax", "amin", "std"})
MAKES = frozenset(
    {"zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like",
     "new_zeros", "new_ones", "new_full", "eye", "linspace", "arange"}
)  # fmt: skip
TENSORS = frozenset({"tensor", "as_tensor", "array", "asarray", "from_numpy", "LongTensor",
                     "FloatTensor", "Tensor", "constant", "convert_to_tensor"})  # fmt: skip
WRAPS = frozenset({"list", "tuple", "iter", "reversed", "tqdm", "trange", "cycle", "islice", "chain",
                   "set", "deque", "prefetch", "shuffle"})  # fmt: skip
PLAIN = frozenset({"len", "isinstance", "print", "type", "id", "super", "hasattr", "str", "open"})
OPTIONS = frozenset(
    {"reduction", "weight", "ignore_index", "label_smoothing", "beta", "delta", "size_average",
     "reduce", "pos_weight", "from_logits", "log_target", "axis", "dim", "margin", "p", "eps"}
)  # fmt: skip
"""Keywords of losses that hold no labels."""
CHANCE = re.compile(
    r"(numpy\.random|random|.*\.random)\..+|torch\.(rand|randn|randint|randperm|bernoulli|normal"
    r"|multinomial)(_like)?"
)
AUGMENT = re.compile(r"(torchvision|albumentations|kornia|torchaudio|audiomentations|imgaug)\b.*")
KNOWN = re.compile(r"(torch|numpy|tensorflow|keras|jax|scipy|sklearn|pandas|math|builtins|operator"
                   r"|itertools|functools|copy|einops|torchvision|collections)\b")  # fmt: skip
LOSSES = re.compile(r".*(_loss|cross_?entropy|kl_div|cross_entropy_with_logits|_loss_with_logits)$")
