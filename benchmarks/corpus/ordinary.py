"""Ordinary files of formats without a library here, by their specification, and texts of repositories."""

# ruff: noqa: E501  # tables of cases

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import GOOD, Sample, zipped
from benchmarks.corpus.containers import tarred
from benchmarks.corpus.graphs import BASE, function, graph, message, node, saved, tflite
from benchmarks.corpus.models import CHAT, archive, gguf, keras, thing
from benchmarks.corpus.models import function as named
from tests.supply.chat_templates import ORDINARY


def good(group: str, name: str, file: str, data: bytes | str) -> Sample:
    return Sample(
        f"{group}: {name}", file, data.encode() if isinstance(data, str) else data, GOOD, 0, group
    )


def weights() -> Iterator[Sample]:
    """safetensors and GGUF."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    net = torch.nn.TransformerEncoderLayer(4, 2, 8)
    for name, data in {
        "transformer": safetensors.torch.save(net.state_dict(), {"format": "pt"}),
        "halves": safetensors.torch.save({"w": torch.zeros(3, 4, dtype=torch.bfloat16), "b": torch.zeros(2, dtype=torch.float16)}),
        "no tensors": safetensors.numpy.save({}), "many": safetensors.numpy.save({f"layers.{i}.w": np.zeros(i % 7, "f4") for i in range(400)}),
        "notes": safetensors.numpy.save({"lora.down": np.zeros((2, 3), "f2")}, {"ss_tag_frequency": json.dumps({"a photo of (cat:1.2)": 3}), "description": "Evaluated by exec committee; see https://example.org"}),
        "scalars": safetensors.numpy.save({"a": np.zeros((), "f4"), "b": np.zeros((0, 3)), "c": np.zeros(3, "?")}),
    }.items():  # fmt: skip
        yield good("safetensors", name, "model.safetensors", data)
    words = {"general.name": "A model (7B)", "general.description": "Made by https://example.org; call model.eval() there.", "llama.block_count": 2,
             "tokenizer.ggml.tokens": ["<s>", "<script>", "__class__", "{% if %}", "eval("], "general.tags": ["chat", "code"]}  # fmt: skip
    for name, data in {
        "bare": gguf(), "words": gguf(words), "two tensors": gguf(words, (("w", (8,), 0, 0), ("v", (8,), 0, 32)), bytes(64)),
        "four bits": gguf(words, (("w", (256, 2), 12, 0),), bytes(288)), "no tensors": gguf(words, (), b""), "alignment": gguf({"general.alignment": 32}),
    }.items():  # fmt: skip
        yield good("GGUF", name, "model.gguf", data)
    for name, template in {**ORDINARY, "short": CHAT}.items():
        yield good(
            "GGUF",
            f"template {name}",
            "model.gguf",
            gguf({**words, "tokenizer.chat_template": template}),
        )
        yield good("tokenizer", f"template {name}", "tokenizer_config.json", json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": int(1e30), "chat_template": template, "eos_token": "</s>"}))  # fmt: skip
        yield good("tokenizer", f"template {name} in a file", "chat_template.jinja", template)


def layers() -> Iterator[Sample]:
    """Keras as JSON, as an archive, and in HDF5."""
    import h5py

    policy = thing("keras", "DTypePolicy", {"name": "float32"})
    dense = thing("keras.layers", "Dense", {
        "name": "d", "units": 2, "activation": "softmax", "dtype": policy, "kernel_initializer": thing("keras.initializers", "GlorotUniform", {"seed": None}),
        "kernel_regularizer": thing("keras.regularizers", "L1L2", {"l1": 0.1}),
    }, build_config={"input_shape": [None, 4]})  # fmt: skip
    first = thing(
        "keras.layers", "InputLayer", {"batch_shape": [None, 4], "dtype": "float32", "name": "in"}
    )
    stacks: dict[str, list[Any]] = {
        "dense": [first, dense],
        "convolutions": [first]
        + [
            thing("keras.layers", n, {"name": n.lower()})
            for n in (
                "Conv2D",
                "BatchNormalization",
                "MaxPooling2D",
                "Dropout",
                "Flatten",
                "GlobalAveragePooling2D",
                "SeparableConv2D",
            )
        ],
        "recurrent": [
            thing(
                "keras.layers",
                "Bidirectional",
                {"layer": thing("keras.layers", "LSTM", {"units": 3})},
            ),
            thing("keras.layers", "GRU", {"units": 2}),
            dense,
        ],
        "words": [
            thing(
                "keras.layers",
                "TextVectorization",
                {"name": "t", "vocabulary": None, "standardize": "lower_and_strip_punctuation"},
            ),
            thing("keras.layers", "Embedding", {"input_dim": 9, "output_dim": 2}),
        ],
        "augmentation": [
            thing("keras.layers", n, {"factor": 0.1})
            for n in ("RandomFlip", "RandomRotation", "RandomZoom")
        ]
        + [thing("keras.layers", "Rescaling", {"scale": 0.1})],
        "attention": [
            thing("keras.layers", "MultiHeadAttention", {"num_heads": 2, "key_dim": 2}),
            thing("keras.layers", "LayerNormalization", {}),
            dense,
        ],
        "advanced activations": [
            thing("keras.layers", n, {}) for n in ("ReLU", "LeakyReLU", "ELU", "Softmax", "PReLU")
        ],
        "function of Keras": [
            first,
            thing("keras.layers", "Activation", {"activation": named("keras.activations", "gelu")}),
        ],
        "model in a model": [first, keras(dense), dense],
    }
    compiled = {"optimizer": thing("keras.optimizers", "AdamW", {"learning_rate": thing("keras.optimizers.schedules", "CosineDecay", {"decay_steps": 9})}),
                "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy", thing("keras.metrics", "AUC", {})]}  # fmt: skip
    for name, stack in stacks.items():
        config = keras(*stack, compile_config=compiled)
        yield good(
            "Keras",
            f"{name}, archive",
            "model.keras",
            archive(config, **{"model.weights.h5": hdf5(), "assets/v.txt": b"one\ntwo\n"}),
        )
        yield good("Keras", f"{name}, JSON", "model.json", json.dumps(config))
    old = {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [
                {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu"}}
            ],
        },
    }
    for version in ("earliest", "v110", "latest"):
        out = io.BytesIO()
        with h5py.File(out, "w", libver=version) as file:
            file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(old), "2.15.0"
            file.attrs["training_config"] = json.dumps(
                {
                    "loss": "mse",
                    "optimizer_config": {"class_name": "Adam", "config": {"learning_rate": 0.1}},
                }
            )
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = np.array([b"d"])
            group.create_dataset("d/d/kernel:0", data=np.zeros((3, 4), "f4"), compression="gzip")
        yield good("Keras", f"HDF5 {version}", "model.h5", out.getvalue())
    yield good("Keras", "weights alone", "model.weights.h5", hdf5())


def hdf5() -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for i in range(3):
            file.create_dataset(f"layers/dense_{i}/vars/0", data=np.zeros((2, 3), "f4"))
    return out.getvalue()


def graphs() -> Iterator[Sample]:
    """ONNX by its package, SavedModel, TensorFlow Lite and CoreML by their schemas."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def model(
        nodes: list[Any],
        held: dict[str, Any] | None = None,
        domains: tuple[str, ...] = ("",),
        **more: Any,
    ) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(array, name) for name, array in (held or {}).items()]
        made = helper.make_graph(nodes, "g", [value("x", "N", 4)], [value("y", "N", None)], tensors)
        return helper.make_model(
            made,
            opset_imports=[helper.make_opsetid(d, 17 if not d else 1) for d in domains],
            ir_version=9,
            **more,
        )

    w, b = np.zeros((4, 3), "f4"), np.zeros(3, "f4")
    one = helper.make_node
    then = helper.make_graph(
        [one("Constant", [], ["t"], value=numpy_helper.from_array(b))], "t", [], [value("t", 3)]
    )
    told = model(
        [one("Relu", ["x"], ["y"])],
        doc_string="Trained; see https://example.org. Use model.eval().",
        producer_name="pytorch",
        producer_version="2.13",
    )
    helper.set_model_props(
        told, {"names": "{0: 'person', 1: 'car'}", "stride": "32", "author": "a lab"}
    )
    made = {
        "relu": model([one("Relu", ["x"], ["y"])]), "words": told,
        "mlp": model([one("Gemm", ["x", "w", "b"], ["h"]), one("Relu", ["h"], ["y"])], {"w": w, "b": b}),
        "kinds": model([one("Relu", ["x"], ["y"])], {k: np.zeros((2, 2), k) for k in ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "?")}),
        "branches": model([one("If", ["c"], ["y"], then_branch=then, else_branch=then)], {"c": np.array(True)}),
        "Microsoft's operators": model([one("FusedGemm", ["x", "w"], ["y"], domain="com.microsoft")], {"w": w}, ("", "com.microsoft")),
        "trees": model([one("TreeEnsembleClassifier", ["x"], ["y"], domain="ai.onnx.ml")], None, ("", "ai.onnx.ml")),
        "texts": model([one("StringNormalizer", ["x"], ["y"])], {"s": np.array(["exec", "eval", ""], object)}),
        "quantised": model([one("QuantizeLinear", ["x", "s", "z"], ["q"]), one("DequantizeLinear", ["q", "s", "z"], ["y"])], {"s": np.float32([0.1]), "z": np.zeros(1, "i1")}),
        "loop": model([one("Loop", ["n", "c", "x"], ["y"], body=helper.make_graph([one("Identity", ["k"], ["o"]), one("Identity", ["v"], ["u"])], "b", [value("i"), value("k"), value("v", "N", 4)], [value("o"), value("u", "N", 4)]))], {"n": np.int64(2), "c": np.array(True)}),
    }  # fmt: skip
    for name, each in made.items():
        yield good("ONNX", name, "model.onnx", each.SerializeToString())
    outside = TensorProto(name="w", dims=[4], data_type=1, data_location=1)
    for key, text in {"location": "model.onnx_data", "offset": "4096", "length": "16"}.items():
        outside.external_data.add(key=key, value=text)
    big = model([one("Relu", ["x"], ["y"])])
    big.graph.initializer.append(outside)
    yield good("ONNX", "data beside it", "model.onnx", big.SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder, "o.onnx"))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            made["mlp"].SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        yield good(
            "ONNX", "optimised by the runtime", "model.onnx", Path(folder, "o.onnx").read_bytes()
        )
    call = function("__inference_call_1", *BASE[1:])
    for name, data in {
        "variables": saved(graph(*BASE)), "functions": saved(graph(*BASE, node("z", "StatefulPartitionedCall", "x"), functions=(call,))),
        "two graphs": saved(graph(*BASE), graph(*BASE)), "words": saved(graph(*BASE, node("t", "InitializeTableFromTextFileV2")), assets=("vocab.txt",)),
        "convolutions": saved(graph(*BASE, *(node(o, o, "x") for o in ("Conv2D", "BiasAdd", "Relu", "MaxPool", "FusedBatchNormV3", "Softmax", "Reshape")))),
    }.items():  # fmt: skip
        yield good("SavedModel", name, "saved_model.pb", data)
    yield good("SavedModel", "frozen graph", "frozen.pb", graph(*BASE))
    yield good(
        "SavedModel",
        "folder in a zip",
        "model.zip",
        zipped(
            {
                "m/saved_model.pb": saved(graph(*BASE)),
                "m/assets/vocab.txt": b"a\nb\n",
                "m/fingerprint.pb": message((1, 2**63 + 5), (2, 77), (3, 8)),
            }
        ),
    )
    for code in (0, 3, 9, 25):
        yield good("TensorFlow Lite", f"operator {code}", "model.tflite", tflite(code))
    dense = message(
        (1, "d"),
        (2, "x"),
        (3, "y"),
        (140, message((1, 4), (2, 2), (20, message((1, struct.pack("<8f", *range(8))))))),
    )
    described = message(
        (1, message((1, "x"), (3, message((5, message((1, 4), (2, 65568))))))),
        (10, message((1, "y"), (3, message((5, b""))))),
        (100, message((1, "A classifier"))),
    )
    yield good(
        "CoreML",
        "network",
        "model.mlmodel",
        message((1, 4), (2, described), (500, message((1, dense)))),
    )
    yield good(
        "CoreML",
        "linear regression",
        "model.mlmodel",
        message(
            (1, 1),
            (2, described),
            (
                300,
                message(
                    (1, message((1, struct.pack("<4d", *range(4))))), (2, struct.pack("<d", 1))
                ),
            ),
        ),
    )


def documents() -> Iterator[Sample]:
    """Repositories' texts, XML formats, msgpack, archives."""
    import msgpack
    from PIL import Image

    for name, file, document in (
        ("BERT", "config.json", {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "torch_dtype": "float32", "transformers_version": "4.50.0"}),
        ("vision", "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor", "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "size": {"height": 224}}),
        ("generation", "generation_config.json", {"eos_token_id": [1, 2], "temperature": 0.7, "do_sample": True}),
        ("quantisation", "config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}, "rope_scaling": {"type": "yarn", "factor": 4.0}, "trust_remote_code": False}),
        ("tokens", "special_tokens_map.json", {"bos_token": {"content": "<s>", "lstrip": False}, "pad_token": "<pad>"}),
        ("vocabulary", "vocab.json", {f"token{i}": i for i in range(5000)}), ("index", "model.safetensors.index.json", {"metadata": {"total_size": 9}, "weight_map": {"a.w": "model-00001-of-00002.safetensors"}}),
        ("torch index", "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": {"a.w": "pytorch_model-00001-of-00002.bin"}}),
        ("PEFT", "adapter_config.json", {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"], "auto_mapping": None, "base_model_name_or_path": "org/model"}),
        ("diffusers", "model_index.json", {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None]}),
        ("sentences", "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]),
        ("state", "trainer_state.json", {"epoch": 3.0, "log_history": [{"loss": 0.1, "step": i} for i in range(50)]}),
        ("fast tokenizer", "tokenizer.json", {"version": "1.0", "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n]+"}}, "model": {"type": "BPE", "vocab": {"eval": 1, "os.system": 2, "__class__": 3}, "merges": [["a", "b"]]}, "added_tokens": [{"id": 0, "content": "<|im_start|>"}]}),
        ("Hydra of torch", "config.json", {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}}),
        ("results", "all_results.json", {"eval_accuracy": 0.9, "eval_loss": 0.3}), ("list", "labels.json", ["cat", "dog"]),
    ):  # fmt: skip
        yield good("configuration", name, file, json.dumps(document, indent=2))
    for name, file, text in (
        ("card", "README.md", "---\nlicense: apache-2.0\ntags:\n- vision\n---\n# A model\n\n```python\nfrom transformers import pipeline\npipe = pipeline('x')\n```\nRun `pip install torch`.\n"),
        ("licence", "LICENSE", "Permission is hereby granted, free of charge, to any person ...\n"), ("attributes", ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"),
        ("merges", "merges.txt", "#version: 0.2\n\u0120 t\n\u0120 a\nh e\n"), ("words", "vocab.txt", "[PAD]\n[UNK]\ncat\n.\n(\nc\n"), ("ignored", ".gitignore", "*.pyc\n__pycache__/\n"),
        ("requirements", "requirements.txt", "torch>=2.6\nnumpy==2.1.0\n"), ("table", "labels.csv", "id,label\n1,cat\n2,dog\n"), ("lines", "train.jsonl", '{"text": "a"}\n{"text": "b"}\n'),
        ("environment", "conda.yaml", "name: x\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n"), ("Lightning", "config.yaml", "trainer:\n  max_epochs: 3\nmodel:\n  _target_: torch.nn.Linear\n  in_features: 3\n"),
        ("data set", "data.yaml", "train: ../train/images\nnc: 2\nnames: ['cat', 'dog']\n"), ("MLflow", "MLmodel", "flavors:\n  sklearn:\n    pickled_model: model.pkl\n    sklearn_version: 1.5.0\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n"),
        ("LFS pointer", "model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 12345\n"), ("letter", "notes.txt", "copy this.\nIt is a letter.\n(Really.)\n"),
        ("TOML", "pyproject.toml", '[project]\nname = "x"\n'), ("INI", "setup.cfg", "[metadata]\nname = x\n"), ("LibSVM", "model.svm", "svm_type c_svc\nkernel_type linear\nnr_class 2\nSV\n1 1:0.5 2:1\n"),
    ):  # fmt: skip
        yield good("text", name, file, text)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield good(
        "XML",
        "PMML tree",
        "model.pmml",
        head
        + '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header><Application name="sklearn2pmml"/></Header><DataDictionary><DataField name="x" optype="continuous" dataType="double"/></DataDictionary><TreeModel functionName="classification"><MiningSchema><MiningField name="x"/></MiningSchema><Node score="0"><True/></Node></TreeModel></PMML>',
    )
    yield good(
        "XML",
        "OpenVINO",
        "model.xml",
        head
        + '<net name="m" version="11"><layers><layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4" element_type="f32"/><output><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></output></layer><layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" shape="4" offset="0" size="16"/></layer><layer id="2" name="r" type="ReLU" version="opset1"/></layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/></edges></net>',
    )
    yield good(
        "msgpack",
        "Flax",
        "flax_model.msgpack",
        msgpack.packb(
            {
                "params": {
                    "dense": {
                        "kernel": msgpack.ExtType(1, msgpack.packb(((2, 3), "float32", bytes(24)))),
                        "bias": [0.0, 1.0],
                    }
                },
                "step": 3,
            }
        ),
    )
    yield good(
        "msgpack",
        "plain",
        "index.msgpack",
        msgpack.packb({"words": ["a", "b"], "ids": list(range(300)), "x": b"bytes"}),
    )
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    yield good("picture", "PNG", "plot.png", picture.getvalue())
    members = {
        "m/config.json": b'{"model_type": "bert"}',
        "m/README.md": b"# A model\n",
        "m/model.safetensors": struct.pack("<Q", 2) + b"{}",
    }
    yield good("archive", "repository in a zip", "repo.zip", zipped(members))
    yield good(
        "archive", "repository in a packed zip", "repo.zip", zipped(members, zipfile.ZIP_DEFLATED)
    )
    yield good(
        "archive", "repository in tar.gz", "repo.tar.gz", tarred(*members.items(), mode="w:gz")
    )
    yield good(
        "archive",
        "NeMo",
        "model.nemo",
        tarred(
            (
                "./model_config.yaml",
                b"target: nemo.collections.asr.models.EncDecCTCModel\nencoder:\n  _target_: nemo.collections.asr.modules.ConvASREncoder\n",
            ),
            ("./model_weights.ckpt", small_checkpoint()),
        ),
    )
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": "m",
            "serializedFile": "model.pt",
            "handler": "image_classifier",
            "modelVersion": "1.0",
        },
    }
    yield good(
        "archive",
        "model archive",
        "model.mar",
        zipped(
            {
                "MAR-INF/MANIFEST.json": json.dumps(manifest).encode(),
                "model.pt": small_checkpoint(),
                "index_to_name.json": b'{"0": "cat"}',
            }
        ),
    )


def small_checkpoint() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2).state_dict(), out)
    return out.getvalue()


def samples() -> Iterator[Sample]:
    for each in (weights, layers, graphs, documents):
        yield from each()
