"""What ONNX messages may hold, and the operators that its own domains define (onnx 1.23)."""

from holdfast.supply.wire import BYTES, FIXED32, FIXED64, VARINT


def _tags(numbers: str) -> frozenset[tuple[int, int]]:
    """Fields as (number, encoding); the encoding is bytes unless a letter says otherwise.

    v: a number; V, F, D: numbers of one to ten, four or eight bytes, alone or packed.
    """
    kinds = {"v": (VARINT,), "V": (VARINT, BYTES), "f": (FIXED32,), "F": (FIXED32, BYTES),
             "D": (FIXED64, BYTES)}  # fmt: skip
    return frozenset(
        (int(word.rstrip("vVfFD")), kind)
        for word in numbers.split()
        for kind in kinds.get(word[-1], (BYTES,))
    )


MODEL = _tags("1v 2 3 4 5v 6 7 8 14 20 25 26")
GRAPH = _tags("1 2 5 10 11 12 13 14 15 16")
NODE = _tags("1 2 3 4 5 6 7 8 9 10")
ATTRIBUTE = _tags("1 2f 3v 4 5 6 7F 8V 9 10 11 13 14 15 20v 21 22 23")
TENSOR = _tags("1V 2v 3 4F 5V 6 7V 8 9 10D 11V 12 13 14v 16")
SPARSE = _tags("1 2 3V")
FUNCTION = _tags("1 4 5 6 7 8 9 10 11 12 13 14")
TRAINING = _tags("1 2 3 4")
ENTRY = _tags("1 2")
VALUE = _tags("1 2 3 4")

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 0, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64,
    14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
    27: 6, 28: 6,
}  # fmt: skip
"""Bits of an element by its type; strings (8) have no fixed size."""

_AI_ONNX = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
BlackmanWindow Cast CastLike CausalConvWithState Ceil Celu CenterCropPad Clip Col2Im Compress Concat
ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT
DeformConv DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp
Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HammingWindow
HannWindow HardSigmoid HardSwish Hardmax Identity If ImageDecoder InstanceNormalization IsInf IsNaN LRN
LSTM LayerNormalization LeakyRelu Less LessOrEqual LinearAttention Log LogSoftmax Loop LpNormalization
LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization
MelWeightMatrix Min Mish Mod Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero
Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearConv QLinearMatMul
QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding
Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze
StringConcat StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan Tanh TensorScatter TfIdfVectorizer
ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
Affine Crop DynamicSlice GRUUnit GivenTensorFill ImageScaler ParametricSoftplus Scale ScaledTanh
"""
_AI_ONNX_ML = """
ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer
LabelEncoder LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler
TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
"""
OPERATORS: dict[str, frozenset[str]] = {
    "": frozenset(_AI_ONNX.split()),
    "ai.onnx": frozenset(_AI_ONNX.split()),
    "ai.onnx.ml": frozenset(_AI_ONNX_ML.split()),
    "ai.onnx.preview": frozenset({"FlexAttention"}),
    "ai.onnx.preview.training": frozenset({"Adagrad", "Adam", "Gradient", "Momentum"}),
    "ai.onnx.training": frozenset({"Adagrad", "Adam", "Gradient", "Momentum", "GraphCall"}),
}
"""Operators of ONNX's own domains; those of the last line of the first have left it."""
RUNTIME = ("com.microsoft", "com.ms.internal")
"""Domains of ONNX Runtime's own operators, which are compiled into it."""
PYTHON = ("pyop", "pythonop", "pythonopgrad", "pycustomop", "pyfunc", "pyoperator", "pythonscript")
"""Operators, in small letters, that call Python."""
UNREAD = frozenset(
    {"EPContext", "ATen", "ExternalGradient", "ATenOp", "TvmRuntime", "Snpe", "OpenVINO"}
)
"""Operators of ONNX Runtime that hand over to another program, with bytes or names that it reads."""
