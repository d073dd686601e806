"""Names of pandas, SciPy, XGBoost, LightGBM, torch's optimisers and training arguments, by role.

A class is `built` where its constructor does more than a pickle needs (opens files, starts
processes, calls what it is given): it may be made without arguments and given attributes, which
runs no line of the constructor, and nothing may keep the class itself, so that nobody calls it
later. The `__setstate__` behind these names stores what it is given, or hands bytes to a parser of
data in the library: read in Python sources and in pandas' arrays, taken from their documented layout
for other compiled classes (date offsets, `_ckdtree`, `_qhull`) and for packages that are not
installed here (trl, sentence-transformers). Left out on purpose: what opens files (`pandas.read_*`,
`dateutil.tz.tzfile`), and what calls a function from its own state.
"""

import re

Role = str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PANDAS = re.compile(
    r"pandas(\.arrays|\.indexes\.(base|range|numeric)|\.core\.(frame|series|flags)"
    r"|\.core\.(arrays|indexes|internals)(\.\w+)*|\.core\.dtypes\.dtypes"
    r"|\._libs\.(arrays|internals|interval|missing|sparse|tslibs|tslibs\.\w+))?"
)
_DTYPES = """
    ArrowDtype BooleanDtype CategoricalDtype DatetimeTZDtype Float32Dtype Float64Dtype Int16Dtype
    Int32Dtype Int64Dtype Int8Dtype IntervalDtype NumpyEADtype PandasDtype PeriodDtype SparseDtype
    StringDtype UInt16Dtype UInt32Dtype UInt64Dtype UInt8Dtype
"""
_OFFSETS = """
    BDay BHalfYearBegin BHalfYearEnd BMonthBegin BMonthEnd BQuarterBegin BQuarterEnd BYearBegin
    BYearEnd BusinessDay BusinessHour BusinessMonthBegin BusinessMonthEnd CBMonthBegin CBMonthEnd
    CDay CustomBusinessDay CustomBusinessHour CustomBusinessMonthBegin CustomBusinessMonthEnd
    DateOffset Day Easter FY5253 FY5253Quarter HalfYearBegin HalfYearEnd Hour LastWeekOfMonth Micro
    Milli Minute MonthBegin MonthEnd Nano QuarterBegin QuarterEnd Second SemiMonthBegin
    SemiMonthEnd Week WeekOfMonth YearBegin YearEnd
"""
_INDEXES = """
    CategoricalIndex DatetimeIndex Float64Index Index Int64Index IntervalIndex MultiIndex
    PeriodIndex RangeIndex TimedeltaIndex UInt64Index
"""
_BACKED = """
    Categorical DatetimeArray NumpyExtensionArray PandasArray PeriodArray StringArray TimedeltaArray
    IntervalArray
"""
_CLASSES = _words(
    _DTYPES + _OFFSETS + _INDEXES + _BACKED + "BlockIndex BlockManager Flags FrozenList IntIndex"
    " Interval Period SingleBlockManager"
)
_BUILT = _words("""
    ArrowExtensionArray ArrowStringArray ArrowStringArrayNumpySemantics BooleanArray DataFrame
    FloatingArray IntegerArray Series SparseArray StringArrayNumpySemantics
""")
_PANDAS_ROLES = (
    dict.fromkeys(_CLASSES, "class")
    | dict.fromkeys(_BUILT, "built")
    | dict.fromkeys(_words("NA NaT"), "value")
    # these give a new object of a fixed class from numbers and texts
    | dict.fromkeys(
        _words("_nat_unpickle _timedelta_unpickle _unpickle_block _unpickle_timestamp new_block"),
        "call",
    )
    # cls.__new__(cls, **d) or cls.from_arrays(**d)
    | dict.fromkeys(
        _words("_new_DatetimeIndex _new_Index _new_IntervalIndex _new_PeriodIndex"
               " _new_TimedeltaIndex"),
        "index",
    )
    | dict.fromkeys(_words("__pyx_unpickle_IntervalMixin __pyx_unpickle_NDArrayBacked"), "backed")
)  # fmt: skip
BACKED = _words(_BACKED)
INDEXES = _words(_INDEXES)

_SCIPY = re.compile(
    r"scipy\.(interpolate|optimize|signal|spatial|spatial\.transform|stats)(\.\w+)?"
)
_SCIPY_BUILT = _words("""
    AAA Akima1DInterpolator BPoly BSpline BarycentricInterpolator BivariateSpline
    CloughTocher2DInterpolator CubicHermiteSpline CubicSpline FloaterHormannInterpolator
    KroghInterpolator LSQBivariateSpline LSQSphereBivariateSpline LinearNDInterpolator NdBSpline
    NdPPoly NearestNDInterpolator PPoly PchipInterpolator RBFInterpolator Rbf RectBivariateSpline
    RectSphereBivariateSpline RegularGridInterpolator SmoothBivariateSpline
    SmoothSphereBivariateSpline interp1d interp2d
    ConvexHull Delaunay KDTree Rectangle SphericalVoronoi Voronoi cKDTree Rotation Slerp
    RotationSpline Bounds LinearConstraint
    StateSpaceContinuous StateSpaceDiscrete TransferFunctionContinuous TransferFunctionDiscrete
    ZerosPolesGainContinuous ZerosPolesGainDiscrete
    gaussian_kde rv_continuous_frozen rv_discrete_frozen rv_frozen
""")
_SCIPY_ROLES = dict.fromkeys(_SCIPY_BUILT, "built") | dict.fromkeys(
    # a dictionary, and splines that keep each other's classes
    _words("InterpolatedUnivariateSpline LSQUnivariateSpline OptimizeResult UnivariateSpline"),
    "class",
)
_DISTRIBUTION = re.compile(r"[a-z]\w*_gen")
_DISTRIBUTIONS = _words("scipy.stats._continuous_distns scipy.stats._discrete_distns")
_SCIPY_METHODS = re.compile(
    r"interp1d\._(call_linear|call_linear_np|call_nearest|call_nan_spline|call_previousnext"
    r"|call_spline|check_and_update_bounds_error_for_extrapolation)"
    r"|Rbf\._(h_multiquadric|h_inverse_multiquadric|h_gaussian|h_linear|h_cubic|h_quintic"
    r"|h_thin_plate|euclidean_norm|call_norm)|[a-z]\w*_gen\._entropy"
)

_BOOSTERS = {
    "xgboost.core": _words("Booster"),
    "xgboost.sklearn": _words(
        "XGBClassifier XGBModel XGBRFClassifier XGBRFRegressor XGBRanker XGBRegressor"
    ),
    "xgboost.compat": _words("XGBoostLabelEncoder"),
    "xgboost.callback": _words("CallbackContainer EarlyStopping EvaluationMonitor"),
    "lightgbm.basic": _words("Booster"),
    "lightgbm.engine": _words("CVBooster"),
    "lightgbm.sklearn": _words("LGBMClassifier LGBMModel LGBMRanker LGBMRegressor"),
    "lightgbm.compat": _words("_LGBMLabelEncoder"),
}

_OPTIM = re.compile(r"torch\.optim(\.\w+)?")
_OPTIM_BUILT = _words("""
    ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD
    SparseAdam AveragedModel SWALR
    ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR
    ExponentialLR LambdaLR LinearLR MultiStepLR MultiplicativeLR OneCycleLR PolynomialLR
    ReduceLROnPlateau SequentialLR StepLR
""")
_OPTIM_METHODS = re.compile(
    r"CyclicLR\._(triangular2?|exp_range)_scale_fn|OneCycleLR\._annealing_(cos|linear)"
)
_TORCH_BUILT = {
    "torch.nn.modules.module": _words("_WrappedHook"),
    "torch.nn.parallel.data_parallel": _words("DataParallel"),
    "torch.nn.parallel": _words("DataParallel"),
    "torch.utils.data.dataset": _words("ConcatDataset Subset TensorDataset"),
    "torch.nn.utils.weight_norm": _words("WeightNorm"),
    "torch.nn.utils.spectral_norm": _words(
        "SpectralNorm SpectralNormLoadStateDictPreHook SpectralNormStateDictHook"
    ),
}
_MEMORY = _words(
    "torch.channels_last torch.channels_last_3d torch.contiguous_format torch.preserve_format"
)
"""What a memory format calls itself: pickle takes it for a name within some module of torch."""

_ARGUMENTS = {
    "transformers.training_args": _words("TrainingArguments"),
    "transformers.training_args_seq2seq": _words("Seq2SeqTrainingArguments"),
    "transformers.trainer_pt_utils": _words("AcceleratorConfig"),
    "transformers.trainer_callback": _words("TrainerControl TrainerState"),
    "transformers.generation.configuration_utils": _words("GenerationConfig"),
    "transformers.integrations.deepspeed": _words("HfDeepSpeedConfig HfTrainerDeepSpeedConfig"),
    "transformers.deepspeed": _words("HfDeepSpeedConfig HfTrainerDeepSpeedConfig"),
    "accelerate.state": _words("AcceleratorState GradientState PartialState"),
    "accelerate.utils.deepspeed": _words("HfDeepSpeedConfig"),
    "accelerate.utils.dataclasses": _words("""
        AutocastKwargs DataLoaderConfiguration DeepSpeedPlugin DistributedDataParallelKwargs
        FullyShardedDataParallelPlugin GradScalerKwargs GradientAccumulationPlugin
        InitProcessGroupKwargs ProjectConfiguration TorchDynamoPlugin
    """),
    "accelerate.parallelism_config": _words("ParallelismConfig"),
    "sentence_transformers.training_args": _words("SentenceTransformerTrainingArguments"),
    "sentence_transformers.sentence_transformer.training_args": _words(
        "SentenceTransformerTrainingArguments"
    ),
    "setfit.training_args": _words("TrainingArguments"),
    "omegaconf.dictconfig": _words("DictConfig"),
    "omegaconf.listconfig": _words("ListConfig"),
    "omegaconf.base": _words("ContainerMetadata Metadata UnionNode"),
    "omegaconf.nodes": _words("""
        AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode InterpolationResultNode
        NoneNode PathNode StringNode ValueNode
    """),
}
_TRL = {
    "trl.trainer.bco_config": "BCOConfig", "trl.trainer.cpo_config": "CPOConfig",
    "trl.trainer.dpo_config": "DPOConfig", "trl.trainer.gkd_config": "GKDConfig",
    "trl.trainer.grpo_config": "GRPOConfig", "trl.trainer.kto_config": "KTOConfig",
    "trl.trainer.nash_md_config": "NashMDConfig", "trl.trainer.online_dpo_config": "OnlineDPOConfig",
    "trl.trainer.orpo_config": "ORPOConfig", "trl.trainer.ppo_config": "PPOConfig",
    "trl.trainer.prm_config": "PRMConfig", "trl.trainer.reward_config": "RewardConfig",
    "trl.trainer.rloo_config": "RLOOConfig", "trl.trainer.sft_config": "SFTConfig",
    "trl.trainer.xpo_config": "XPOConfig",
}  # fmt: skip
ENUMS = {
    "transformers.trainer_utils": _words(
        "EvaluationStrategy FSDPOption HPSearchBackend HubStrategy IntervalStrategy SaveStrategy"
        " SchedulerType"
    ),
    "transformers.training_args": _words("OptimizerNames ParallelMode"),
    "transformers.debug_utils": _words("DebugOption"),
    "transformers.utils.generic": _words("PaddingStrategy TensorType"),
    "accelerate.utils.dataclasses": _words("""
        ComputeEnvironment CustomDtype DDPCommunicationHookType DistributedType DynamoBackend
        FP8BackendType LoggerType PrecisionType RNGType SageMakerDistributedType
    """),
    "sentence_transformers.training_args": _words("BatchSamplers MultiDatasetBatchSamplers"),
    "sentence_transformers.sentence_transformer.training_args": _words(
        "BatchSamplers MultiDatasetBatchSamplers"
    ),
    "torch.distributed.fsdp.api": _words("BackwardPrefetch ShardingStrategy StateDictType"),
    "torch.distributed.fsdp.fully_sharded_data_parallel": _words(
        "BackwardPrefetch ShardingStrategy"
    ),
}
_MEMBER = re.compile(r"[A-Z][A-Z0-9_]*")


def role(module: str, name: str) -> Role | None:
    """What a pickle may do with the name of one of these libraries, None where it is not listed."""
    if name in _BOOSTERS.get(module, ()) or name in _TORCH_BUILT.get(module, ()):
        return "built"
    if name in _ARGUMENTS.get(module, ()) or _TRL.get(module) == name:
        return "built"
    if module in ENUMS:
        return _enum(module, name)
    if module.startswith("pandas") and _PANDAS.fullmatch(module):
        return _PANDAS_ROLES.get(name)
    if module.startswith("scipy") and _SCIPY.fullmatch(module):
        return _scipy(module, name)
    if module.startswith("torch"):
        return _torch(module, name)
    return None


def _enum(module: str, name: str) -> Role | None:
    cls, _, member = name.partition(".")
    if cls not in ENUMS[module]:
        return None
    return "value" if member and _MEMBER.fullmatch(member) else None if member else "enum"


def _scipy(module: str, name: str) -> Role | None:
    if module in _DISTRIBUTIONS and _DISTRIBUTION.fullmatch(name):
        return "distribution"
    return "value" if _SCIPY_METHODS.fullmatch(name) else _SCIPY_ROLES.get(name)


def _torch(module: str, name: str) -> Role | None:
    if name in _MEMORY:
        return "value"
    if _OPTIM.fullmatch(module):
        if _OPTIM_METHODS.fullmatch(name):
            return "value"
        return "built" if name in _OPTIM_BUILT else None
    return None
