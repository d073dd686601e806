"""Which names a pickle may use: an allow list by role, and the names that are known to run code.

A name is allowed only if it is harmless under any arguments, or under those that `check` in
`pickle_checks` lets through. Everything else is refused. Nothing here imports the packages it
names, so a verdict depends on the bytes of the file alone. Left out on purpose, with benign uses:
`functools.partial` (hides a call's arguments) and everything that opens files.
"""

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from holdfast.supply import pickle_libraries as libraries

Role = str
"""What a pickle may do with a name.

class: call it with anything, give the instance attributes and items; call: call it with anything;
value: hold it, not call it; built, distribution: make an instance without arguments and give it
attributes, never keep the class; enum: ask for a member; any other word: a check of arguments.
"""

CALLABLE = ("class", "call")
CLASSES = ("class", "built", "distribution")
HARMLESS = ("class", "call", "value", "dtype", "enum", "large", "tensor")
"""What may be kept within another object: called later, without a check, it does no harm."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _under(modules: str, role: Role, names: str) -> dict[tuple[str, str], Role]:
    return {(module, name): role for module in modules.split() for name in names.split()}


_BUILTIN = "bool complex dict float frozenset int list object range set slice tuple"
_STORAGES = """
    BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage
    DoubleStorage FloatStorage HalfStorage IntStorage LongStorage QInt32Storage QInt8Storage
    QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage
"""
_TORCH_VALUES = """
    bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16
    float32 float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz
    float8_e8m0fnu int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 int8 uint1 uint16 uint2
    uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8 qint32 qint8 quint2x4 quint4x2 quint8
    per_channel_affine per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine
    per_tensor_symmetric contiguous_format preserve_format channels_last channels_last_3d strided
    BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor
    LongTensor ShortTensor
"""
_REBUILD = """
    _rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy
    _rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_parameter
    _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_wrapper_subclass
"""
_SCALARS = """
    bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc uintc intp uintp longlong
    ulonglong float16 float32 float64 longdouble complex64 complex128 clongdouble str_ bytes_ void
    datetime64 timedelta64
"""
_ABSTRACT = """
    generic number integer signedinteger unsignedinteger inexact floating complexfloating flexible
    character
"""
_NUMERIC = """
    abs absolute add amax amin arccos arcsin arctan argmax argmin around asarray average cbrt ceil
    clip cos cosh cumsum deg2rad divide dot exp exp2 expm1 floor fmax fmin hypot log log10 log1p
    log2 logaddexp matmul max maximum mean median min minimum mod multiply nan_to_num nanmax
    nanmean nanmedian nanmin nanstd negative positive power prod ptp rad2deg ravel reciprocal
    remainder rint round sign sin sinh sqrt square squeeze std subtract sum tan tanh transpose
    true_divide trunc var where
"""
_SPARSE = """
    bsr_array bsr_matrix coo_array coo_matrix csc_array csc_matrix csr_array csr_matrix dia_array
    dia_matrix dok_array dok_matrix lil_array lil_matrix
"""
_CORES = "numpy._core.multiarray numpy.core.multiarray"

ALLOWED: dict[tuple[str, str], Role] = (
    _under("builtins", "class", _BUILTIN)
    | _under("builtins", "large", "bytearray bytes str")
    | {("builtins", "getattr"): "getattr", ("fractions", "Fraction"): "large"}
    | _under("builtins", "value", "Ellipsis NotImplemented")
    | _under("typing", "value", "Any Dict List Optional Tuple Union")
    | _under("collections", "class", "OrderedDict defaultdict Counter deque")
    | _under("datetime", "class", "date datetime time timedelta timezone")
    | _under(
        "pathlib", "class", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
    )
    | _under("pathlib._local", "class", "Path PosixPath PurePath PurePosixPath WindowsPath")
    | {("decimal", "Decimal"): "class", ("pathlib._local", "PureWindowsPath"): "class"}
    | _under("zoneinfo", "zone", "ZoneInfo._unpickle")
    | {("zoneinfo", "ZoneInfo"): "built", ("pytz", "_p"): "zone", ("pytz", "_UTC"): "call"}
    | {("pytz", "_FixedOffset"): "class", ("dateutil.tz.tz", "tzutc"): "class"}
    | {("dateutil.relativedelta", "relativedelta"): "class"}
    | _under("pyarrow.lib", "call", "_restore_array py_buffer type_for_alias")
    | _under("numpy.polynomial.polynomial", "class", "Polynomial")
    | _under("numpy numpy.lib.polynomial numpy.lib._polynomial_impl", "class", "poly1d")
    | _under("numpy numpy.lib._function_base_impl numpy.lib.function_base", "built", "vectorize")
    | _under(  # a dictionary whose items are also its attributes
        "lightning_fabric.utilities.data lightning.fabric.utilities.data "
        "lightning.pytorch.utilities.parsing pytorch_lightning.utilities.parsing",
        "class",
        "AttributeDict",
    )
    | {("uuid", "UUID"): "class", ("argparse", "Namespace"): "class"}
    | {("types", "SimpleNamespace"): "class", ("array", "array"): "class"}
    | {("re", "_compile"): "call", ("array", "_array_reconstructor"): "call"}
    | {("copyreg", "_reconstructor"): "reconstructor", ("copyreg", "__newobj__"): "newobj"}
    | {("copyreg", "__newobj_ex__"): "newobj_ex", ("_codecs", "encode"): "encode"}
    | _under(_CORES, "reconstruct", "_reconstruct")
    | _under(_CORES, "scalar", "scalar")
    | _under("numpy._core.numeric numpy.core.numeric", "call", "_frombuffer")
    | _under("numpy", "class", "ndarray matrix record recarray" + _SCALARS)
    | {
        ("numpy", "dtype"): "dtype",
        ("numpy", "object_"): "value",
    }  # object_ gives back its argument
    | _under("numpy", "value", _NUMERIC + _ABSTRACT)
    | _under("numpy._core._multiarray_umath numpy.core._multiarray_umath", "value", _NUMERIC)
    | _under("numpy._core numpy.core numpy._core._methods", "ufunc", "_ufunc_reconstruct")
    | _under("numpy.ma numpy.ma.core", "class", "MaskedArray MaskedConstant")
    | _under("numpy.ma.core", "subtypes", "_mareconstruct")
    | _under("numpy.rec numpy._core.records numpy.core.records", "class", "recarray record")
    | _under("numpy.matrixlib.defmatrix", "class", "matrix")
    | _under("numpy.random._pickle", "call", "__bit_generator_ctor")
    | _under("numpy.random._pickle", "generator", "__generator_ctor __randomstate_ctor")
    | _under("numpy.random._mt19937 numpy.random", "class", "MT19937")
    | _under("numpy.random._pcg64 numpy.random", "class", "PCG64 PCG64DXSM")
    | _under("numpy.random._philox numpy.random", "class", "Philox")
    | _under("numpy.random._sfc64 numpy.random", "class", "SFC64")
    | _under("numpy.random.bit_generator numpy.random", "class", "SeedSequence")
    | _under("numpy.random.bit_generator", "call", "__pyx_unpickle_SeedSequence")
    | _under("joblib.numpy_pickle", "class", "NumpyArrayWrapper")
    | _under("scipy._lib.array_api_compat.numpy._aliases", "value", "asarray")
    | _under("scipy.special._ufuncs", "value", "expit logit erf erfinv gammaln xlogy")
    | _under("torch", "value", _TORCH_VALUES)
    | _under("torch", "class", "Size Tensor device" + _STORAGES)
    | _under("torch.cuda", "class", _STORAGES)
    | _under("torch.storage", "class", "TypedStorage UntypedStorage")
    | _under("torch.storage", "storage", "_load_from_bytes")
    | _under("torch._utils", "call", _REBUILD)
    | _under("torch._utils", "tensor", "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3")
    | _under("torch._tensor", "rebuild", "_rebuild_from_type_v2")
    | _under(
        "torch.nn.functional", "value", "elu gelu leaky_relu relu relu6 selu sigmoid silu tanh"
    )
    | {("torch._C._nn", "gelu"): "value"}
    | _under("torch.nn.parameter", "class", "Parameter Buffer")
    | _under("torch.serialization", "call", "_get_layout")
    | _under("torch.torch_version", "class", "TorchVersion")
)

_SCRIPT = _words("build_boollist build_doublelist build_intlist build_tensorlist restore_type_tag")
_SPARSE_NAMES = _words(_SPARSE)
_SPARSE_MODULE = re.compile(r"scipy\.sparse(\._?(bsr|coo|csc|csr|dia|dok|lil))?")

_NN_MODULE = re.compile(
    r"torch\.nn\.modules\.(activation|adaptive|batchnorm|channelshuffle|container|conv|distance"
    r"|dropout|flatten|fold|instancenorm|linear|loss|module|normalization|padding|pixelshuffle"
    r"|pooling|rnn|sparse|transformer|upsampling)"
)
_NN = _words("""
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d
    AvgPool3d BCELoss BCEWithLogitsLoss BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU
    CTCLoss ChannelShuffle CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d
    ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
    CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d Dropout Dropout1d
    Dropout2d Dropout3d ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold
    FractionalMaxPool2d FractionalMaxPool3d GELU GLU GRU GRUCell GaussianNLLLoss GroupNorm
    Hardshrink Hardsigmoid Hardswish Hardtanh HingeEmbeddingLoss HuberLoss Identity
    InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss L1Loss LPPool1d LPPool2d LPPool3d
    LSTM LSTMCell LayerNorm LeakyReLU Linear LinearCrossEntropyLoss LocalResponseNorm LogSigmoid
    LogSoftmax MSELoss MarginRankingLoss MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d
    MaxUnpool3d Mish Module ModuleDict ModuleList MultiLabelMarginLoss MultiLabelSoftMarginLoss
    MultiMarginLoss MultiheadAttention NLLLoss NLLLoss2d NonDynamicallyQuantizableLinear PReLU
    PairwiseDistance ParameterDict ParameterList PixelShuffle PixelUnshuffle PoissonNLLLoss
    RMSNorm RNN RNNBase RNNCell RNNCellBase RReLU ReLU ReLU6 ReflectionPad1d ReflectionPad2d
    ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d SELU Sequential SiLU
    Sigmoid SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus Softshrink Softsign
    SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder
    TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer TripletMarginLoss
    TripletMarginWithDistanceLoss Unflatten Unfold Upsample UpsamplingBilinear2d
    UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d
""")

_SK_MODULE = re.compile(
    r"sklearn\.(_loss|calibration|cluster|compose|covariance|cross_decomposition|decomposition"
    r"|discriminant_analysis|dummy|ensemble|feature_extraction|feature_selection|frozen"
    r"|gaussian_process|impute|isotonic|kernel_approximation|kernel_ridge|linear_model|manifold"
    r"|metrics|mixture|model_selection|multiclass|multioutput|naive_bayes|neighbors"
    r"|neural_network|pipeline|preprocessing|random_projection|semi_supervised|svm|tree)"
    r"(\.\w+)*"
)
_SK_UTILS = {
    ("sklearn.utils", "Bunch"), ("sklearn.utils._bunch", "Bunch"),
    ("sklearn.utils._metadata_requests", "MetadataRequest"),
    ("sklearn.utils._metadata_requests", "MethodMetadataRequest"),
}  # fmt: skip
_SK = _words("""
    ARDRegression AdaBoostClassifier AdaBoostRegressor AdditiveChi2Sampler AffinityPropagation
    AgglomerativeClustering BaggingClassifier BaggingRegressor BayesianGaussianMixture
    BayesianRidge BernoulliNB BernoulliRBM Binarizer Birch BisectingKMeans CCA
    CalibratedClassifierCV CategoricalNB ClassicalMDS ClassifierChain ColumnTransformer
    ComplementNB CountVectorizer DBSCAN DecisionTreeClassifier DecisionTreeRegressor
    DictVectorizer DictionaryLearning DummyClassifier DummyRegressor ElasticNet ElasticNetCV
    EllipticEnvelope EmpiricalCovariance ExtraTreeClassifier ExtraTreeRegressor
    ExtraTreesClassifier ExtraTreesRegressor FactorAnalysis FastICA FeatureAgglomeration
    FeatureHasher FeatureUnion FixedThresholdClassifier FrozenEstimator FunctionTransformer
    GammaRegressor GaussianMixture GaussianNB GaussianProcessClassifier GaussianProcessRegressor
    GaussianRandomProjection GenericUnivariateSelect GradientBoostingClassifier
    GradientBoostingRegressor GraphicalLasso GraphicalLassoCV GridSearchCV HDBSCAN
    HalvingGridSearchCV HalvingRandomSearchCV HashingVectorizer HistGradientBoostingClassifier
    HistGradientBoostingRegressor HuberRegressor IncrementalPCA IsolationForest Isomap
    IsotonicRegression IterativeImputer KBinsDiscretizer KMeans KNNImputer KNeighborsClassifier
    KNeighborsRegressor KNeighborsTransformer KernelCenterer KernelDensity KernelPCA KernelRidge
    LabelBinarizer LabelEncoder LabelPropagation LabelSpreading Lars LarsCV Lasso LassoCV
    LassoLars LassoLarsCV LassoLarsIC LatentDirichletAllocation LedoitWolf
    LinearDiscriminantAnalysis LinearRegression LinearSVC LinearSVR LocalOutlierFactor
    LocallyLinearEmbedding LogisticRegression LogisticRegressionCV MDS MLPClassifier
    MLPRegressor MaxAbsScaler MeanShift MinCovDet MinMaxScaler MiniBatchDictionaryLearning
    MiniBatchKMeans MiniBatchNMF MiniBatchSparsePCA MissingIndicator MultiLabelBinarizer
    MultiOutputClassifier MultiOutputRegressor MultiTaskElasticNet MultiTaskElasticNetCV
    MultiTaskLasso MultiTaskLassoCV MultinomialNB NMF NearestCentroid NearestNeighbors
    NeighborhoodComponentsAnalysis Normalizer NuSVC NuSVR Nystroem OAS OPTICS OneClassSVM
    OneHotEncoder OneVsOneClassifier OneVsRestClassifier OrdinalEncoder
    OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV OutputCodeClassifier PCA PLSCanonical
    PLSRegression PLSSVD PassiveAggressiveClassifier PassiveAggressiveRegressor PatchExtractor
    Perceptron Pipeline PoissonRegressor PolynomialCountSketch PolynomialFeatures
    PowerTransformer QuadraticDiscriminantAnalysis QuantileRegressor QuantileTransformer
    RANSACRegressor RBFSampler RFE RFECV RadiusNeighborsClassifier RadiusNeighborsRegressor
    RadiusNeighborsTransformer RandomForestClassifier RandomForestRegressor RandomTreesEmbedding
    RandomizedSearchCV RegressorChain Ridge RidgeCV RidgeClassifier RidgeClassifierCV
    RobustScaler SGDClassifier SGDOneClassSVM SGDRegressor SVC SVR SelectFdr SelectFpr
    SelectFromModel SelectFwe SelectKBest SelectPercentile SelfTrainingClassifier
    SequentialFeatureSelector ShrunkCovariance SimpleImputer SkewedChi2Sampler SparseCoder
    SparsePCA SparseRandomProjection SpectralBiclustering SpectralClustering
    SpectralCoclustering SpectralEmbedding SplineTransformer StackingClassifier
    StackingRegressor StandardScaler TSNE TargetEncoder TfidfTransformer TfidfVectorizer
    TheilSenRegressor TransformedTargetRegressor TruncatedSVD TunedThresholdClassifierCV
    TweedieRegressor VarianceThreshold VotingClassifier VotingRegressor
""") | _words("""
    AbsoluteError AdamOptimizer BallTree BallTree32 BallTree64 BestSparseSplitter BestSplitter
    BinomialDeviance CompoundKernel ConstantKernel CyAbsoluteError CyExponentialLoss
    CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss CyHalfPoissonLoss CyHalfSquaredError
    CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHuberLoss CyPinballLoss DotProduct Entropy
    EpsilonInsensitive ExpSineSquared Exponentiation ExponentialLoss Gini GroupKFold
    GroupShuffleSplit HalfBinomialLoss HalfGammaLoss HalfLogitLink HalfMultinomialLoss
    HalfPoissonLoss HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity Hinge Huber HuberLoss
    HuberLossFunction Hyperparameter IdentityLink Interval KDTree KDTree32 KDTree64 KFold
    LeastAbsoluteError LeastSquaresError LeaveOneGroupOut LeaveOneOut LeavePGroupsOut LeavePOut Log
    LogLink LogitLink MAE MSE Matern ModifiedHuber MultinomialDeviance MultinomialLogit
    PairwiseKernel PinballLoss Poisson PredefinedSplit Product QuantileLossFunction RBF
    RandomSplitter RationalQuadratic RepeatedKFold RepeatedStratifiedKFold SGDOptimizer
    ShuffleSplit SquaredEpsilonInsensitive SquaredHinge SquaredLoss StratifiedGroupKFold
    StratifiedKFold StratifiedShuffleSplit Sum TimeSeriesSplit Tree TreePredictor WhiteKernel
    _BinMapper _BinaryGaussianProcessClassifierLaplace _BisectingTree _CFNode _CFSubcluster
    _CVIterableWrapper _CalibratedClassifier _ConstantPredictor _CurveScorer _ImputerTriplet
    _MultimetricScorer _PassthroughScorer _PredictScorer _ProbaScorer _QuadTree _RidgeGCV _Scorer
    _SigmoidCalibration _TemperatureScaling _ThresholdScorer make_column_selector
""")
_SK_DISTANCE = re.compile(r"[A-Z]\w*Distance(32|64)?")
_SK_VALUE = _words("""
    accuracy_score average_precision_score balanced_accuracy_score chi2 explained_variance_score
    f1_score f_classif f_oneway f_regression fbeta_score jaccard_score log_loss max_error
    mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance mean_poisson_deviance
    mean_squared_error mean_squared_log_error median_absolute_error mutual_info_classif
    mutual_info_regression precision_score r2_score r_regression recall_score roc_auc_score
    root_mean_squared_error brier_score_loss matthews_corrcoef _kmeans_single_lloyd
    _kmeans_single_elkan
""")
_PYX = re.compile(r"__pyx_unpickle_[A-Za-z]\w*")

_RUNS = _words("""
    _aix_support _bootstrap_external _ctypes _frozen_importlib _frozen_importlib_external
    _interpreters _io _osx_support _pickle _posixsubprocess _socket _testcapi _thread
    _xxsubinterpreters anyio asyncio asyncore bdb bz2 cProfile cPickle cffi cloudpickle code codeop
    commands concurrent ctypes dbm dill distutils docker doctest ensurepip fabric fickling fileinput
    ftplib gc glob gzip http httplib httpx idlelib imaplib imp importlib inspect io jinja2 lib2to3
    linecache lzma mailcap marshal modelaudit modelscan multiprocessing nntplib nt os paramiko pdb
    pexpect pickle picklescan pip pipes pkg_resources pkgutil platform poplib popen2 posix profile pty
    pydoc requests rlcompleter runpy select setuptools shelve shutil signal smtplib socket
    socketserver sqlite3 ssl subprocess sys tarfile telnetlib tempfile test threading timeit trace
    turtledemo urllib urllib2 urllib3 venv webbrowser wsgiref xmlrpc zipapp zipfile zipimport
""")
"""Packages that run code, start processes, open files or reach the network."""

_RUNS_UNDER = (
    "joblib.externals", "joblib.memory", "joblib.parallel", "numpy.distutils", "numpy.f2py",
    "numpy.testing", "pandas.core.computation", "pandas.io", "sklearn.datasets",
    "sklearn.externals", "sklearn.utils._joblib", "torch._dynamo", "torch._inductor",
    "torch.distributed", "torch.fx", "torch.hub", "torch.jit", "torch.multiprocessing",
    "torch.package", "torch.testing", "torch.utils", "xml.etree",
)  # fmt: skip
_RUNS_NAMES = (
    _under("builtins", "", """
        __import__ apply breakpoint compile delattr eval exec execfile exit file getattr globals
        help input locals map memoryview open quit raw_input reduce setattr type vars
    """)
    | _under("operator _operator", "", "attrgetter call delitem getitem itemgetter methodcaller")
    | _under("functools _functools", "", "partial partialmethod reduce singledispatch")
    | _under("types", "", "CodeType FunctionType LambdaType MethodType ModuleType")
    | _under("typing", "", "ForwardRef _eval_type get_type_hints")
    | _under("dataclasses", "", "_create_fn make_dataclass")
    | _under("copyreg", "", "add_extension pickle constructor")
    | _under("codecs", "", "open")
    | _under("uuid", "", "_get_command_stdout _popen")
    | _under("numpy", "", "fromfile genfromtxt load loadtxt memmap save savetxt savez source")
    | _under("numpy.lib.npyio numpy.lib._npyio_impl", "", "load save savez loadtxt NpzFile")
    | _under("joblib joblib.numpy_pickle", "", "load dump Memory Parallel")
    | _under("pandas", "", "eval read_pickle to_pickle read_csv")
    | _under("torch torch.serialization", "", "load save")
    | _under("collections", "", "namedtuple")
)  # fmt: skip

_REACHES = _words("""
    __builtins__ __class__ __dict__ __globals__ __import__ __subclasses__ builtins eval exec popen
    spawn system
""")
"""Parts of a dotted name by which it leaves the module that it starts in."""


def renamed(module: str, name: str) -> tuple[str, str]:
    """What Python 3 imports for a Python 2 name (protocols 0 to 2)."""
    if (module, name) in NAME_MAPPING:
        found: tuple[str, str] = NAME_MAPPING[(module, name)]
        return found
    return IMPORT_MAPPING.get(module, module), name


def role(module: str, name: str) -> Role | None:
    """What the pickle may do with the name, or None when it is not on the allow list."""
    if (module, name) in ALLOWED:
        return ALLOWED[(module, name)]
    if _NN_MODULE.fullmatch(module) and name in _NN:
        return "class"
    if module == "torch.jit._pickle" and name in _SCRIPT:
        return "lists"
    if _SPARSE_MODULE.fullmatch(module) and name in _SPARSE_NAMES:
        return "class"
    if (module, name) in _SK_UTILS:
        return "class"
    if _SK_MODULE.fullmatch(module):
        return _sklearn(module, name)
    return libraries.role(module, name)


def _sklearn(module: str, name: str) -> Role | None:
    """Classes by name, whatever private file of the package they live in; functions never called."""
    if name in _SK or _SK_DISTANCE.fullmatch(name):
        return "class"
    if name in _SK_VALUE:
        return "value"
    if _PYX.fullmatch(name):
        return "call"
    return "newobj" if name == "newObj" else None


def executes(module: str, name: str) -> bool:
    """Whether the name is known to run code, open files or reach the network.

    Dotted names are looked at in every part, so that `torch` with `os.system` counts as `os`.
    """
    for candidate in ((module, name), renamed(module, name)):
        if candidate in _RUNS_NAMES or candidate[0].split(".")[0] in _RUNS:
            return True
        full = ".".join(candidate)
        if any(full == under or full.startswith(under + ".") for under in _RUNS_UNDER):
            return True
    parts = name.split(".")
    return len(parts) > 1 and any(part in _RUNS or part in _REACHES for part in parts)
