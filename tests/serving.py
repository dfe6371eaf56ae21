"""TensorFlow Serving's two interfaces in front of an export, for tests: the real gRPC stubs, and REST as documented.

Models run in a session of the C++ runtime, from the names in their SignatureDefs, as in the server.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


class RefusedError(Exception):
    """An answer with a status: NOT_FOUND or INVALID_ARGUMENT."""

    def __init__(self, status: str, told: str):
        super().__init__(told)
        self.status = status


class Loaded:
    """One version of one model."""

    def __init__(self, folder: Path):
        self.graph = tf.Graph()
        self.session = tf.compat.v1.Session(graph=self.graph)
        with self.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder)).signature_def

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        name = name or "serving_default"
        if name not in self.signatures:
            raise RefusedError("INVALID_ARGUMENT", f"Serving signature key {name!r} not found.")
        signature = self.signatures[name]
        if set(inputs) != set(signature.inputs):
            raise RefusedError("INVALID_ARGUMENT", f"input size does not match signature: {sorted(signature.inputs)}")
        feed = {signature.inputs[key].name: value for key, value in inputs.items()}
        return self.session.run({key: info.name for key, info in signature.outputs.items()}, feed)


class Models:
    """What a server has loaded: {name: {version: model}}."""

    def __init__(self, **folders: Path):
        self.loaded = {
            name: {int(path.name): Loaded(path) for path in folder.iterdir() if path.name.isdigit()}
            for name, folder in folders.items()
        }

    def find(self, name: str, version: int | None) -> Loaded:
        versions = self.loaded.get(name, {})
        if not versions or (version is not None and version not in versions):
            raise RefusedError("NOT_FOUND", f"Servable not found for request: {name}")
        return versions[max(versions) if version is None else version]

    def of(self, spec) -> Loaded:
        return self.find(spec.name, spec.version.value if spec.HasField("version") else None)

    def metadata(self, spec) -> get_model_metadata_pb2.GetModelMetadataResponse:
        described = get_model_metadata_pb2.SignatureDefMap(signature_def=dict(self.of(spec).signatures))
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(described)
        return response


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models):
        self.models = models

    def Predict(self, request, context):  # noqa: N802
        try:
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = self.models.of(request.model_spec).run(request.model_spec.signature_name, inputs)
        except RefusedError as error:
            context.abort(grpc.StatusCode[error.status], str(error))
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        try:
            return self.models.metadata(request.model_spec)
        except RefusedError as error:
            context.abort(grpc.StatusCode[error.status], str(error))


@contextmanager
def grpc_server(models: Models) -> Iterator[str]:
    """The address of a `PredictionService`."""
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(models), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(grace=None).wait()


class Rest(BaseHTTPRequestHandler):
    """GET .../metadata and POST ...:predict in the columnar form of TensorFlow Serving's REST interface."""

    models: Models
    PATH = re.compile(r"/v1/models/(\w+)(?:/versions/(\d+))?(/metadata|:predict)")

    def do_GET(self):
        self.answer(self.metadata)

    def do_POST(self):
        self.answer(self.predict)

    def answer(self, method):
        found = self.PATH.fullmatch(self.path)
        status, body = 404, {"error": "Malformed request"}
        if found:
            try:
                status, body = 200, method(found[1], int(found[2]) if found[2] else None)
            except RefusedError as error:
                status, body = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400}[error.status], {"error": str(error)}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def metadata(self, name, version):
        spec = predict_pb2.PredictRequest().model_spec
        spec.name = name
        if version is not None:
            spec.version.value = version
        return json_format.MessageToDict(self.models.metadata(spec), preserving_proto_field_name=True)

    def predict(self, name, version):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        loaded = self.models.find(name, version)
        described = loaded.signatures[body["signature_name"]].inputs
        types = {key: tf.as_dtype(info.dtype).as_numpy_dtype for key, info in described.items()}
        outputs = loaded.run(
            body["signature_name"], {key: np.array(value, types[key]) for key, value in body["inputs"].items()}
        )
        listed = {key: value.tolist() for key, value in outputs.items()}
        return {"outputs": listed if len(listed) > 1 else next(iter(listed.values()))}

    def log_message(self, *_):
        """Nothing to a test's output."""


@contextmanager
def rest_server(models: Models) -> Iterator[str]:
    """The address of a REST interface."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Rest,), {"models": models}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
