"""Serve a classifier by the Open Inference Protocol on 127.0.0.1, to try Holdfast over HTTP.

python examples/serve_digits.py model.onnx --port 8000
python examples/serve_digits.py examples/digits_cnn.py:build --weights digits.safetensors
python examples/serve_digits.py model.onnx --labels        (decisions only, no probabilities)

Then: holdfast assess --model http://127.0.0.1:8000/v2/models/digits --data digits
"""

import argparse
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
PATH = "/v2/models/digits"
MOST = 2**26


def load(spec: str, weights: str | None = None) -> Predict:
    """Float32 images (N, C, H, W) -> logits (N, K), from an ONNX file or a factory."""
    if spec.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(spec)
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    import torch

    from holdfast.targets.factory import load_factory
    from holdfast.targets.weights import load_safetensors

    module = load_factory(spec)().eval()
    if weights is not None:
        load_safetensors(module, weights)
    return torch.no_grad()(lambda x: module(torch.from_numpy(x)).numpy())


def serve(
    predict: Predict, row: tuple[int, ...], classes: int, port: int = 0, labels: bool = False
) -> ThreadingHTTPServer:
    """A server that is bound but does not run yet: call `serve_forever`, later `server_close`."""
    kind, width = ("INT64", []) if labels else ("FP32", [classes])
    name = "label" if labels else "probabilities"
    metadata = {
        "name": "digits",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, *row]}],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1, *width]}],
    }

    def infer(body: dict) -> dict:
        (sent,) = body["inputs"]
        logits = predict(np.asarray(sent["data"], np.float32).reshape(-1, *row))
        odds = np.exp(logits - logits.max(1, keepdims=True))
        out = logits.argmax(1) if labels else odds / odds.sum(1, keepdims=True)
        tensor = {"name": name, "datatype": kind, "shape": out.shape, "data": out.ravel().tolist()}
        return {"model_name": "digits", "outputs": [tensor]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*(200, metadata) if self.path == PATH else (404, {"error": "unknown"}))

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            if self.path != f"{PATH}/infer" or size > MOST:
                self.reply(404, {"error": "unknown address, or too much"})
                return
            try:
                self.reply(200, infer(json.loads(self.rfile.read(size))))
            except (ValueError, KeyError, TypeError) as error:
                self.reply(400, {"error": str(error)})

        def reply(self, status: int, body: dict) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Requests are not logged: an assessment sends thousands."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--labels", action="store_true")
    given = parser.parse_args()
    server = serve(load(given.model, given.weights), (1, 8, 8), 10, given.port, given.labels)
    with server:
        print(f"serving at http://127.0.0.1:{server.server_port}{PATH}", flush=True)
        server.serve_forever()
