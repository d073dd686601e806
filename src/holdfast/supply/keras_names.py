"""What a Keras configuration may name: classes and functions of Keras that hold no code.

Names are those of the public API of Keras 2 and 3. A module is only a hint where a name is looked
for, so both the module and the name have to be known: `keras.utils.get_file` is Keras's own too.
"""

import re
from typing import Literal

from holdfast.supply.pickle_names import executes

Standing = Literal["known", "custom", "outside", "runs"]
"""known: harmless part of Keras; custom: a class that the loading program must have; outside: of
another module, which old versions of Keras import; runs: code, files or the network."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LAYERS = _words("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
    Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization
    BatchNormalizationV1 BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop
    Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM1DCell ConvLSTM2D ConvLSTM2DCell
    ConvLSTM3D ConvLSTM3DCell Convolution1D Convolution1DTranspose Convolution2D
    Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D
    Cropping3D Cross CuDNNGRU CuDNNLSTM CutMix Dense DenseFeatures DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Feature
    FeatureSpace Flatten GRU GRUCell GRUCellV2 GRUV1 GRUV2 GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D
    GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup LSTM LSTMCell
    LSTMCellV2 LSTMV1 LSTMV2 Layer LayerNormalization LeakyReLU LinearModel LocallyConnected1D
    LocallyConnected2D Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
    Normalization PReLU PeepholeLSTMCell Permute Pipeline RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomFourierFeatures RandomGaussianBlur
    RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding
    STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D
    SeparableConvolution2D SequenceFeatures SimpleRNN SimpleRNNCell SlicingOpLambda Softmax
    Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
    StackedRNNCells StringLookup Subtract SyncBatchNormalization TernaryDense
    TextVectorization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D WideDeepModel Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")
_MODELS = _words("""
    Function Functional Model Sequential
""")
_ACTIVATIONS = _words("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
    softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
    tanh_shrink threshold
""")
_CONSTRAINTS = _words("""
    MaxNorm MinMaxNorm NonNeg UnitNorm max_norm min_max_norm non_neg unit_norm
""")
_INITIALIZERS = _words("""
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer
    LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform
    STFT STFTInitializer TruncatedNormal VarianceScaling Zeros constant glorot_normal
    glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform normal one ones
    orthogonal random_normal random_uniform stft truncated_normal uniform variance_scaling
    zero zeros
""")
_LOSSES = _words("""
    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLD KLDivergence LogCosh MAE MAPE MSE MSLE
    MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError
    Poisson SparseCategoricalCrossentropy SquaredHinge Tversky binary_crossentropy
    binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
    categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc dice
    hinge huber kl_divergence kld kullback_leibler_divergence log_cosh logcosh mae mape
    mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error mse msle poisson sparse_categorical_crossentropy
    squared_hinge tversky
""")
_METRICS = _words("""
    ACC AUC Accuracy BCE BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
    FBetaScore FalseNegatives FalsePositives Hinge IoU KLD KLDivergence LogCoshError MAE MAPE
    MSE MSLE Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper
    MeanRelativeError MeanSquaredError MeanSquaredLogarithmicError MeanTensor OneHotIoU
    OneHotMeanIoU PearsonCorrelation Poisson Precision PrecisionAtRecall R2Score Recall
    RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity SparseCategoricalAccuracy
    SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity
    SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives acc bce
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
    categorical_crossentropy categorical_focal_crossentropy categorical_hinge
    concordance_correlation cosine cosine_proximity hinge huber kl_divergence kld
    kullback_leibler_divergence log_cosh logcosh mae mape mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error mse msle
    pearson_correlation poisson sparse_categorical_accuracy sparse_categorical_crossentropy
    sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
""")
_OPTIMIZERS = _words("""
    Adadelta Adafactor Adagrad Adam AdamW Adamax CosineDecay CosineDecayRestarts
    ExponentialDecay Ftrl InverseTimeDecay Lamb Lion LossScaleOptimizer MultiOptimizer Muon
    Nadam OptimizerMap PiecewiseConstantDecay PolynomialDecay RMSprop SGD ScheduleFreeAdamW
""")
_REGULARIZERS = _words("""
    L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer
""")
_POLICIES = _words("""
    AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy
    LossScaleOptimizer Policy QuantizedDTypePolicy QuantizedFloat8DTypePolicy
    TernaryDTypePolicy
""")
_QUANTIZERS = _words("""
    AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig
    Int8QuantizationConfig QuantizationConfig TernaryQuantizationConfig
""")
_RANDOM = _words("""
    SeedGenerator beta binomial categorical dropout gamma normal randint shuffle
    truncated_normal uniform
""")
_OPERATIONS = _words("""
    abs absolute adaptive_average_pool adaptive_max_pool add affine_transform all allclose
    amax amin angle any append arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh
    argmax argmin argpartition argsort array array_split associative_scan average average_pool
    bartlett batch_normalization binary_crossentropy bincount bitwise_and bitwise_invert
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman
    broadcast_to cast categorical_crossentropy cbrt cdist ceil celu cholesky cholesky_inverse
    clip column_stack concatenate cond conj conjugate conv conv_transpose convert_to_numpy
    convert_to_tensor copy corrcoef correlate cos cosh count_nonzero crop_images cross
    ctc_decode ctc_loss cumprod cumsum custom_gradient deg2rad depth_to_space depthwise_conv
    det diag diagflat diagonal diff digitize divide divide_no_nan dot dot_product_attention
    dsplit dstack dtype eig eigh einsum elastic_transform elu empty empty_like equal erf erfc
    erfinv exp exp2 expand_dims expm1 extract_patches extract_patches_3d extract_sequences eye
    fabs fft fft2 flip fliplr flipud floor floor_divide fmax fmin fmod fold fori_loop full
    full_like gammainc gaussian_blur gcd gelu geomspace get_item glu greater greater_equal
    hamming hanning hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh heaviside
    histogram hsplit hstack hsv_to_rgb hypot i0 identity ifft2 imag in_top_k inner inv irfft
    is_tensor isclose isfinite isin isinf isnan isneginf isposinf isreal istft jvp kaiser kron
    layer_normalization lcm ldexp leaky_relu left_shift less less_equal linspace log log10
    log1p log2 log_sigmoid log_softmax logaddexp logaddexp2 logdet logical_and logical_not
    logical_or logical_xor logspace logsumexp lstsq lu_factor map map_coordinates matmul
    matrix_power matrix_rank max max_pool maximum mean median meshgrid min minimum mod moments
    moveaxis multi_hot multiply nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax
    nanmean nanmedian nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar ndim
    negative nextafter nonzero norm normalize not_equal one_hot ones ones_like outer pad
    pad_images percentile perspective_transform pinv polar power prod psnr ptp qr quantile
    rad2deg ravel real rearrange reciprocal reconstruct_patches relu relu6 repeat reshape
    resize rfft rgb_to_grayscale rgb_to_hsv right_shift rms_normalization roll rot90 round
    rsqrt saturate_cast scale_and_translate scan scatter scatter_update searchsorted
    segment_max segment_min segment_prod segment_sum select selu separable_conv shape sigmoid
    sign signbit silu sin sinc sinh size slice slice_update slogdet sobel_edges soft_shrink
    softmax softplus softsign solve solve_triangular sort space_to_depth
    sparse_categorical_crossentropy sparse_plus sparse_sigmoid sparsemax split sqrt square
    squareplus squeeze ssim stack std stft stop_gradient subtract sum svd swapaxes swish
    switch take take_along_axis tan tanh tanh_shrink tensordot threshold tile top_k trace
    transpose trapezoid tri tril triu true_divide trunc unfold unique unravel_index unstack
    vander var vdot vectorize vectorized_map view view_as_complex view_as_real vsplit vstack
    where while_loop zeros zeros_like
""")

_TENSORFLOW = _words("""
    abs add add_n argmax argmin argsort batch_to_space bitcast boolean_mask broadcast_dynamic_shape
    broadcast_static_shape broadcast_to cast ceil clip_by_global_norm clip_by_norm clip_by_value
    complex concat constant convert_to_tensor cos cosh cumsum dynamic_partition dynamic_stitch
    edit_distance eig einsum ensure_shape equal exp expand_dims extract_volume_patches eye fill
    floor gather gather_nd greater greater_equal identity identity_n less less_equal linspace
    logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm
    not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any
    reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse
    reverse_sequence roll round saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape
    shape_n sigmoid sign sin sinh size slice sort space_to_batch split sqrt square squeeze stack
    stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_update
    tensordot tile timestamp transpose truediv truncatediv unique unstack where zeros zeros_like
""")
_TENSORFLOW_UNDER = _words("""
    __operators__ bitwise dtypes image linalg math nn quantization ragged random signal sparse
    strings
""")
_TENSORFLOW_REACHES = _words("""
    config data debugging distribute experimental gfile io load_library load_op_library
    numpy_function print profiler py_func py_function python queue raw_ops read_file saved_model
    summary sysconfig test train write_file
""")
_MARKS = _words("""
    __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__
    CompositeTensor TensorShape TypeSpec
""")
"""Values that are no objects of Keras, by what stands in place of their class."""

_FUNCTIONS = _ACTIVATIONS | _LOSSES | _METRICS | _OPERATIONS | _REGULARIZERS | _INITIALIZERS
_INNER = _words("MetricsList CompileLoss CompileMetrics LossFunctionWrapper")
_EVERY = (
    _LAYERS | _MODELS | _FUNCTIONS | _CONSTRAINTS | _OPTIMIZERS | _POLICIES | _QUANTIZERS
    | _RANDOM | _INNER | _MARKS
)  # fmt: skip
_SPECS = _words("IndexedSlicesSpec RaggedTensorSpec SparseTensorSpec TensorSpec")
_AREAS = {
    "": _MODELS | _POLICIES | {"Layer", "InputSpec"},
    "activations": _ACTIVATIONS,
    "applications": frozenset[str](),
    "constraints": _CONSTRAINTS,
    "dtype_policies": _POLICIES,
    "engine": _LAYERS | _MODELS,
    "initializers": _INITIALIZERS,
    "layers": _LAYERS,
    "losses": _LOSSES | _INNER,
    "metrics": _METRICS | _INNER,
    "mixed_precision": _POLICIES,
    "models": _MODELS,
    "ops": _OPERATIONS,
    "optimizers": _OPTIMIZERS,
    "quantizers": _QUANTIZERS,
    "random": _RANDOM,
    "regularizers": _REGULARIZERS,
    "trainers": _INNER,
}
"""Parts of Keras that define models, and what they offer; the others load, save and download."""

_LOADS = _words("""
    clear_session deserialize deserialize_keras_object enable_unsafe_deserialization from_config
    func_load get get_file importlib load_data load_model load_weights model_from_config
    model_from_json model_from_yaml model_to_dot plot_model save_model save_weights serialize
""")
_OPERATION = re.compile(r"[A-Z][A-Za-z0-9]{0,40}")
"""Operations of `keras.src.ops` are the classes of its modules, in capitals."""
_OPS = re.compile(r"ops\.(core|einops|image|linalg|math|nn|numpy)")
_TF_OPS = re.compile(r"tensorflow\.python\.ops\.(gen_)?(array|math|nn|special_math)(_ops)?")
_TF_SPECS = re.compile(r"tensorflow\.python\.(framework|ops\.ragged)\.\w+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_PREFIX = re.compile(
    r"(tensorflow\.(python\.|_api\.v\d\.)?keras|tf_keras|keras\.api(\._v\d)?|keras)"
    r"(\.(src|_tf_keras\.keras|legacy))*(\.|$)"
)
_ADDED = re.compile(
    r"(keras_(cv|cv_attention_models|hub|nlp|rs|tuner)|larq|official|tensorflow_(addons|hub|"
    r"model_optimization|probability|text|recommenders|decision_forests|lattice)|tfm|qkeras)(\.|$)"
)
"""Packages that are written to be named by Keras models; what they do is not known here."""


def standing(module: str | None, name: str) -> Standing:
    """What is known of a name that a configuration gives, in the module that it gives.

    `module` is None where it gives none: loaders look in their own lists then.
    """
    if module is None or module == "__main__":
        if name in _EVERY or name.lower() in _NAMES:
            return "known"
        inner, _, last = name.rpartition(".")
        return "runs" if executes(inner or "builtins", last) else "custom"
    if module == "builtins":
        if name in _FUNCTIONS:
            return "known"
        return "runs" if executes(module, name) else "custom"
    prefix = _PREFIX.match(module) if _MODULE.fullmatch(module) else None
    if prefix:
        return _of_keras(module[prefix.end() :], name)
    if _TF_OPS.fullmatch(module) and name in _OPERATIONS | _ACTIVATIONS | _TENSORFLOW:
        return "known"
    if _TF_SPECS.fullmatch(module) and name in _SPECS:
        return "known"
    if _MODULE.fullmatch(module) and _ADDED.match(module) and not executes("", name):
        return "custom"
    return "runs" if executes(module, name) else "outside"


def foreign(module: object) -> bool:
    """Whether a configuration gives a module, and that is none of Keras's."""
    return isinstance(module, str) and module not in ("", "__main__") and not _PREFIX.match(module)


def _of_keras(module: str, name: str) -> Standing:
    """The same within Keras; `module` is what follows `keras.` or `keras.src.`."""
    area = module.partition(".")[0]
    if name in _LOADS:
        return "runs"
    if name in _AREAS.get(area, ()) or (_OPS.fullmatch(module) and _OPERATION.fullmatch(name)):
        return "known"
    if module == "utils" and name == "FeatureSpace":
        return "known"
    return "custom" if area in _AREAS else "runs"


def tensorflow_symbol(name: str) -> bool:
    """Whether a public symbol of TensorFlow computes, and neither reads files nor runs Python."""
    area, _, rest = name.removeprefix("tf.").removeprefix("compat.v1.").rpartition(".")
    return rest in _TENSORFLOW if not area else area.split(".")[0] in _TENSORFLOW_UNDER


def tensorflow_reaches(name: str) -> bool:
    """Whether a public symbol of TensorFlow is known to read files, run Python, or load."""
    parts = name.removeprefix("tf.").removeprefix("compat.v1.").split(".")
    return not _TENSORFLOW_REACHES.isdisjoint(parts)


_NAMES = frozenset(name.lower() for name in _OPTIMIZERS | _LOSSES)
"""Old files write some of their names in small letters."""
