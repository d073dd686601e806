"""Pickles in every guise: rows 1 to 35, 42, 43 and 46 to 50."""

# ruff: noqa: E501  # tables of names

import bz2
import gzip
import itertools
import lzma
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator

from benchmarks.corpus import CODE, LIE, LOAD, REACH, Sample, zipped
from tests.supply.bypasses import (
    CASES,
    EVIL,
    P2,
    P4,
    SYSTEM,
    call,
    joblib_array,
    legacy,
    name,
    npy,
    pickled,
    stacked,
    u,
)

NAMES: dict[int, str] = {
    0: "os.system os.popen posix.system nt.system os.execv os.execvp os.spawnl os.posix_spawn os.startfile subprocess.Popen subprocess.run subprocess.call subprocess.check_output subprocess.getoutput builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.getattr builtins.map builtins.breakpoint multiprocessing.Process threading.Thread commands.getoutput popen2.popen2 sys.settrace sys.setprofile",
    1: "pip.main pip._internal.main pip._internal.cli.main.main",
    2: "importlib.import_module importlib._bootstrap.__import__ importlib.reload importlib.machinery.SourceFileLoader importlib.util.spec_from_file_location",
    3: "runpy.run_path runpy.run_module runpy._run_code timeit.timeit timeit.repeat timeit.main cProfile.run cProfile.runctx profile.run profile:Profile.run pdb.run pdb.runeval bdb:Bdb.run trace:Trace.run doctest.debug_script doctest.testsource",
    4: "ctypes.CDLL ctypes.PyDLL ctypes:cdll.LoadLibrary pydoc.locate pydoc.pipepager pty.spawn operator.methodcaller operator.attrgetter operator.itemgetter",
    5: "pkgutil.resolve_name pkgutil.get_loader",
    6: "uuid._get_command_stdout _osx_support._read_output _osx_support._find_build_tool _aix_support._read_cmd_output imaplib.IMAP4_stream",
    7: "idlelib.pyshell:ModifiedInterpreter.runcode idlelib.pyshell:ModifiedInterpreter.runcommand idlelib.autocomplete:AutoComplete.get_entity idlelib.calltip.get_entity idlelib.calltip:Calltip.fetch_tip idlelib.run:Executive.runcode idlelib.debugobj:ObjectTreeItem.SetText lib2to3.pgen2.grammar:Grammar.loads lib2to3.pgen2.pgen:ParserGenerator.make_label ensurepip._run_pip code:InteractiveInterpreter.runcode code.interact",
    8: "marshal.loads marshal.load types.FunctionType types.CodeType types.MethodType",
    9: "asyncio.unix_events:_UnixSubprocessTransport._start asyncio.subprocess.create_subprocess_shell asyncio.run",
    10: "distutils.spawn.spawn distutils.file_util.write_file setuptools._distutils.spawn.spawn setuptools._distutils.file_util.write_file setuptools.setup",
    11: "mailcap.findmatch pipes:Template.open typing._eval_type typing.get_type_hints dataclasses._create_fn dataclasses.make_dataclass operator.call functools.partial functools.reduce inspect._signature_fromstr collections.namedtuple",
    12: "smtplib.SMTP socketserver.TCPServer sqlite3.connect ftplib.FTP telnetlib.Telnet http.server.HTTPServer urllib.request.urlopen urllib.request.urlretrieve xmlrpc.client.ServerProxy poplib.POP3 socket.create_connection shelve.open dbm.open logging.FileHandler logging.config.fileConfig shutil.copy shutil.rmtree shutil.move pathlib:Path.write_text io.open _io.FileIO builtins.open codecs.open linecache.getlines zipfile.ZipFile tarfile.open zipimport.zipimporter webbrowser.open os.remove os.rename requests.get aiohttp.request",
    13: "_xxsubinterpreters.run_string _testcapi.run_in_subinterp _xxsubinterpreters.create",
    14: "torch.hub.load torch.hub.load_state_dict_from_url torch.hub.download_url_to_file torch.load torch.serialization.load torch.save torch.utils.collect_env.run torch.utils.bottleneck.__main__.run_cprofile torch.utils.bottleneck.__main__.run_autograd_prof torch.utils._config_module:ConfigModule.load_config torch.utils.cpp_extension.load torch.utils.cpp_extension.load_inline torch.utils.cpp_extension._run_ninja_build torch.utils.data.datapipes.utils.decoder.basichandlers torch._dynamo.guards:GuardBuilder.get torch._dynamo.repro.after_aot.main torch._inductor.codecache.compile_file torch._inductor.codecache:PyCodeCache.load torch.fx.graph_module._forward_from_src torch.fx._symbolic_trace.wrap torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch.jit.load torch.jit.unsupported_tensor_ops.execWrapper torch.jit.CompilationUnit torch.package.PackageImporter torch.distributed.rpc.rpc_sync torch.distributed.rpc.remote torch.distributed.run.main torch.multiprocessing.spawn torch.testing._internal.common_utils.run_tests torch.testing._internal.distributed.rpc.rpc_test.no_result torch.from_file torch.classes.load_library torch.ops.load_library torch._C._jit_pass_onnx torch._utils._import_dotted_name torch.storage.UntypedStorage.from_file torch.export.load torch.compile torch.library.define",
    15: "numpy.testing._private.utils.runstring numpy.testing.utils.runstring numpy.testing.rundocs numpy.testing.measure numpy.testing._private.utils.run_subprocess numpy.f2py.crackfortran.getlincoef numpy.f2py.crackfortran.param_eval numpy.f2py.crackfortran._eval_length numpy.f2py.crackfortran.myeval numpy.f2py.capi_maps.load_f2cmap_file numpy.f2py.compile numpy.distutils.exec_command.exec_command numpy.distutils.cpuinfo.getoutput numpy.load numpy.loadtxt numpy.fromfile numpy.memmap numpy.lib.npyio.load numpy.lib.npyio.NpzFile numpy.vectorize numpy.frompyfunc numpy.core.records.fromfile numpy.apply_along_axis numpy.ctypeslib.load_library",
    16: "pandas.read_pickle pandas.io.pickle.read_pickle pandas.eval pandas.core.computation.eval.eval pandas:DataFrame.query pandas:DataFrame.to_csv pandas.read_csv pandas.io.common.get_handle pandas.util._print_versions.show_versions joblib.load joblib.numpy_pickle.load joblib.Parallel joblib.dump joblib._memmapping_reducer.reduce_array_memmap_backward dill.loads dill.load dill._dill._create_function dill._dill._import_module dill._dill._eval_repr cloudpickle.loads cloudpickle.cloudpickle._make_function cloudpickle.cloudpickle.subimport cloudpickle.cloudpickle._make_skeleton_class joblib.externals.cloudpickle.cloudpickle._builtin_type sklearn.datasets.load_files sklearn.datasets._base.load_files sklearn.datasets.fetch_openml sklearn.preprocessing.FunctionTransformer.transform sklearn.utils._testing.run_test_code scipy.io.loadmat scipy.sparse.load_npz scipy.weave.inline scipy.optimize.minimize scipy.LowLevelCallable keras.models.load_model tensorflow.io.write_file tensorflow.py_function keras.utils.get_file transformers.pipeline huggingface_hub.hf_hub_download jsonpickle.decode yaml.unsafe_load yaml.load",
    17: "lovely_package.helper a_model.utils.load company.models:Net.build modeling_fancy.FancyModel my_utils.run __main__.payload",
    18: "fickling.hook.run_hook fickling.hook.deactivate_safe_ml_environment fickling.always_check_safety picklescan.scanner.scan_file_path modelscan.modelscan.ModelScan sys.exit os._exit sys.addaudithook sys.modules.clear atexit.register gc.get_objects signal.signal warnings.simplefilter",
    19: "torch:os.system torch.nn:modules.module.sys.exit torch.serialization:os.system torch._utils:sys.modules.clear torch.storage:io.open numpy:f2py.os.system numpy:testing.os.popen numpy.core:multiarray.os.system numpy.core.multiarray:functools.partial collections:abc.sys.modules.get collections:_sys.exit sklearn.linear_model:_base.warnings.sys.exit sklearn.pipeline:np.load sklearn.utils:np.load joblib:os.system joblib.numpy_pickle:pickle.loads _codecs:__builtins__.eval builtins:__builtins__.exec collections:OrderedDict.__class__ collections:OrderedDict.__init__.__globals__ copyreg:_reconstructor.__globals__ scipy.sparse:np.load datetime:sys.exit pandas:io.pickle.read_pickle xgboost.core:ctypes.CDLL torch:__builtins__.eval",
}
"""Callables by row; "module:a.b" is a dotted name within a module."""


def proto0(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n(Vtrue\ntR.".encode()


def as_inst(module: str, attribute: str) -> bytes:
    return f"(Vtrue\ni{module}\n{attribute}\n.".encode()


def as_obj(module: str, attribute: str) -> bytes:
    return pickled(b"(", name(module, attribute), u("true"), b"o")


def as_global(module: str, attribute: str) -> bytes:
    return pickled(call(module, attribute, u("true")))


def as_stacked(module: str, attribute: str) -> bytes:
    return pickled(stacked(module, attribute), b"(", u("true"), b"tR", header=P4)


def as_memoised(module: str, attribute: str) -> bytes:
    """Names come out of the memo, as pickle itself writes them when they appear twice."""
    short = b"".join(b"\x8c" + bytes([len(n)]) + n.encode() + b"\x940" for n in (module, attribute))
    return pickled(short, b"h\x00h\x01\x93\x94\x8c\x04true\x94\x85\x94R\x94", header=P4)


def as_newobj(module: str, attribute: str) -> bytes:
    return pickled(stacked(module, attribute), u("true"), b"\x85\x81", header=P4)


def as_element(module: str, attribute: str) -> bytes:
    """Deep in a dictionary of lists, its value not used."""
    return pickled(b"}", u("weights"), b"](K\x01K\x02", call(module, attribute, u("true")), b"es")


def as_framed(module: str, attribute: str) -> bytes:
    body = stacked(module, attribute) + b"(" + u("true") + b"tR."
    return b"\x80\x05\x95" + struct.pack("<Q", len(body)) + body


FORMS: tuple[Callable[[str, str], bytes], ...] = (
    as_stacked, as_global, as_memoised, as_framed, as_element, as_newobj,
)  # fmt: skip
PLAIN_FORMS = (*FORMS, proto0, as_inst, as_obj)
"""INST and OBJ, and the text protocol, cannot name what has a dot on Python 3.4 and later."""


def torch_zip(content: bytes) -> bytes:
    return zipped({
        "archive/data.pkl": content, "archive/byteorder": b"little", "archive/data/0": bytes(16),
        "archive/version": b"3\n", "archive/.data/serialization_id": b"1" * 40,
    })  # fmt: skip


WRAPS: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("", "model.pkl", bytes), (" in a torch zip", "model.pt", torch_zip),
    (" in torch's old format", "model.pth", lambda c: legacy(obj=c)),
    (" behind zlib", "model.joblib", zlib.compress), (" behind gzip", "model.pkl.gz", gzip.compress),
    (" in an object array", "model.npy", npy),
)  # fmt: skip


def named() -> Iterator[Sample]:
    """One file for each callable; opcodes and wrappings take turns."""
    forms, plain, wraps = (itertools.cycle(each) for each in (FORMS, PLAIN_FORMS, WRAPS))
    for row, told in NAMES.items():
        for target in told.split():
            module, _, attribute = target.rpartition(":" if ":" in target else ".")
            form = next(forms if "." in attribute else plain)
            how, file, wrap = next(wraps)
            label = f"{target} by {form.__name__}{how}"
            yield Sample(label, file, wrap(form(module, attribute)), row=row)


BROKEN = {
    "22: STACK_GLOBAL with a missing memo entry", "28: broken before any payload",
    "47: a shape that is made at load time",
}  # fmt: skip
"""Of the tests' cases: loading stops before anything runs."""


def opcodes() -> Iterator[Sample]:
    """Tricks with the machine, beside those that the tests have."""
    join = stacked("builtins", "str.join")
    yield from (
        Sample(
            f"bypass {label}",
            file,
            data,
            LIE if label in BROKEN or label.startswith("33:") else CODE,
            int(label.partition(":")[0]),
        )
        for label, file, data, _ in CASES
        if int(label.partition(":")[0]) >= 20
    )
    late = b"0" * 3
    hidden = {
        (20, "BUILD into a module's attribute"): pickled(name("numpy", "core"), b"}(", u("load"), u("x"), b"ub"),
        (21, "LONG_BINPUT after a dropped string"): pickled(
            u("os"), u("json"), b"0r\x10\x00\x00\x000", u("system"), u("dumps"), b"0r\x11\x00\x00\x000",
            b"j\x10\x00\x00\x00j\x11\x00\x00\x00\x93(", u("true"), b"tR", header=P4),
        (21, "names swapped through DUP and POP"): pickled(
            u("os"), b"20\x94", u("system"), b"\x93(", u("true"), b"tR", header=P4),
        (23, "module name joined"): pickled(join, b"(", u("."), b"(", u("os"), u("path"), b"ttR", u("join"), b"\x93", header=P4),
        (23, "name from bytes decoded"): pickled(call("_codecs", "decode", u("6f73"), u("hex")), u("system"), b"\x93(", u("true"), b"tR", header=P4),
        (23, "raw unicode escapes"): pickled(b"V\\U0000006fs\n", b"Vsyste\\u006d\n", b"\x93(", u("true"), b"tR", header=P4),
        (23, "octal escapes"): pickled(b"S'\\157s'\n", b"S'system'\n", b"\x93(", u("true"), b"tR", header=P4),
        (24, "extension of two bytes"): pickled(call("copyreg", "add_extension", u("os"), u("system"), b"M\x00\x01"), b"0\x83\x00\x01(", u("true"), b"tR"),
        (24, "extension of four bytes, registered elsewhere"): pickled(b"\x84\x00\x01\x00\x00(", u("true"), b"tR"),
        (25, "NEWOBJ_EX with keywords"): pickled(name("subprocess", "Popen"), b")}", u("args"), u("true"), b"s\x92", header=P4),
        (25, "BUILD of an instance of unknown class"): pickled(name("lovely", "Thing"), b")\x81}", u("a"), u("b"), b"sb"),
        (25, "REDUCE of a class made by type()"): pickled(call("builtins", "type", u("X"), b")", b"}"), b")R"),
        (26, "two calls, both dropped"): pickled(SYSTEM, b"0", SYSTEM, b"0N"),
        (26, "a call that is a key"): pickled(b"}", SYSTEM, b"Ns"),
        (26, "a call in a set"): pickled(b"\x8f(", SYSTEM, b"\x90", header=P4),
        (26, "a call in a frozen set"): pickled(b"(", SYSTEM, b"\x91", header=P4),
        (27, "REDUCE, BUILD, POP"): pickled(call("smtplib", "SMTP", u("")), b"}b0N"),
        (28, "then an opcode of no protocol"): P2 + SYSTEM + b"\xfe" * 4,
        (28, "then half a GLOBAL"): P2 + SYSTEM + b"cbuiltins\nev",
        (28, "then a mark that is missing"): P2 + SYSTEM + b"0t.",
        (28, "then a memo entry that is missing"): P2 + SYSTEM + b"h\xff.",
        (28, "then protocol 6"): P2 + SYSTEM + b"\x80\x06N.",
        (28, "then a STOP of nothing"): P2 + SYSTEM + late + b".",
        (29, "second of many"): b"".join(pickle.dumps(i) for i in range(40)) + EVIL + pickle.dumps(1),
        (29, "behind zeros"): pickle.dumps({"a": 1}) + bytes(64) + EVIL,
        (29, "behind text"): pickle.dumps({"a": 1}) + b"\nnotes\n" + EVIL,
        (30, "frame of no bytes"): P4 + b"\x95" + bytes(8) + SYSTEM + b".",
        (30, "frame of all ones"): P4 + b"\x95" + b"\xff" * 8 + SYSTEM + b".",
        (32, "pickle.loads of bytes"): pickled(name("pickle", "loads"), b"C", bytes([len(EVIL)]), EVIL, b"\x85R", header=P4),
        (32, "_pickle.loads of bytes"): pickled(name("_pickle", "loads"), b"C", bytes([len(EVIL)]), EVIL, b"\x85R", header=P4),
        (32, "pickle._loads of text"): pickled(name("pickle", "_loads"), u("cos\nsystem\n(S'true'\ntR."), b"\x85R"),
        (32, "torch.storage._load_from_bytes"): pickled(name("torch.storage", "_load_from_bytes"), b"C", bytes([len(EVIL)]), EVIL, b"\x85R", header=P4),
        (32, "torch.storage._load_from_bytes of an archive"): pickled(
            name("torch.storage", "_load_from_bytes"), b"B", struct.pack("<I", len(torch_zip(EVIL))), torch_zip(EVIL), b"\x85R", header=P4),
        (32, "Unpickler(...).load"): pickled(name("pickle", "Unpickler"), call("io", "BytesIO", b"C" + bytes([len(EVIL)]) + EVIL), b"\x85R"),
        (50, "dill code object"): pickled(name("dill._dill", "_create_code"), b"(K\x00K\x00tR0", call("dill._dill", "_create_function", b"N", b"}"), header=P4),
        (50, "cloudpickle function"): pickled(name("cloudpickle.cloudpickle", "_make_function"), b"(", name("cloudpickle.cloudpickle", "_builtin_type"), u("CodeType"), b"\x85R", b"NNNNtR", header=P4),
        (50, "cloudpickle class"): pickled(call("cloudpickle.cloudpickle", "_make_skeleton_class", name("builtins", "type"), u("X"), b")", b"}", u("1"), b"N"), b"}\x86b", header=P4),
    }  # fmt: skip
    for (row, label), data in hidden.items():
        yield Sample(label, "model.pkl", data, LIE if label.startswith("behind ") else CODE, row)


def disguised() -> Iterator[Sample]:
    """Rows 34 and 35: other names; 47 to 49: joblib and NumPy; 31: behind much that is harmless."""
    endings = [
        "safetensors",
        "json",
        "txt",
        "jpg",
        "sav",
        "onnx",
        "gguf",
        "h5",
        "hdf5",
        "keras",
        "pb",
        "yaml",
        "yml",
        "md",
        "csv",
        "npy",
        "npz",
        "zip",
        "tar",
        "mar",
        "nemo",
        "msgpack",
        "xml",
        "mlmodel",
        "tflite",
        "rds",
        "dat",
        "model",
        "weights",
        "png",
        "wav",
        "pdf",
        "html",
        "log",
    ]
    for ending in endings:
        yield Sample(f"pickle named .{ending}", f"model.{ending}", EVIL, row=35)
        if ending in (
            "safetensors",
            "json",
            "txt",
            "onnx",
            "gguf",
            "h5",
            "keras",
            "pb",
            "yaml",
            "md",
        ):
            text = b"cos\nsystem\n(S'true'\ntR."
            yield Sample(f"text pickle named .{ending}", f"model.{ending}", text, row=35)
    for file in (
        "pytorch_model.bin",
        "model.pt",
        "model.ckpt",
        "model.pth",
        "optimizer.bin",
        "model",
    ):
        yield Sample(f"plain pickle named {file}", file, EVIL, row=34)
    short, long = b"K\x010" * 100_000, b"N0" * 500_000
    for label, padding in {
        "200 thousand opcodes": short, "one million opcodes": long,
        "8 MB of bytes": b"B" + struct.pack("<I", 2**23) + bytes(2**23) + b"0",
        "24 MB of text": b"X" + struct.pack("<I", 24 * 2**20) + b"a" * (24 * 2**20) + b"0",
    }.items():  # fmt: skip
        yield Sample(f"payload behind {label}", "model.pkl", pickled(padding, SYSTEM), row=31)
    array = pickled(joblib_array(), bytes(32), b"0", SYSTEM)
    packers = {
        "zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
        "lzma": lambda c: lzma.compress(c, lzma.FORMAT_ALONE),
    }  # fmt: skip
    for label, pack in packers.items():
        yield Sample(f"{label} of a pickle, named .pkl", "model.pkl", pack(EVIL), row=48)
        yield Sample(f"{label} of a joblib file with an array", "m.joblib", pack(array), row=48)
        yield Sample(f"{label} of a torch archive", "model.pt", pack(torch_zip(EVIL)), row=48)
    header = npy(b"")
    yield Sample(
        "npy whose pickle is the second of two", "a.npy", npy(pickle.dumps([1]) + EVIL), row=49
    )
    yield Sample("npy of version 2", "a.npy", npy(EVIL, 2), row=49)
    yield Sample(
        "npy of a nested object field", "a.npy", npy(EVIL, descr="[('a', [('b', '|O')])]"), row=49
    )
    yield Sample(
        "npz with a member without suffix", "a.npz", zipped({"arr_0": header + EVIL}), row=49
    )
    yield Sample("npz with a pickle for an array", "a.npz", zipped({"arr_0.npy": EVIL}), row=49)
    yield Sample(
        "joblib array of objects",
        "m.joblib",
        pickled(joblib_array().replace(u("f8"), u("O8")).replace(b"K\x00tb", b"K\x3ftb"), EVIL),
        row=47,
    )
    yield Sample(
        "call before a joblib array",
        "m.joblib",
        pickled(SYSTEM, b"0", joblib_array(), bytes(32)),
        row=47,
    )


def heavy() -> Iterator[Sample]:
    """Rows 33 and 46: what costs, and tensors that say they are larger than their numbers."""
    laughs = b"".join(
        b"(" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"t\x940" for i in range(60)
    )
    yield Sample(
        "tuples of tuples, ten to the sixtieth",
        "m.pkl",
        pickled(b"(t\x940", laughs, b"h\x3c", header=P4),
        LOAD,
        33,
    )
    yield Sample(
        "a list that is hashed for ever",
        "m.pkl",
        pickled(
            b")\x94",
            b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(100)),
            b"}h\x64Ns",
            header=P4,
        ),
        LOAD,
        33,
    )
    yield Sample(
        "lists fifty thousand deep", "m.pkl", pickled(b"]" * 50_000 + b"a" * 49_999), LOAD, 33
    )
    yield Sample(
        "a text of 4 GB that is not there", "m.pkl", P2 + b"X\xff\xff\xff\xffabc.", LIE, 33
    )
    yield Sample(
        "bytes of 2^62 that are not there",
        "m.pkl",
        P4 + b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        LIE,
        33,
    )
    yield Sample(
        "a number of 2 GB that is not there", "m.pkl", P2 + b"\x8b\xff\xff\xff\x7f" + b"1.", LIE, 33
    )
    yield Sample(
        "a decimal number of a million digits", "m.pkl", b"I" + b"9" * 1_000_000 + b"\n.", LOAD, 33
    )
    yield Sample("a memo slot of 2^32 - 1", "m.pkl", P2 + b"Nr\xff\xff\xff\xff.", LOAD, 33)

    def tensor(size: int, offset: int = 0, stride: int = 1) -> bytes:
        storage = (
            b"(" + u("storage") + name("torch", "FloatStorage") + u("0") + u("cpu") + b"K\x04tQ"
        )
        number = [
            b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
            for value in (offset, size, stride)
        ]
        return pickled(
            name("torch._utils", "_rebuild_tensor_v2"),
            b"(",
            storage,
            number[0],
            number[1] + b"\x85",
            number[2] + b"\x85",
            b"\x89",
            call("collections", "OrderedDict"),
            b"tR",
        )

    for label, data in {
        "size": tensor(10**6), "offset": tensor(2, 2**40), "stride": tensor(4, 0, 2**40),
        "negative stride": tensor(4, 0, -(2**40)), "negative offset": tensor(4, -64), "huge size": tensor(2**62),
    }.items():  # fmt: skip
        yield Sample(f"tensor beyond its storage by {label}", "m.pt", torch_zip(data), LIE, 46)
    yield Sample(
        "random-access file of a storage",
        "m.pkl",
        pickled(call("torch", "UntypedStorage", u("/etc/hostname"))),
        REACH,
        46,
    )


def samples() -> Iterator[Sample]:
    yield from named()
    yield from opcodes()
    yield from disguised()
    yield from heavy()
