"""Known ways past pickle scanners, built opcode by opcode. Arguments are harmless; nothing is loaded.

Each case is (name, file name, bytes, what a finding must name). Numbers are those of published
bypass families: advisories of picklescan, fickling and modelscan, and the CVEs they belong to.
"""

# ruff: noqa: E501  # a table of cases

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np

P2, P4 = b"\x80\x02", b"\x80\x04"
MAGIC = 0x1950A86A20F9469CFC6C


def u(text: str) -> bytes:
    """A string, by BINUNICODE."""
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """An import, by GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def stacked(module: str, attribute: str) -> bytes:
    """An import, by STACK_GLOBAL."""
    return u(module) + u(attribute) + b"\x93"


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """A call, by GLOBAL and REDUCE, without STOP."""
    return name(module, attribute) + b"(" + b"".join(args) + b"tR"


def pickled(*parts: bytes, header: bytes = P2) -> bytes:
    return header + b"".join(parts) + b"."


def calls(row: int, *targets: str) -> list[tuple[str, str, bytes, str]]:
    """One case per callable, called with the string "true"; "module:a.b" is a dotted name."""
    cases = []
    for target in targets:
        module, _, attribute = target.rpartition(":" if ":" in target else ".")
        body = stacked(module, attribute) + b"(" + u("true") + b"tR"
        cases.append(
            (f"{row}: {target}", "model.pkl", pickled(body, header=P4), target.replace(":", "."))
        )
    return cases


EVIL = pickled(call("os", "system", u("true")))
SYSTEM = call("os", "system", u("true"))


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return out.getvalue()


def legacy(obj: bytes = b"", sysinfo: bytes = b"", keys: bytes = b"", magic: bytes = b"") -> bytes:
    """torch's format before 1.6: magic number, version, system, object and keys, then storages."""
    plain = [pickle.dumps(each, 2) for each in (MAGIC, 1001, {"little_endian": True}, {}, [])]
    given = (magic, b"", sysinfo, obj, keys)
    return b"".join(new or old for new, old in zip(given, plain, strict=True))


def joblib_array(count: int = 4, flags: bytes = b"K\x00", shape: bytes | None = None) -> bytes:
    """The header that joblib writes before the bytes of a float64 array, without padding bytes."""
    dtype = name("numpy", "dtype") + b"(" + u("f8") + b"\x89\x88tR"
    state = b"(K\x03" + u("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb"
    shape = shape or b"K" + bytes([count]) + b"\x85"
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    body = u("subclass") + name("numpy", "ndarray") + u("shape") + shape + u("order") + u("C")
    return wrapper + body + u("dtype") + dtype + state + u("allow_mmap") + b"\x88ub"


def npy(content: bytes, version: int = 1, descr: str = "'|O'") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + content


def frame(size: int, body: bytes) -> bytes:
    return P4 + b"\x95" + struct.pack("<Q", size) + body


def int4(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def dtype(spec: str) -> bytes:
    return name("numpy", "dtype") + b"(" + u(spec) + b"\x89\x88tR"


def width(bytes_: int, flags: int = 0) -> bytes:
    """The state of a dtype by which its items have another width than by its name."""
    return b"(K\x03" + u("|") + b"NNN" + int4(bytes_) + int4(1) + bytes([0x4B, flags]) + b"tb"


def two_names(alias: bytes) -> bytes:
    """A dtype in the memo that is widened under another name: joblib then reads 64 bytes, not 32."""
    memo, body = dtype("V8") + b"q\x050", u("shape") + b"K\x04\x85" + u("dtype") + b"h\x05"
    body += (
        u("subclass") + name("numpy", "ndarray") + u("order") + u("C") + u("allow_mmap") + b"\x88"
    )
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + body + b"ub"
    hidden = b"0" + SYSTEM + b"0N."
    inside = b"0C" + bytes([29 + len(hidden)]) + bytes(29) + hidden + b"0N"
    return pickled(memo, alias + width(16) + b"0", wrapper, b"N." + bytes(30), inside)


def tarred(kind: bytes, content: bytes = b"", pax: dict[str, str] | None = None) -> bytes:
    """A tar archive of a harmless pickle and of one member of the given kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, type_, inside in (
            ("storages", b"0", pickle.dumps(1)),
            ("pickle", kind, content),
        ):
            info = tarfile.TarInfo(member)
            info.size, info.type, info.linkname = len(inside), type_, "elsewhere"
            info.pax_headers = pax or {}
            archive.addfile(info, io.BytesIO(inside))
    return out.getvalue()


def attributes(*pairs: bytes) -> bytes:
    """A dictionary of attributes that only a call makes."""
    items = b"(" + b"".join(pairs) + b"t" if pairs else b""
    return call("collections", "OrderedDict", b"](" + items + b"e")


def doubled(levels: int, times: int = 2) -> bytes:
    """A list that holds another one `times` times, which holds a third one as often, and so on."""
    level = b"".join(
        b"](" + b"h%c" * times % ((key,) * times) + b"eq%c0" % (key + 1) for key in range(levels)
    )
    return b"]q\x000" + level + b"h%c" % levels


def nested_key(levels: int) -> bytes:
    """A tuple that holds another one twice, and so on, as the key of a dictionary."""
    level = b"".join(b"h%ch%c\x86q%c0" % (key, key, key + 1) for key in range(levels))
    return b")q\x000}" + level + b"h%cNs" % levels


def tensor(count: int, size: int, offset: int = 0, stride: int = 1) -> bytes:
    """A tensor of `size` numbers of a storage of `count`."""
    key = u("storage") + name("torch", "FloatStorage") + u("0") + u("cpu") + b"K" + bytes([count])
    body = (
        b"((" + key + b"tQK" + bytes([offset]) + b"K" + bytes([size]) + b"\x85K" + bytes([stride])
    )
    return name("torch._utils", "_rebuild_tensor_v2") + body + b"\x85\x89}tR"


DEEPER = pickled(name("_pickle", "loads"), b"C" + bytes([len(EVIL)]), EVIL, b"\x85R", header=P4)
BOMBS = (
    ("lists that hold each other", pickled(doubled(40)), "again and again"),
    ("a billion laughs", pickled(doubled(10, 10)), "again and again"),
    ("a key that takes forever to hash", pickled(nested_key(60)), "hashed"),
    (
        "a set of tuples that takes forever to hash",
        pickled(
            b")q\x00"
            + b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(40))
            + b"\x8f(h\x28\x90",
            header=P4,
        ),
        "hashed",
    ),
    ("lists a hundred thousand deep", pickled(b"]" * 100_000, b"a" * 99_999), "levels deep"),
    ("tuples a hundred thousand deep", pickled(b")" + b"\x85" * 100_000), "levels deep"),
    (
        "a length of exabytes",
        pickled(b"\x8e" + (2**62).to_bytes(8, "little"), b"abc", header=P4),
        "announced",
    ),
    ("a memo key of four billion", pickled(b"Nr\xff\xff\xff\xff"), "out of all proportion"),
    (
        "a number of a megabyte",
        pickled(b"\x8b" + (2**20).to_bytes(4, "little") + bytes(2**20)),
        "1,048,576 bytes",
    ),
    ("a number of ten thousand digits", b"I" + b"9" * 10_000 + b"\n.", "cannot be read"),
    (
        "as many bytes as a number says",
        pickled(name("builtins", "bytearray"), b"J\xff\xff\xff\x7f\x85R"),
        "more bytes",
    ),
    (
        "as many bytes as a number says, by __newobj__",
        pickled(
            name("copyreg", "__newobj__"), name("builtins", "bytearray"), b"J\xff\xff\xff\x7f\x86R"
        ),
        "more bytes",
    ),
    (
        "a list of a range",
        pickled(
            name("builtins", "list"), call("builtins", "range", b"J\xff\xff\xff\x7f"), b"\x85R"
        ),
        "as a range is long",
    ),
    (
        "a list that holds itself again and again, as text",
        pickled(name("builtins", "str"), doubled(25), b"\x85R"),
        "as text",
    ),
    (
        "a fraction of a billion digits",
        pickled(call("fractions", "Fraction", u("1e999999999"))),
        "unknown length",
    ),
)

PLAIN = name("types", "SimpleNamespace") + b")R"
LOADER = call("numpy._core", "_ufunc_reconstruct", u("torch.storage"), u("_load_from_bytes"))
ALIASES = {
    "numpy.dtype": call("numpy", "dtype", b"h\x05"),
    "numpy.object_": call("numpy", "object_", b"h\x05"),
    "a scalar of objects": call("numpy.core.multiarray", "scalar", dtype("O8"), b"h\x05"),
    "a list of TorchScript": call("torch.jit._pickle", "build_intlist", b"h\x05"),
}
STATE = b"}" + u("__class__") + name("numpy", "ndarray") + b"s"

CASES: list[tuple[str, str, bytes, str]] = [
    *calls(1, "pip.main", "pip._internal.main"),
    *calls(2, "importlib.import_module", "importlib._bootstrap.__import__"),
    *calls(
        3, "runpy.run_path", "runpy._run_code", "timeit.timeit", "timeit.main", "cProfile.run",
        "cProfile.runctx", "profile.run", "pdb.run", "bdb:Bdb.run", "trace.Trace", "doctest.debug_script",
    ),
    *calls(
        4, "ctypes.CDLL", "ctypes:cdll.LoadLibrary", "pydoc.locate", "pydoc.pipepager", "pty.spawn",
        "operator.methodcaller", "operator.attrgetter",
    ),
    *calls(5, "pkgutil.resolve_name"),
    *calls(
        6, "uuid._get_command_stdout", "_osx_support._find_build_tool", "_osx_support._read_output",
        "_aix_support._read_cmd_output", "imaplib.IMAP4_stream",
    ),
    *calls(
        7, "idlelib.pyshell:ModifiedInterpreter.runcode", "idlelib.run:Executive.runcode",
        "idlelib.calltip.get_entity", "idlelib.debugobj:ObjectTreeItem.SetText",
        "idlelib.autocomplete:AutoComplete.fetch_completions", "lib2to3.pgen2.pgen:ParserGenerator.make_label",
        "ensurepip._run_pip", "code:InteractiveInterpreter.runcode",
    ),
    *calls(8, "marshal.loads", "marshal.load", "types.FunctionType", "types.CodeType"),
    *calls(
        9, "asyncio.unix_events:_UnixSubprocessTransport._start", "asyncio.create_subprocess_shell",
    ),
    *calls(
        10, "distutils.spawn.spawn", "distutils.file_util.write_file",
        "setuptools._distutils.spawn.spawn", "setuptools._distutils.file_util.write_file",
    ),
    *calls(
        11, "mailcap.findmatch", "pipes.Template", "typing.get_type_hints", "typing._eval_type",
        "dataclasses._create_fn", "operator.call", "functools.partial", "functools.reduce",
    ),
    *calls(
        12, "smtplib.SMTP", "socketserver.TCPServer", "sqlite3.connect", "sqlite3.Connection", "ftplib.FTP",
        "telnetlib.Telnet", "http.client.HTTPConnection", "urllib.request.urlopen", "xmlrpc.client.ServerProxy",
        "shelve.open", "logging.FileHandler", "logging.config.listen", "tempfile.NamedTemporaryFile",
        "fileinput.input", "linecache.getlines", "zipfile.ZipFile", "io.open", "io.FileIO", "codecs.open",
    ),
    *calls(13, "_xxsubinterpreters.run_string", "_interpreters.exec"),
    *calls(
        14, "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.load", "torch.serialization.load",
        "torch.utils.collect_env.run", "torch.utils.bottleneck.__main__.run_cprofile",
        "torch.utils._config_module.load_config", "torch.utils.cpp_extension.load_inline",
        "torch.utils.data.datapipes.utils.decoder.basichandlers", "torch._dynamo.guards:GuardBuilder.get",
        "torch._inductor.codecache.compile_file", "torch.fx.graph_module._forward_from_src",
        "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression",
        "torch.jit.load", "torch.jit.unsupported_tensor_ops.execWrapper", "torch.package.PackageImporter",
        "torch.distributed.rpc.rpc_sync", "torch.distributed.run.main", "torch.multiprocessing.spawn",
        "torch.testing._internal.common_utils.run_tests", "torch.from_file", "torch.classes.load_library",
        "torch.ops.load_library", "torch.nn.modules.module.importlib", "torch._utils._import_dotted_name",
    ),
    *calls(
        15, "numpy.testing._private.utils.runstring", "numpy.testing.measure", "numpy.testing.rundocs",
        "numpy.f2py.crackfortran.getlincoef", "numpy.f2py.crackfortran.myeval", "numpy.f2py.compile",
        "numpy.distutils.exec_command.exec_command", "numpy.load", "numpy.fromfile", "numpy.memmap",
        "numpy.lib.npyio.load", "numpy.lib._npyio_impl.load", "numpy:lib.npyio.load", "numpy.save",
        "numpy.ctypeslib.load_library", "numpy.loadtxt",
    ),
    *calls(
        16, "pandas.read_pickle", "pandas.read_csv", "pandas.eval", "pandas.io.pickle.read_pickle",
        "pandas.core.computation.eval.eval", "pandas.core.frame:DataFrame.eval", "pandas.core.frame:DataFrame.query",
        "pandas:DataFrame.to_pickle", "joblib.load", "joblib.numpy_pickle.load", "joblib.Memory", "dill.loads",
        "dill._dill._create_function", "cloudpickle.loads", "cloudpickle.cloudpickle._make_function",
        "sklearn.datasets.load_files", "sklearn.utils:_testing.os.system", "scipy.io.loadmat",
        "scipy.datasets.face", "scipy.stats._distn_infrastructure.exec", "scipy:io.loadmat",
        "xgboost.core:ctypes.CDLL", "xgboost.core:Booster.load_model", "xgboost.core._load_lib",
        "lightgbm.basic:ctypes.cdll.LoadLibrary", "lightgbm.basic:Booster.save_model",
    ),
    *calls(17, "lovely_package.helper", "numpyy.dtype", "torch_utils._rebuild_tensor_v2"),
    *calls(18, "fickling.hook.run_hook", "fickling.always_check_safety", "picklescan.scanner.scan_bytes"),
    *calls(
        19, "torch:os.system", "torch.nn:modules.module.sys.exit", "torch.serialization:os.system",
        "numpy:f2py.os.system", "numpy:testing.os.popen", "collections:abc.sys.modules.get",
        "sklearn.linear_model:_base.warnings.sys.exit", "joblib:os.system", "_codecs:__builtins__.eval",
        "collections:OrderedDict.__class__", "builtins:str.join", "builtins:__builtins__.exec",
    ),
    ("20: BUILD writes into numpy.size", "m.pkl",
     pickled(name("numpy", "size"), b"}(", u("__builtins__"), u("x"), b"ub"), "numpy.size"),
    ("20: BUILD writes into an allowed class", "m.pkl",
     pickled(name("numpy", "dtype"), b"}(", u("type"), u("x"), b"ub"), "numpy.dtype"),
    ("20: BUILD writes into an allowed function", "m.pkl",
     pickled(name("torch._utils", "_rebuild_tensor_v2"), b"}(", u("__code__"), u("x"), b"ub"),
     "_rebuild_tensor_v2"),
    ("21: PUT after another string was dropped", "m.pkl",
     pickled(u("os"), u("collections"), b"0q\x000", u("system"), u("OrderedDict"), b"0q\x010",
             b"h\x00h\x01\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("21: MEMOIZE after another string was dropped", "m.pkl",
     pickled(u("os"), u("collections"), b"0\x940", u("system"), u("Counter"), b"0\x940",
             b"h\x00h\x01\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("21: text PUT of a duplicate", "m.pkl",
     pickled(u("os"), b"2p7\n00", u("system"), b"p8\n0g7\ng8\n\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("21: a memo entry that is overwritten", "m.pkl",
     pickled(u("collections"), b"q\x00", u("os"), b"q\x0000", b"h\x00", u("system"), b"\x93(", u("true"), b"tR",
             header=P4), "os.system"),
    ("22: STACK_GLOBAL with a missing memo entry", "m.pkl",
     pickled(b"h\x07", u("system"), b"\x93(", u("true"), b"tR", header=P4), "malformed"),
    ("22: memo key True, which is 1", "m.pkl",
     pickled(u("os"), b"q\x010", b"g01\n", u("system"), b"\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("22: STACK_GLOBAL of numbers", "m.pkl", pickled(b"K\x01K\x02\x93", header=P4), "cannot be read"),
    ("23: a name joined at load time", "m.pkl",
     pickled(stacked("builtins", "str.join"), b"(", u(""), b"(", u("o"), u("s"), b"ttR",
             u("system"), b"\x93(", u("true"), b"tR", header=P4), "cannot be read"),
    ("23: a name decoded at load time", "m.pkl",
     pickled(call("_codecs", "decode", u("bf"), u("rot13")), u("system"), b"\x93(", u("true"), b"tR", header=P4),
     "_codecs.decode"),
    ("23: a name encoded at load time", "m.pkl",
     pickled(call("_codecs", "encode", u("bf"), u("rot13")), u("system"), b"\x93(", u("true"), b"tR", header=P4),
     "codec"),
    ("23: escapes in a text string", "m.pkl",
     pickled(b"V\\u006f\\u0073\n", b"Vsyst\\u0065m\n", b"\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("23: escapes in a quoted string", "m.pkl",
     pickled(b"S'\\x6fs'\n", b"S'system'\n", b"\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("23: names as SHORT_BINSTRING", "m.pkl",
     pickled(b"U\x02osU\x06system\x93(", u("true"), b"tR", header=P4), "os.system"),
    ("24: extension registry", "m.pkl",
     pickled(call("copyreg", "add_extension", u("os"), u("system"), b"K\x07"), b"0\x82\x07(", u("true"), b"tR"),
     "extension 7"),
    ("25: INST", "m.pkl", b"(" + u("true") + b"ios\nsystem\n.", "os.system"),
    ("25: INST whose line does not end", "m.pkl", b"(" + u("true") + b"ios\nsystem!", "os.system"),
    ("25: OBJ", "m.pkl", pickled(b"(", name("os", "system"), u("true"), b"o"), "os.system"),
    ("25: NEWOBJ", "m.pkl", pickled(name("subprocess", "Popen"), b"(", u("true"), b"t\x81"), "subprocess.Popen"),
    ("25: NEWOBJ_EX", "m.pkl",
     pickled(name("subprocess", "Popen"), b"(", u("true"), b"t}\x92", header=P4), "subprocess.Popen"),
    ("25: BUILD brings its own __setstate__", "m.pkl",
     pickled(name("collections", "OrderedDict"), b")R}(", u("__setstate__"), name("numpy", "log"), b"ub",
             u("true"), b"b"), "__setstate__"),
    ("25: BUILD brings its own append", "m.pkl",
     pickled(name("collections", "deque"), b")R}(", u("append"), name("torch.nn.modules.linear", "Linear"), b"ub",
             b"K\x01a"), "append"),
    ("24: an extension is named by what was put there", "m.pkl",
     pickled(call("copyreg", "add_extension", u("os"), u("system"), b"K\x07"), b"0\x84\x07\x00\x00\x00(",
             u("true"), b"tR"), "os.system"),
    ("24: an extension that another file has put there", "m.pkl", pickled(b"\x83\x07\x01(", u("true"), b"tR"),
     "extension 263"),
    ("26: REDUCE, then POP", "m.pkl", pickled(SYSTEM, b"0N"), "os.system"),
    ("26: OBJ, then POP", "m.pkl", pickled(b"(", name("os", "system"), u("true"), b"o0N"), "os.system"),
    ("26: REDUCE, then POP_MARK", "m.pkl", pickled(b"(", SYSTEM, b"1N"), "os.system"),
    ("27: REDUCE and BUILD with an unlisted module", "m.pkl",
     pickled(call("lovely_package", "helper", u("x")), b"}(", u("a"), u("b"), b"ub"), "lovely_package.helper"),
    ("28: broken after the payload: no STOP", "m.pkl", P2 + SYSTEM, "os.system"),
    ("28: broken after the payload: bad opcode", "m.pkl", P2 + SYSTEM + b"\xff\xff", "os.system"),
    ("28: broken after the payload: empty stack", "m.pkl", P2 + SYSTEM + b"000.", "os.system"),
    ("28: broken after the payload: cut string", "m.pkl", P2 + SYSTEM + b"X\xff\xff\x00\x00abc", "os.system"),
    ("28: broken before any payload", "m.pkl", P2 + b"K\x01\xff" + SYSTEM + b".", "malformed"),
    ("29: second of two pickles", "m.pkl", pickle.dumps([1, 2]) + EVIL, "os.system"),
    ("29: third pickle, of protocol 0", "m.pkl",
     pickle.dumps(1) + pickle.dumps({}) + b"cos\nsystem\n(Vtrue\ntR.", "os.system"),
    ("29: a pickle behind torch's archive of numbers", "m.pt", legacy() + EVIL, "os.system"),
    ("30: a frame longer than the file", "m.pkl", frame(10**6, SYSTEM + b"."), "os.system"),
    ("30: a frame shorter than its content", "m.pkl", frame(2, SYSTEM + b"."), "os.system"),
    ("30: a frame within a frame", "m.pkl", frame(40, b"N0" + b"\x95" + b"\x01" + bytes(7) + SYSTEM + b"."),
     "os.system"),
    *[(f"32: a pickle in bytes for {module}.{function}", "m.pkl",
       pickled(name(module, function), b"C" + bytes([len(EVIL)]), EVIL, b"\x85R", header=P4), "os.system")
      for module, function in (("pickle", "loads"), ("_pickle", "loads"), ("dill", "loads"), ("joblib", "load"),
                               ("cloudpickle", "loads"), ("torch.storage", "_load_from_bytes"), ("cPickle", "loads"))],
    ("32: a pickle in bytes, two loads deep", "m.pkl",
     pickled(name("pickle", "loads"), b"C" + bytes([len(DEEPER)]), DEEPER, b"\x85R", header=P4), "os.system"),
    ("32: a pickle in a byte array in a file in memory", "m.pkl",
     pickled(name("pickle", "load"), name("_io", "BytesIO"), name("builtins", "bytearray"),
             b"C" + bytes([len(EVIL)]), EVIL, b"\x85R\x85R\x85R", header=P4), "os.system"),
    ("32: a pickle as text", "m.pkl",
     pickled(name("pickle", "loads"), call("_codecs", "encode", u(EVIL.decode("latin-1")), u("latin1")), b"\x85R"),
     "os.system"),
    *[(f"33: {what}", "m.pkl", content, told) for what, content, told in BOMBS],
    *[(f"35: pickle named {suffix}", f"model{suffix}", EVIL, "os.system")
      for suffix in (".safetensors", ".json", ".txt", ".jpg", ".sav", ".onnx", ".gguf", ".h5", ".keras", ".npz",
                     ".md", ".yaml", ".csv", ".model", ".dat", ".tflite", ".zip", ".tar", ".gz", ".py", ".joblib")],
    *[(f"35: pickle of protocol 0 named {suffix}", f"model{suffix}", b"cos\nsystem\n(Vtrue\ntR.", "os.system")
      for suffix in (".safetensors", ".json", ".txt", ".jpg", ".dat", "")],
    ("46: a tensor larger than its storage", "m.pt", zipped({"a/data.pkl": pickled(tensor(4, 5))}), "beyond its storage"),
    ("46: a tensor that begins behind its storage", "m.pt", zipped({"a/data.pkl": pickled(tensor(4, 1, 9))}),
     "beyond its storage"),
    ("46: a tensor whose strides leave its storage", "m.pt", zipped({"a/data.pkl": pickled(tensor(4, 3, 0, 2))}),
     "beyond its storage"),
    ("46: a tensor of negative length", "m.pt",
     zipped({"a/data.pkl": pickled(tensor(4, 3).replace(b"K\x03", b"J\xff\xff\xff\xff"))}), "cannot be read"),
    ("50: a function of dill", "m.pkl",
     pickled(call("dill._dill", "_create_function", call("dill._dill", "_create_code", b"K\x00"), b"}")),
     "dill._dill._create_function"),
    ("50: a function of cloudpickle", "m.pkl",
     pickled(call("cloudpickle.cloudpickle", "_builtin_type", u("CodeType")), b"K\x00\x85R"), "_builtin_type"),
    ("50: a code object", "m.pkl", pickled(call("types", "CodeType", b"K\x00")), "types.CodeType"),
    *[(f"34: plain pickle named {suffix}", f"weights{suffix}", EVIL, "os.system")
      for suffix in (".bin", ".pt", ".ckpt", ".pth", ".safetensors", ".json", ".txt", ".npy", "")],
    ("40: a text member of a torch archive", "m.pt",
     zipped({"a/data.pkl": pickle.dumps({}), "a/notes.txt": EVIL}), "os.system"),
    ("40: a storage member of a torch archive", "m.pt",
     zipped({"a/data.pkl": pickle.dumps({}), "a/data/0": EVIL}), "os.system"),
    ("40: a protocol 0 storage member", "m.pt",
     zipped({"a/data.pkl": pickle.dumps({}), "a/data/0": b"cos\nsystem\n(Vtrue\ntR."}), "os.system"),
    ("40: a packed member without suffix", "m.zip", zipped({"weights": EVIL}, zipfile.ZIP_DEFLATED), "os.system"),
    ("42: torch legacy, payload in the object", "m.pt", legacy(obj=EVIL), "os.system"),
    ("42: torch legacy, payload in the system info", "m.pt", legacy(sysinfo=EVIL), "os.system"),
    ("42: torch legacy, payload in the keys", "m.pt", legacy(keys=EVIL), "os.system"),
    ("43: magic number from eval", "m.pt",
     legacy(magic=pickled(call("builtins", "eval", u(str(MAGIC))), header=P4)), "builtins.eval"),
    ("47: behind an inline array", "m.joblib", pickled(joblib_array(), bytes(32), b"0", SYSTEM), "os.system"),
    ("47: within an inline array, for pickle.load", "m.joblib",
     pickled(joblib_array(6), (b"0" + SYSTEM + b"." + bytes(48))[:48]), "os.system"),
    ("47: within an inline array of objects", "m.joblib",
     pickled(joblib_array().replace(u("f8"), u("O8")).replace(b"K\x00tb", b"K\x3ftb"), EVIL), "os.system"),
    ("47: flags that turn numbers into objects", "m.joblib", pickled(joblib_array(flags=b"K\x3f"), EVIL),
     "contradict"),
    ("47: a shape that is made at load time", "m.joblib",
     pickled(joblib_array(shape=call("builtins", "tuple", b"]K\x04a")), bytes(32)), "shape"),
    ("48: zlib", "m.joblib", zlib.compress(EVIL), "os.system"),
    ("48: gzip", "m.joblib", gzip.compress(EVIL), "os.system"),
    ("48: bz2", "m.joblib", bz2.compress(EVIL), "os.system"),
    ("48: xz", "m.joblib", lzma.compress(EVIL), "os.system"),
    ("48: lzma", "m.joblib", lzma.compress(EVIL, lzma.FORMAT_ALONE), "os.system"),
    ("48: gzip in gzip", "m.pkl.gz", gzip.compress(gzip.compress(EVIL)), "os.system"),
    ("48: second gzip stream", "m.joblib", gzip.compress(pickle.dumps(1)) + gzip.compress(EVIL), "os.system"),
    ("48: cut gzip stream", "m.joblib", gzip.compress(EVIL)[:-9], "os.system"),
    ("49: npy version 1 with objects", "m.npy", npy(EVIL), "os.system"),
    ("49: npy version 3 with objects", "m.npy", npy(EVIL, 3), "os.system"),
    ("49: npy of a structure with objects", "m.npy", npy(EVIL, descr="[('a', '<f4'), ('b', '|O')]"), "os.system"),
    ("49: npz with objects", "m.npz", zipped({"a.npy": npy(EVIL)}), "os.system"),
    ("49: packed npz with objects", "m.npz", zipped({"a.npy": npy(EVIL)}, zipfile.ZIP_DEFLATED), "os.system"),
    ("49: a pickle behind an array", "m.npy", npy(bytes(8), descr="'<f8'") + EVIL, "os.system"),
]  # fmt: skip

MISUSES: list[tuple[str, str, bytes, str]] = [
    *calls(0, "sklearn.utils._joblib.load", "sklearn.externals.joblib.load", "sklearn.datasets.fetch_openml",
           "sklearn.linear_model.make_dataset", "scipy.stats._continuous_distns.norm_gen", "numpy.load",
           "sklearn.metrics._classification.accuracy_score", "numpy.log", "pandas.eval", "lovely.function"),
    ("a buffer from beside the file", "m.pkl", pickled(b"\x97", header=b"\x80\x05"), "beside the file"),
    ("a buffer that is read only", "m.pkl", pickled(b"\x97\x98", header=b"\x80\x05"), "beside the file"),
    ("a persistent id as a line", "m.pkl", b"Pevil\n.", "persistent id"),
    ("a persistent id that is no storage", "m.pkl", pickled(b"(" + u("object") + u("x") + b"tQ"), "persistent id"),
    ("getattr of a module's function", "m.pkl",
     pickled(call("builtins", "getattr", name("os", "path"), u("join"))), "os.path"),
    ("getattr that leaves a class", "m.pkl",
     pickled(call("builtins", "getattr", name("collections", "OrderedDict"), u("__class__"))), "OrderedDict.__class__"),
    ("getattr of another method of a class", "m.pkl",
     pickled(call("builtins", "getattr", name("zoneinfo", "ZoneInfo"), u("from_file"))), "from_file"),
    ("getattr of an instance", "m.pkl",
     pickled(call("builtins", "getattr", PLAIN, u("x"))), "SimpleNamespace.x"),
    ("getattr with a name made at load time", "m.pkl",
     pickled(call("builtins", "getattr", name("zoneinfo", "ZoneInfo"), call("builtins", "str", u("x")))), "getattr"),
    ("getattr of what a call gave", "m.pkl",
     pickled(call("builtins", "getattr", call("lovely", "f"), u("x"))), "lovely.f"),
    ("getattr kept for later", "m.pkl", pickled(b"]", name("builtins", "getattr"), b"a"), "builtins.getattr"),
    ("a time zone from a path", "m.pkl",
     pickled(call("builtins", "getattr", name("zoneinfo", "ZoneInfo"), u("_unpickle")), u("../../etc/x"), b"\x85R"),
     "time zone"),
    ("a time zone of pytz from a path", "m.pkl", pickled(call("pytz", "_p", u("/etc/passwd"))), "time zone"),
    ("a time zone of dateutil, which opens a file", "m.pkl", pickled(call("dateutil.tz.tz", "tzfile", u("x"))), "tzfile"),
    ("Python 2 name of eval", "m.pkl", pickled(call("__builtin__", "eval", u("1"))), "builtins.eval"),
    ("Python 2 name of subprocess", "m.pkl", pickled(call("commands", "getoutput", u("true"))), "subprocess"),
    ("_reconstruct of a class that is no array", "m.pkl",
     pickled(call("numpy.core.multiarray", "_reconstruct", name("collections", "deque"), b"K\x00\x85", u("b"))),
     "_reconstruct"),
    ("scalar of what is no dtype", "m.pkl",
     pickled(call("numpy.core.multiarray", "scalar", u("f8"), b"U\x08" + bytes(8))), "scalar"),
    ("_reconstructor of a function", "m.pkl",
     pickled(call("copyreg", "_reconstructor", name("numpy", "log"), name("builtins", "object"), b"N")),
     "_reconstructor"),
    ("__newobj__ of a function", "m.pkl", pickled(call("copyreg", "__newobj__", name("numpy", "log"))), "__newobj__"),
    ("_ufunc_reconstruct of anything", "m.pkl",
     pickled(call("numpy._core", "_ufunc_reconstruct", u("os"), u("system"))), "_ufunc_reconstruct"),
    ("a generator that calls what it is told", "m.pkl",
     pickled(call("numpy.random._pickle", "__generator_ctor", u("x"), name("pathlib", "Path"))), "__generator_ctor"),
    ("_rebuild_from_type_v2 of a class", "m.pkl",
     pickled(call("torch._tensor", "_rebuild_from_type_v2", name("pathlib", "Path"), name("torch", "Tensor"),
                  b")", b"}")), "_rebuild_from_type_v2"),
    ("a call with arguments made at load time", "m.pkl",
     pickled(name("numpy.core.multiarray", "_reconstruct"), call("builtins", "tuple", b"]"), b"R"), "_reconstruct"),
    ("a checked callable kept for later", "m.pkl",
     pickled(b"]", name("copyreg", "_reconstructor"), b"a"), "_reconstructor"),
    ("a call of what a call gave", "m.pkl",
     pickled(call("collections", "deque"), b"(", u("x"), b"tR"), "made at load time"),
    ("torch file within a pickle", "m.pkl",
     pickled(name("torch.storage", "_load_from_bytes"), b"C", bytes([len(EVIL)]), EVIL, b"\x85R", header=P4),
     "os.system"),
    ("torch file as text within a pickle", "m.pkl",
     pickled(name("torch.storage", "_load_from_bytes"),
             call("_codecs", "encode", u(EVIL.decode("latin-1")), u("latin1")), b"\x85R"), "os.system"),
    ("torch file made at load time", "m.pkl",
     pickled(name("torch.storage", "_load_from_bytes"), call("builtins", "bytes", b"K\x04"), b"\x85R"),
     "made at load time"),
    ("a persistent id in a plain pickle", "m.pkl", pickled(u("os.system"), b"Q"), "persistent id"),
    ("bytes behind the pickle", "m.pkl", pickle.dumps(1) + b"\x00\x01\x02", "after the last pickle"),
    ("a wrong storage in torch's old format", "m.pt", legacy(keys=pickle.dumps(["7"], 2)) + bytes(8), "storage"),
    ("a dtype of no fixed size", "m.joblib",
     pickled(joblib_array().replace(u("f8"), u("V8")).replace(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
             b"J\x08\x00\x00\x00J\x01\x00\x00\x00K\x01tb"), bytes(32)), "contradict"),
    ("a checked callable looked up like a NumPy function", "m.pkl", pickled(LOADER, header=P4), "_ufunc_reconstruct"),
    ("an append made at load time, which is then called", "m.pkl",
     pickled(PLAIN, attributes(u("append"), LOADER), b"bC", bytes([len(EVIL)]), EVIL, b"a", header=P4),
     "made at load time"),
    ("slots made at load time", "m.pkl",
     pickled(PLAIN, b"N", attributes(u("__class__"), name("argparse", "Namespace")), b"\x86b", header=P4),
     "made at load time"),
    ("an attribute whose name is made at load time", "m.pkl",
     pickled(PLAIN, b"}", call("builtins", "str", u("append")), name("numpy", "log"), b"sb", header=P4),
     "names are made at load time"),
    ("a special attribute of a tensor, in its slots", "m.pkl",
     pickled(call("torch._utils", "_rebuild_parameter_with_state", b"N\x88}", STATE + b"}\x86"), header=P4),
     "special attribute"),
    ("a special attribute of a tensor, two calls deep", "m.pkl",
     pickled(call("torch._tensor", "_rebuild_from_type_v2", name("torch._utils", "_rebuild_parameter_with_state"),
                  name("torch", "Tensor"), b"(N\x88}" + STATE + b"t", b"}"), header=P4), "special attribute"),
    ("a state of a tensor that is made at load time", "m.pkl",
     pickled(call("torch._tensor", "_rebuild_from_type_v2", name("torch._utils", "_rebuild_tensor_v2"),
                  name("torch", "Tensor"), b")", attributes()), header=P4), "made at load time"),
    ("arguments of a tensor that are made at load time", "m.pkl",
     pickled(name("torch._utils", "_rebuild_parameter_with_state"), call("builtins", "tuple", b"](N\x88}" + STATE + b"e"),
             b"R", header=P4), "cannot be read"),
    ("an array header that brings its own reader", "m.joblib",
     pickled(joblib_array(), b"0N." + bytes(29), b"0", joblib_array()[:-2] + u("read") + name("builtins", "slice") + b"ub",
             (b"0" + SYSTEM + b"N.").ljust(32)), "joblib does not write"),
    *[(f"a dtype with two names, by {way}", "m.joblib", two_names(alias), "misuses")
      for way, alias in ALIASES.items()],
    ("a dtype of objects by its class", "m.pkl",
     pickled(name("numpy", "dtype"), b"(", name("numpy", "object_"), b"\x89\x88tR"), "numpy.dtype"),
    ("a dtype of objects that denies it", "m.pkl", pickled(dtype("O8"), width(8)), "flags contradict"),
    ("a torch file within an unfinished pickle of any name", "m.zip",
     zipped({"a.pkl": pickle.dumps(1), "w.dat": name("torch.storage", "_load_from_bytes") + b"(B"
             + struct.pack("<I", len(EVIL)) + EVIL + b"tR"}), "os.system"),
    ("lzma with a dictionary of odd size", "m.zip",
     zipped({"a.pkl": pickle.dumps(1), "b.dat": lzma.compress(
         EVIL, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 4097}])}), "os.system"),
    ("a sparse tar member", "m.tar", tarred(b"S", EVIL), "a sparse file"),
    ("a tar member that is a link", "m.tar", tarred(b"2"), "a link to elsewhere"),
    ("a tar header that moves the next one", "m.tar", tarred(b"0", pax={"size": "2000"}), "moves the next"),
    ("an array file whose width depends on the machine", "m.npy", npy(bytes(4), descr="'i'"), "header"),
    ("an empty file", "m.pkl", b"", "neither a known format"),
    ("random bytes", "m.dat", np.random.default_rng(0).bytes(400), "neither a known format"),
    ("a zip archive of noise", "m.zip", zipped({"noise.dat": b"\xfe\xfc hello"}), "a known kind"),
    ("a cut zip archive", "m.pt", zipped({"a/data.pkl": pickle.dumps({})})[:-30], "zip archive"),
    ("a gzip file of noise", "m.gz", gzip.compress(b"\xfe\xfc hello there"), "no known kind"),
]  # fmt: skip
