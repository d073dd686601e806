"""Operators of TensorFlow: those that only compute, and those that reach out of the graph.

The list of those that compute follows what TensorFlow's documentation allows on small devices,
with the layers of Keras, signal processing and linear algebra. An operator on neither list may be
anything: a library of the user's can define it.
"""

import re
from functools import lru_cache
from typing import Literal

Standing = Literal["known", "custom", "python", "files", "network", "saver"]
"""saver: reads and writes checkpoints, which belongs into the saver's own functions only."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PYTHON = _words("EagerPyFunc PyFunc PyFuncStateless")
FILES = _words("""
    CSVDataset CreateSummaryDbWriter CreateSummaryFileWriter DataServiceRegisterDataset
    DatasetToTFRecord DistributedSave ExperimentalCSVDataset ExperimentalDatasetToTFRecord
    ExperimentalLMDBDataset ExperimentalMatchingFilesDataset ExperimentalSqlDataset
    FileSystemSetConfiguration FixedLengthRecordDataset FixedLengthRecordDatasetV2
    FixedLengthRecordReader FixedLengthRecordReaderV2 GenerateVocabRemapping ImmutableConst
    LMDBDataset LMDBReader LoadAndRemapMatrix LoadDataset LoadLibrary MatchingFiles
    MatchingFilesDataset ReadFile ReaderRead ReaderReadUpTo ReaderReadUpToV2 ReaderReadV2
    SaveDataset SaveDatasetV2 SnapshotDataset SnapshotDatasetReader SnapshotDatasetV2
    SnapshotNestedDatasetReader SqlDataset TFRecordDataset TFRecordDatasetV2 TFRecordReader
    TFRecordReaderV2 TextLineDataset TextLineReader TextLineReaderV2 WholeFileReader
    WholeFileReaderV2 WriteFile
""")
NETWORK = _words("""
    BigQueryReader BigtableClient CloudBigtableClient DataServiceDataset DataServiceDatasetV2
    DataServiceDatasetV3 DataServiceDatasetV4 GcsConfigureBlockCache GcsConfigureCredentials
    KafkaDataset KinesisDataset PubSubDataset Rpc RpcCall RpcClient RpcServer RpcServerRegister
    RpcServerStart TryRpc
""")
SAVER = _words("""
    CheckpointHasKey LoadCheckpoint MergeV2Checkpoints Restore RestoreSlice RestoreV2 Save
    SaveSlices SaveV2
""")

_COMPUTES = _words("""
    Abs Acos Acosh Add AddN AddSparseToTensorsMap AdjustContrast AdjustHue AdjustSaturation All
    AllCandidateSampler Angle AnonymousHashTable AnonymousIterator
    AnonymousMutableDenseHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors
    AnonymousRandomSeedGenerator AnonymousSeedGenerator Any ApplyAdaMax ApplyAdadelta
    ApplyAdagrad ApplyAdagradDA ApplyAdam ApplyAdamWithAmsgrad ApplyAddSign ApplyCenteredRMSProp
    ApplyFtrl ApplyGradientDescent ApplyKerasMomentum ApplyMomentum ApplyPowerSign
    ApplyProximalAdagrad ApplyProximalGradientDescent ApplyRMSProp ApproxTopK ApproximateEqual
    ArgMax ArgMin AsString Asin Asinh Assert Assign AssignAdd AssignAddVariableOp AssignSub
    AssignSubVariableOp AssignVariableOp AssignVariableXlaConcatND Atan Atan2 Atanh
    AudioSpectrogram AudioSummary AvgPool AvgPool3D BandedTriangularSolve Batch BatchCholesky
    BatchDataset BatchFunction BatchIFFT BatchMatMul BatchMatrixBandPart BatchMatrixDeterminant
    BatchMatrixDiag BatchMatrixDiagPart BatchMatrixInverse BatchMatrixSetDiag BatchMatrixSolve
    BatchMatrixTriangularSolve BatchNormWithGlobalNormalization BatchSelfAdjointEig BatchSvd
    BatchToSpace BatchToSpaceND BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0
    BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc BiasAdd Bincount Bitcast BitwiseAnd
    BitwiseOr BitwiseXor BlockLSTM BoostedTreesBucketize BoostedTreesCreateEnsemble
    BoostedTreesCreateQuantileStreamResource BoostedTreesDeserializeEnsemble
    BoostedTreesEnsembleResourceHandleOp BoostedTreesFlushQuantileSummaries
    BoostedTreesGetEnsembleStates BoostedTreesMakeQuantileSummaries BoostedTreesPredict
    BoostedTreesQuantileStreamResourceAddSummaries BoostedTreesQuantileStreamResourceDeserialize
    BoostedTreesQuantileStreamResourceFlush
    BoostedTreesQuantileStreamResourceGetBucketBoundaries
    BoostedTreesQuantileStreamResourceHandleOp BroadcastArgs BroadcastGradientArgs BroadcastTo
    Bucketize CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss Case Cast Ceil CheckNumerics
    Cholesky ClipByValue CombinedNonMaxSuppression Complex ComplexAbs ComputeAccidentalHits
    Concat ConcatOffset ConcatenateDataset ConfusionMatrix Conj ConjugateTranspose Const
    ControlTrigger Conv Conv2D Conv2DBackpropFilter Conv2DBackpropInput Conv3D
    Conv3DBackpropFilter Conv3DBackpropInput Copy Cos Cosh CropAndResize CropAndResizeGradBoxes
    CropAndResizeGradImage Cross CudnnRNN CudnnRNNBackprop CudnnRNNCanonicalToParams
    CudnnRNNParamsSize CudnnRNNParamsToCanonical Cumprod Cumsum CumulativeLogsumexp
    DataFormatDimMap DataFormatVecPermute DatasetCardinality DatasetToSingleElement Dawsn
    DebugGradientIdentity DebugGradientRefIdentity DecodeAndCropJpeg DecodeBase64 DecodeBmp
    DecodeCSV DecodeCompressed DecodeGif DecodeImage DecodeJSONExample DecodeJpeg
    DecodePaddedRaw DecodePng DecodeRaw DecodeWav DecodeWebP DeepCopy DeleteIterator
    DeleteMemoryCache DeleteSeedGenerator DeleteRandomSeedGenerator DeleteSessionTensor
    DenseBincount DenseCountSparseOutput DenseToCSRSparseMatrix DenseToDenseSetOperation
    DenseToSparseBatchDataset DenseToSparseSetOperation DepthToSpace DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput Dequantize
    DeserializeManySparse DeserializeSparse DestroyResourceOp DestroyTemporaryVariable Diag
    DiagPart Digamma Dilation2D Dilation2DBackpropFilter Dilation2DBackpropInput
    DisableCopyOnRead Div DivNoNan DrawBoundingBoxes DummyIterationCounter DynamicPartition
    DynamicStitch EditDistance Eig Einsum Elu Empty EmptyTensorList EmptyTensorMap EncodeBase64
    EncodeJpeg EncodeJpegVariableQuality EncodePng EncodeWav EnsureShape Enter Equal Erf Erfc
    Erfinv EuclideanNorm Exit Exp ExpandDims Expint Expm1 ExtractGlimpse ExtractImagePatches
    ExtractJpegShape ExtractVolumePatches FFT FFT2D FFT3D FFTND FIFOQueue Fact FakeParam
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
    FakeQuantWithMinMaxVarsPerChannelGradient FakeQueue Fill FilterDataset FinalizeDataset
    Fingerprint FixedUnigramCandidateSampler FlatMapDataset Floor FloorDiv FloorMod For
    FractionalAvgPool FractionalMaxPool FresnelCos FresnelSin FusedBatchNorm FusedPadConv2D
    FusedResizeAndPadConv2D GRUBlockCell Gather GatherNd GenerateBoundingBoxProposals
    GeneratorDataset GetOptions GetSessionHandle GetSessionTensor Greater GreaterEqual
    GroupByReducerDataset GroupByWindowDataset GuaranteeConst HSVToRGB HashTable
    HistogramFixedWidth HistogramSummary IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND
    Identity IdentityN If Igamma IgammaGradA Igammac Imag ImageProjectiveTransform ImageSummary
    InTopK InitializeTable InitializeTableFromDataset InitializeTableFromTextFile InplaceAdd
    InplaceSub InplaceUpdate InterleaveDataset Inv Invert InvertPermutation
    IsBoostedTreesEnsembleInitialized IsBoostedTreesQuantileStreamResourceInitialized IsFinite
    IsInf IsNan IsVariableInitialized IsotonicRegression Iterator IteratorFromStringHandle
    IteratorGetNext IteratorGetNextAsOptional IteratorToStringHandle L2Loss LRN LSTMBlockCell
    LeakyRelu LearnedUnigramCandidateSampler LeftShift Less LessEqual Lgamma LinSpace ListDiff
    Log Log1p LogMatrixDeterminant LogSoftmax LogUniformCandidateSampler LogicalAnd LogicalNot
    LogicalOr LookupTableExport LookupTableFind LookupTableImport LookupTableInsert
    LookupTableRemove LookupTableSize LoopCond LowerBound Lu MakeIterator MakeUnique
    MapAndBatchDataset MapDataset MapDefun MatMul MatrixBandPart MatrixDeterminant MatrixDiag
    MatrixDiagPart MatrixExponential MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSolve
    MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max MaxPool MaxPool3D
    MaxPoolGradWithArgmax MaxPoolWithArgmax Maximum Mean Merge MergeDedupData MergeSummary Mfcc
    Min Minimum MirrorPad Mod ModelDataset Mul MulNoNan Multinomial MutableDenseHashTable
    MutableHashTable MutableHashTableOfTensors MutexLock MutexV2 Ndtri Neg NegTrain NextAfter
    NextIteration NoOp NonDeterministicInts NonMaxSuppression NonMaxSuppressionWithOverlaps
    NonSerializableDataset NotEqual NthElement OneHot OneShotIterator OnesLike OptimizeDataset
    OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone OptionsDataset Pack Pad
    PaddedBatchDataset PaddingFIFOQueue ParallelBatchDataset ParallelConcat
    ParallelDynamicStitch ParallelInterleaveDataset ParallelMapDataset
    ParameterizedTruncatedNormal ParseExample ParseSequenceExample ParseSingleExample
    ParseSingleSequenceExample ParseTensor PartitionedCall Placeholder PlaceholderWithDefault
    Polygamma PopulationCount Pow PrefetchDataset PreventGradient Print PriorityQueue Prod Qr
    Quantize QuantizeAndDequantize QuantizeDownAndShrinkRange QuantizedAdd QuantizedAvgPool
    QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConcat QuantizedConv2D
    QuantizedDepthwiseConv2D QuantizedInstanceNorm QuantizedMatMul QuantizedMaxPool QuantizedMul
    QuantizedRelu QuantizedRelu6 QuantizedReshape QuantizedResizeBilinear QueueClose
    QueueDequeue QueueDequeueMany QueueDequeueUpTo QueueEnqueue QueueEnqueueMany QueueIsClosed
    QueueSize RFFT RFFT2D RFFT3D RFFTND RGBToHSV RaggedBincount RaggedCountSparseOutput
    RaggedCross RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorFromVariant
    RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
    RaggedTensorToVariantGradient RandomCrop RandomDataset RandomGamma RandomGammaGrad
    RandomPoisson RandomShuffle RandomShuffleQueue RandomStandardNormal RandomUniform
    RandomUniformInt Range RangeDataset Rank ReadVariableOp ReadVariableXlaSplitND Real RealDiv
    Reciprocal ReduceDataset ReduceJoin RefEnter RefExit RefIdentity RefMerge RefNextIteration
    RefSelect RefSwitch RegexFullMatch RegexReplace Relu Relu6 RepeatDataset RequantizationRange
    RequantizationRangePerChannel Requantize RequantizePerChannel Reshape ResizeArea
    ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceAccumulatorApplyGradient
    ResourceCountUpTo Reverse ReverseSequence RightShift Rint RngReadAndSkip RngSkip Roll Round
    Rsqrt SampleDistortedBoundingBox ScalarSummary ScaleAndTranslate ScanDataset ScatterAdd
    ScatterDiv ScatterMax ScatterMin ScatterMul ScatterNd ScatterNdAdd ScatterNdMax ScatterNdMin
    ScatterNdNonAliasingAdd ScatterNdSub ScatterNdUpdate ScatterSub ScatterUpdate SegmentMax
    SegmentMean SegmentMin SegmentProd SegmentSum Select SelfAdjointEig Selu SerializeIterator
    SerializeManySparse SerializeSparse SerializeTensor SetSize Shape ShapeN ShardDataset
    ShardedFilename ShardedFilespec ShuffleAndRepeatDataset ShuffleDataset Sigmoid Sign Sin Sinh
    Size Skipgram SkipDataset Slice Snapshot SobolSample Softmax SoftmaxCrossEntropyWithLogits
    Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth SparseAdd SparseApplyAdadelta
    SparseApplyAdagrad SparseApplyAdagradDA SparseApplyCenteredRMSProp SparseApplyFtrl
    SparseApplyKerasMomentum SparseApplyMomentum SparseApplyProximalAdagrad
    SparseApplyProximalGradientDescent SparseApplyRMSProp SparseBincount SparseConcat
    SparseCountSparseOutput SparseCross SparseCrossHashed SparseDenseCwiseAdd
    SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows SparseMatMul SparseMatrixMatMul
    SparseReduceMax SparseReduceMaxSparse SparseReduceSum SparseReduceSumSparse SparseReorder
    SparseReshape SparseSegmentMean SparseSegmentMeanWithNumSegments SparseSegmentSqrtN
    SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumWithNumSegments
    SparseSlice SparseSoftmax SparseSoftmaxCrossEntropyWithLogits SparseSparseMaximum
    SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
    SparseTensorSliceDataset SparseToDense SparseToSparseSetOperation Spence Split
    SplitDedupData SplitV Sqrt Square SquaredDifference Squeeze Stack StackClose StackPop
    StackPush StatefulPartitionedCall StatefulRandomBinomial StatefulStandardNormal
    StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt
    StatelessCase StatelessIf StatelessParameterizedTruncatedNormal StatelessRandomBinomial
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
    StatelessRandomNormal StatelessRandomUniformFullInt StatelessShuffle StatelessWhile
    StaticRegexFullMatch StaticRegexReplace StopGradient StridedSlice StridedSliceAssign
    StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringStrip
    StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber
    StringUpper Sub Substr Sum Svd Switch SymbolicGradient TakeDataset
    TakeManySparseFromTensorsMap TakeWhileDataset Tan Tanh TemporaryVariable TensorArray
    TensorArrayClose TensorArrayConcat TensorArrayGather TensorArrayGradWithShape
    TensorArrayPack TensorArrayRead TensorArrayScatter TensorArraySize TensorArraySplit
    TensorArrayUnpack TensorArrayWrite TensorDataset TensorListConcat TensorListConcatLists
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem
    TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
    TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
    TensorListSetItem TensorListSplit TensorListStack TensorMapErase TensorMapHasKey
    TensorMapInsert TensorMapLookup TensorMapSize TensorMapStackKeys TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorSliceDataset
    TensorStridedSliceUpdate TensorSummary ThreadUnsafeUnigramCandidateSampler Tile Timestamp
    TopK TopKUnique Transpose TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod
    TruncatedNormal Unbatch UnbatchDataset UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode
    UnicodeScript UnicodeTranscode UniformCandidateSampler UniformDequantize UniformQuantize
    UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
    UniformQuantizedDot UniformRequantize Unique UniqueDataset UniqueWithCounts Unpack
    UnravelIndex UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
    UnsortedSegmentSum UnwrapDatasetVariant UpperBound VarHandleOp VarIsInitializedOp Variable
    VariableShape Where While WindowDataset WrapDatasetVariant Xdivy Xlog1py Xlogy ZerosLike
    Zeta ZipDataset
""")
"""Operators that only compute, without their versions, gradients, and forms on resources."""

_DATA = _words("_Arg _Retval _DeviceArg _DeviceRetval _FusedBatchNormEx _FusedConv2D _FusedMatMul")
_ENDING = re.compile(r"(Grad)*(V\d)?$")
_FORMS = ("Resource", "Stateless")


@lru_cache(4096)
def standing(op: str) -> Standing:
    """What is known of an operator by its name."""
    if op in PYTHON:
        return "python"
    if op in FILES:
        return "files"
    if op in NETWORK:
        return "network"
    if op in SAVER:
        return "saver"
    if op in _DATA:
        return "known"
    plain = op
    for form in _FORMS:
        plain = plain.removeprefix(form)
    names = {op, plain, _ENDING.sub("", op), _ENDING.sub("", plain)}
    return "known" if names & _COMPUTES else "custom"
