"""Endpoints on the loopback address: the same numbers as the model itself, or a clear error."""

import json
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.core.errors import InputError, TargetError
from holdfast.core.space import Box
from holdfast.core.target import Answers, Scores
from holdfast.targets.factory import load_factory
from holdfast.targets.fetch import Limits
from holdfast.targets.http import HttpLabels, HttpScores, open_http
from holdfast.targets.weights import save_safetensors

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE = sys.modules[load_factory(f"{EXAMPLES}/serve_digits.py:serve").__module__]
FAST = Limits(timeout=2, attempts=2, backoff=0.01)
PROBE = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
Reply = Callable[[str, object], tuple[int, object]]


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], str]]:
    """Start servers that answer by a function of (path, body or None); stop them at the end."""
    with ExitStack() as stack:

        def start(reply: Reply) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.tell(None)

                def do_POST(self) -> None:
                    size = int(self.headers["Content-Length"])
                    self.tell(json.loads(self.rfile.read(size)))

                def tell(self, body: object) -> None:
                    status, out = reply(self.path, body)
                    content = out if isinstance(out, bytes) else json.dumps(out).encode()
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

                def log_message(self, *_: object) -> None:
                    pass

            return stack.enter_context(_running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)))

        yield start


def _metadata(
    name: str = "out", kind: str = "FP32", shape: tuple[int, ...] = (-1, 3), **inputs: object
) -> dict[str, object]:
    told = {"name": "in", "datatype": "FP32", "shape": [-1, 2], **inputs}
    return {"inputs": [told], "outputs": [{"name": name, "datatype": kind, "shape": list(shape)}]}


def _v2(data: Callable[[np.ndarray], object], **told: object) -> Reply:
    """A server of the Open Inference Protocol whose output is `data` of the rows."""
    meta = _metadata(**told)

    def reply(path: str, body: object) -> tuple[int, object]:
        if body is None:
            return 200, meta
        assert path.endswith("/infer")
        (sent,) = body["inputs"]
        out = data(np.array(sent["data"]).reshape(sent["shape"]))
        if isinstance(out, np.ndarray):
            output = {**meta["outputs"][0], "shape": out.shape, "data": out.ravel().tolist()}
            return 200, {"outputs": [output]}
        return 200, out

    return reply


def _softmax(x: np.ndarray) -> np.ndarray:
    z = np.stack([x[:, 0], x[:, 1], x.sum(1)], 1)
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def _open(url: str, classes: int = 3, limits: Limits = FAST) -> HttpScores | HttpLabels:
    return open_http(url, Box(), classes, PROBE, limits)


def test_a_served_model_gives_the_scores_of_the_model_itself(digit_target, digits) -> None:
    x = digits[1].tensor[:40]

    def predict(values: np.ndarray) -> np.ndarray:
        return digit_target.scores(torch.from_numpy(values)).numpy()

    with _running(EXAMPLE.serve(predict, (1, 8, 8), 10)) as address:
        target = open_http(f"{address}{EXAMPLE.PATH}", Box(), 10, x[:4], FAST)
        local = digit_target.scores(x).log_softmax(1).clamp(min=math.log(1e-12))
        torch.testing.assert_close(target.scores(x), local, rtol=1e-4, atol=1e-4)
        assert torch.equal(target.answer(x), digit_target.answer(x))
        assert isinstance(target, Scores)
        assert target.endpoint.facts["outputs"].startswith("probabilities, as its metadata")


def test_a_served_model_of_labels_offers_answers_only(digit_target, digits) -> None:
    x = digits[1].tensor[:40]

    def predict(values: np.ndarray) -> np.ndarray:
        return digit_target.scores(torch.from_numpy(values)).numpy()

    with _running(EXAMPLE.serve(predict, (1, 8, 8), 10, labels=True)) as address:
        target = open_http(f"{address}{EXAMPLE.PATH}", Box(), 10, x[:4], FAST)
        assert torch.equal(target.answer(x), digit_target.answer(x))
        assert isinstance(target, Answers)
        assert not isinstance(target, Scores)


def test_the_example_loads_a_factory_with_its_weights(tmp_path) -> None:
    module = load_factory(f"{EXAMPLES}/digits_cnn.py:build")()
    save_safetensors(module, tmp_path / "w.safetensors")
    predict = EXAMPLE.load(f"{EXAMPLES}/digits_cnn.py:build", str(tmp_path / "w.safetensors"))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(torch.tensor(predict(x.numpy())), module(x).detach())


def test_floats_arrive_exactly(serve) -> None:
    seen = []
    url = serve(_v2(lambda x: (seen.append(x), _softmax(x))[1]))
    target = _open(f"{url}/v2/models/m")
    odd = torch.tensor([[0.1, 1 / 3], [1e-8, 1.0]])
    target.scores(odd)
    assert np.array_equal(seen[-1].astype("float32"), odd.numpy())


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_logits_and_probabilities_are_told_apart_once_by_the_probe(serve, scale: float) -> None:
    url = serve(_v2(lambda x: np.log(_softmax(x)) * scale))
    target = _open(f"{url}/v2/models/m")
    assert target.endpoint.meaning == "logits"
    assert target.endpoint.facts["outputs"] == "logits, as 4 probe rows do not sum to 1"
    wanted = torch.tensor(np.log(_softmax(PROBE.double().numpy())) * scale).float()
    torch.testing.assert_close(target.scores(PROBE), wanted)

    other = _open(f"{serve(_v2(_softmax))}/v2/models/m")
    assert other.endpoint.facts["outputs"] == "probabilities, as 4 probe rows sum to 1"
    wanted = torch.tensor(np.log(_softmax(PROBE.double().numpy()))).float()
    torch.testing.assert_close(other.scores(PROBE), wanted)


def test_the_name_of_an_output_decides_before_its_values(serve) -> None:
    """Two logits that happen to look like probabilities stay logits."""
    url = serve(_v2(_softmax, name="logits"))
    target = _open(f"{url}/v2/models/m")
    wanted = torch.tensor(_softmax(PROBE.double().numpy())).float()
    torch.testing.assert_close(target.scores(PROBE), wanted)


def test_impossible_probabilities_after_the_probe_are_an_error_not_logits(serve) -> None:
    calls = []

    def drift(x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return _softmax(x) * (1 if len(calls) == 1 else 1.1)

    target = _open(f"{serve(_v2(drift))}/v2/models/m")
    with pytest.raises(TargetError, match=r"must sum to 1: got .*sums 1\.1"):
        target.scores(PROBE)


def test_images_go_in_the_shape_that_the_metadata_name(serve) -> None:
    shapes = []
    url = serve(_v2(lambda x: (shapes.append(x.shape), _softmax(x[:, :2]))[1], shape=(-1, 3)))
    open_http(f"{url}/v2/m", Box(), 3, PROBE.view(4, 1, 1, 2), FAST)
    assert shapes == [(4, 2)]


@pytest.mark.parametrize("key", ["probabilities", "labels"])
def test_the_small_json_form_is_told_by_its_first_answer(serve, key: str) -> None:
    def reply(_: str, body: object) -> tuple[int, object]:
        if body is None:
            return 404, {"error": "POST rows here"}
        out = _softmax(np.array(body["inputs"]))
        return 200, {key: (out if key == "probabilities" else out.argmax(1)).tolist()}

    target = _open(f"{serve(reply)}/predict")
    wanted = _softmax(PROBE.double().numpy())
    assert isinstance(target, HttpScores if key == "probabilities" else HttpLabels)
    assert target.answer(PROBE).tolist() == wanted.argmax(1).tolist()
    if key == "probabilities":
        torch.testing.assert_close(target.scores(PROBE).exp(), torch.tensor(wanted).float())


def test_no_rows_ask_nothing(serve) -> None:
    calls = []
    url = serve(_v2(lambda x: (calls.append(1), _softmax(x))[1]))
    target = _open(f"{url}/v2/m")
    assert target.scores(PROBE[:0]).shape == (0, 3)
    assert target.answer(PROBE[:0]).shape == (0,)
    assert len(calls) == 1


GOOD = {"name": "out", "datatype": "FP32", "shape": [4, 3]}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>hello</html>", "answer in JSON: got <html>"),
        (b"[" * 100_000, "answer in JSON"),
        (b"", "answer in JSON"),
        ([], "must hold the output 'out': got \\[\\]"),
        ({"outputs": 3}, "must hold the output 'out'"),
        ({"outputs": [{"name": "other"}]}, "must hold the output 'out'"),
        ({"outputs": [{**GOOD, "data": [0.5] * 11}]}, r"shape \[4, 3\] and 11 values"),
        ({"outputs": [{**GOOD, "shape": [3, 4], "data": [0.5] * 12}]}, "one row for each of 4"),
        ({"outputs": [{**GOOD, "shape": [4, -3], "data": [0.5] * 12}]}, "one row for each"),
        ({"outputs": [{**GOOD, "shape": "4,3", "data": [0.5] * 12}]}, "one row for each"),
        ({"outputs": [{**GOOD, "shape": [4, 4], "data": [0.25] * 16}]}, r"shape \(N, 3\)"),
        ({"outputs": [{**GOOD, "shape": [4], "data": [0.25] * 4}]}, r"shape \(N, 3\)"),
        ({"outputs": [{**GOOD, "data": ["a"] * 12}]}, "numbers only"),
        ({"outputs": [{**GOOD, "data": None}]}, "numbers only"),
        ({"outputs": [{**GOOD, "data": [[1, 2], [3]]}]}, "numbers only"),
        ({"outputs": [{**GOOD, "data": {"a": 1}}]}, "numbers only"),
        ({"outputs": [{**GOOD, "data": [10**400] * 12}]}, "numbers only"),
        ({"outputs": [{**GOOD, "data": [float("nan")] * 12}]}, "finite numbers: got NaN"),
        ({"outputs": [{**GOOD, "data": [float("inf")] * 12}]}, "finite numbers"),
    ],
)  # fmt: skip
def test_garbage_is_a_target_error(serve, answer: object, says: str) -> None:
    url = serve(lambda _, body: (200, _metadata() if body is None else answer))
    with pytest.raises(TargetError, match=says):
        _open(f"{url}/v2/models/m")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0, 1, 2, 3], "0 to 2: got 0 to 3"),
        ([0, 1, -1, 2], "got -1 to 2"),
        ([0, 1, 0.5, 2], "whole numbers"),
        ([[0], [1], [2]], r"got shape \(3, 1\)|one entry for each of 4"),
        ([[0, 1], [1, 1], [2, 2], [0, 0]], r"shape \(4,\): got \(4, 2\)"),
        (7, "one entry for each of 4 inputs"),
    ],
)
def test_labels_out_of_range_are_a_target_error(serve, values: object, says: str) -> None:
    url = serve(lambda _, body: (404, {}) if body is None else (200, {"labels": values}))
    with pytest.raises(TargetError, match=says):
        _open(f"{url}/predict")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[0.5, 0.4, 0.3]] * 4, "sum to 1: got values 0.3 to 0.5, sums 1.2"),
        ([[1.5, -0.5, 0.0]] * 4, r"lie in \[0, 1\]"),
        ([[0.5, 0.5]] * 4, r"\(N, 3\)"),
        ([[1.0, 0, 0]] * 3, "one entry for each of 4"),
    ],
)
def test_wrong_probabilities_are_a_target_error(serve, rows: object, says: str) -> None:
    url = serve(lambda _, body: (404, {}) if body is None else (200, {"probabilities": rows}))
    with pytest.raises(TargetError, match=says):
        _open(f"{url}/predict")


@pytest.mark.parametrize(
    ("told", "error", "says"),
    [
        (_metadata(shape=(-1, 7)), InputError, "has 7 classes: got data with 3"),
        (_metadata(kind="BYTES"), InputError, "floats or"),
        ({**_metadata(), "outputs": []}, InputError, "floats or"),
        (_metadata(datatype="BYTES"), InputError, "one tensor of floats"),
        ({**_metadata(), "inputs": _metadata()["inputs"] * 2}, InputError, "one tensor of floats"),
        (
            {"inputs": [{"name": "in", "datatype": "FP32", "shape": [-1, 9]}],
             "outputs": _metadata()["outputs"]},
            InputError, r"rows of shape \(9,\): got data with rows of shape \(2,\)",
        ),
        ({"inputs": [3], "outputs": []}, TargetError, "name, datatype and shape: got 3"),
        ({"name": "m"}, TargetError, "list inputs and outputs"),
        ([1], TargetError, "list inputs and outputs"),
    ],
)  # fmt: skip
def test_metadata_of_another_task_are_refused(serve, told, error, says: str) -> None:
    url = serve(lambda *_: (200, told))
    with pytest.raises(error, match=says):
        _open(f"{url}/v2/models/m")


def test_a_refusal_is_told_with_its_status_and_not_repeated(serve) -> None:
    calls = []
    url = serve(lambda *_: (calls.append(1), (400, {"error": "no such model"}))[1])
    with pytest.raises(TargetError, match=r"refused.*HTTP status 400 .*no such model"):
        _open(f"{url}/v2/models/m")
    assert len(calls) == 1


def test_a_busy_server_is_asked_again(serve) -> None:
    calls = []

    def reply(_: str, body: object) -> tuple[int, object]:
        calls.append(1)
        return (503, {}) if len(calls) == 1 else _v2(_softmax)("/infer", body)

    assert isinstance(_open(f"{serve(reply)}/v2/m"), HttpScores)
    calls.clear()
    url = serve(lambda *_: (calls.append(1), (503, b"busy"))[1])
    with pytest.raises(TargetError, match=r"2 attempts: got HTTP status 503 busy"):
        _open(f"{url}/v2/m")
    assert len(calls) == 2


def test_a_redirect_is_not_followed(serve) -> None:
    with pytest.raises(TargetError, match="HTTP status 302"):
        _open(f"{serve(lambda *_: (302, b''))}/v2/m")


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(serve) -> None:
    url = serve(lambda *_: (200, b" " * 300_000))
    with pytest.raises(TargetError, match="more than 100000 bytes"):
        _open(f"{url}/v2/m", limits=Limits(2, 1, 0.01, 100_000))


def test_nobody_listening_is_told_after_the_attempts() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TargetError, match=r"could not be reached in 2 attempts.*refused"):
        _open(f"http://127.0.0.1:{port}/v2/m")


@contextmanager
def _raw(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A listener that talks to each of up to four callers as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def run() -> None:
            for _ in range(4):
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    try:
                        caller.recv(65536)
                        talk(caller)
                    except OSError:
                        pass

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2/m"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "without response|reset"),
        (b"SSH-2.0-server\r\n", "could not be reached"),
        (HEAD + b"{", "IncompleteRead|reset"),
    ],
)
def test_a_broken_connection_is_a_target_error(sent: bytes, says: str) -> None:
    with _raw(lambda caller: caller.sendall(sent)) as url, pytest.raises(TargetError, match=says):
        _open(url)


def test_a_server_that_never_answers_and_one_that_drips_run_into_the_timeout() -> None:
    limits = Limits(timeout=0.2, attempts=1)

    def drip(caller: socket.socket) -> None:
        caller.sendall(HEAD)
        for _ in range(40):
            caller.sendall(b" ")
            time.sleep(0.05)

    for talk in (lambda _: time.sleep(0.5), drip):
        start = time.monotonic()
        with _raw(talk) as url:
            with pytest.raises(TargetError, match=r"timed out|in 0\.2 s"):
                _open(url, limits=limits)
            assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/v2/m", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("http://", "http or https"),
        ("http://host:99999/x", "no address"),
        ("http://[::1/x", "no address"),
        ("http://host/a b", "http or https"),
        ("http://host/\nx", "http or https"),
        ("http://user:secret@host/x", "no password"),
    ],
)
def test_other_addresses_are_refused_without_a_request(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        _open(url)
    assert "secret" not in str(caught.value)


def test_a_digest_changes_with_address_and_metadata(serve) -> None:
    first, other = serve(_v2(_softmax)), serve(_v2(_softmax, name="y"))
    digests = [
        _open(url).endpoint.digest
        for url in (f"{first}/v2/a", f"{first}/v2/a", f"{first}/v2/b", f"{other}/v2/a")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
