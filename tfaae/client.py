"""A client of TensorFlow Serving, by gRPC or REST, that says what is wrong with a request before it sends it."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from tfaae.errors import InputError, choose
from tfaae.warm_up import predict_request

SECONDS = 60.0  # until a server counts as silent
Arrays = Mapping[str, np.ndarray]


class Tensor(NamedTuple):
    """A named input or output as the server describes it."""

    dtype: np.dtype
    shape: tuple[int | None, ...]  # None: any size

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('n' if size is None else str(size) for size in self.shape)}]"


class Signature(NamedTuple):
    """What a server answers to."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Client(Protocol):
    """A connection to one model."""

    def signatures(self) -> dict[str, Signature]:
        """What the model answers to, by name."""

    def predict(self, name: str, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        """The answer to a request that `checked` let pass."""


def connect(server: str, model: str, version: int | None = None) -> Client:
    """A client for `grpc://host:8500` or `http://host:8501`; without a version, the newest one answers.

    Raises:
        InputError: an address of another form. All methods of a client raise it where the server is not there, knows no
        such model, or refuses a request.
    """
    kind, _, address = server.partition("://")
    if kind not in ("grpc", "http", "https") or not address:
        raise InputError(f"a server is grpc://host:8500 or http://host:8501, got {server!r}")
    if kind == "grpc":
        return Grpc(address, model, version)
    return Rest(server.rstrip("/"), model, version)


def ask(client: Client, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
    """Checks a request against what the server says of itself, and sends it.

    Raises:
        InputError: an unknown signature, and everything that `checked` and the client raise.
    """
    known = client.signatures()
    found = known[choose("signature", signature, known)]
    return client.predict(signature, found, checked(found, inputs))


def checked(signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
    """The inputs in the types that the signature takes.

    Raises:
        InputError: a missing or unknown input, a wrong shape or type, values that are not finite, pixels outside
        [0, 1], integers that do not fit or, but for seeds, are negative, rows that differ in number.
    """
    takes = ", ".join(f"{name} {tensor}" for name, tensor in signature.inputs.items())
    for name in inputs:
        choose("input", name, signature.inputs)
    missing = [name for name in signature.inputs if name not in inputs]
    if missing:
        raise InputError(f"{', '.join(missing)} missing; the signature takes {takes}")
    found = {name: _fitting(name, tensor, inputs[name]) for name, tensor in signature.inputs.items()}
    rows = {name: len(found[name]) for name, tensor in signature.inputs.items() if tensor.shape[:1] == (None,)}
    if len(set(rows.values())) > 1:
        raise InputError(f"inputs differ in their number of rows: {rows}")
    return found


def _fitting(name: str, tensor: Tensor, value: Any) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype.kind not in "biuf" or (tensor.dtype.kind == "i" and value.dtype.kind == "f"):
        raise InputError(f"{name}: expected {tensor}, got {value.dtype} {list(value.shape)}")
    fits = value.ndim == len(tensor.shape) and all(
        want in (None, got) for want, got in zip(tensor.shape, value.shape, strict=True)
    )
    if not fits or not value.size:
        raise InputError(f"{name}: expected {tensor} with n above 0, got {value.dtype} {list(value.shape)}")
    with np.errstate(over="ignore"):  # to infinity, which is refused
        finite = np.isfinite(value if tensor.dtype.kind == "i" else value.astype(tensor.dtype))
    if not finite.all():
        raise InputError(f"{name}: expected finite values, {int((~finite).sum())} are NaN or infinite")
    low, high = value.min(), value.max()
    if name == "images" and (low < 0 or high > 1):
        hint = "; divide by 255" if low >= 0 and high <= 255 else ""
        raise InputError(f"images: expected pixels in [0, 1], got {low:g} to {high:g}{hint}")
    if tensor.dtype.kind == "i":
        least = np.iinfo(tensor.dtype).min if name == "seed" else 1 if name == "count" else 0
        if low < least or high > np.iinfo(tensor.dtype).max:
            raise InputError(f"{name}: expected {least} to {np.iinfo(tensor.dtype).max}, got {low} to {high}")
    return value.astype(tensor.dtype)


class Grpc:
    """Of `PredictionService`, port 8500 of the official image."""

    def __init__(self, address: str, model: str, version: int | None = None):
        self.address, self.model, self.version = address, model, version
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]  # images are large
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address, unlimited))

    def signatures(self) -> dict[str, Signature]:
        spec = predict_request(self.model, "", {}, self.version).model_spec
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        described = get_model_metadata_pb2.SignatureDefMap()
        self._call(self.stub.GetModelMetadata, request).metadata["signature_def"].Unpack(described)
        return _signatures(described)

    def predict(self, name: str, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        request = predict_request(self.model, name, inputs, self.version)
        outputs = self._call(self.stub.Predict, request).outputs
        return {output: tf.make_ndarray(value) for output, value in outputs.items()}

    def _call(self, method, request):
        try:
            return method(request, timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise InputError(f"no answer from {self.address}: {error.details()}") from None
            raise InputError(f"{self.address} refused {self.model}: {error.details()}") from None


class Rest:
    """Of the REST interface, port 8501 of the official image, in its columnar form."""

    def __init__(self, server: str, model: str, version: int | None = None):
        self.server, self.model = server, model
        self.url = f"{server}/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")

    def signatures(self) -> dict[str, Signature]:
        answer = self._call(f"{self.url}/metadata")
        described = get_model_metadata_pb2.SignatureDefMap()
        try:
            json_format.ParseDict(answer["metadata"]["signature_def"], described, ignore_unknown_fields=True)
            return _signatures(described)
        except (KeyError, TypeError, AttributeError, RecursionError, json_format.ParseError):
            raise InputError(f"{self.server} does not describe {self.model} as TensorFlow Serving does") from None

    def predict(self, name: str, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        body = {"signature_name": name, "inputs": {key: value.tolist() for key, value in inputs.items()}}
        found = self._call(f"{self.url}:predict", json.dumps(body).encode())
        outputs = signature.outputs
        try:
            answer = found["outputs"]
            named = answer if isinstance(answer, dict) else {next(iter(outputs)): answer}  # a single one comes unnamed
            with np.errstate(over="ignore"):  # to infinity, as the server meant
                return {output: np.asarray(value, outputs[output].dtype) for output, value in named.items()}
        except (KeyError, TypeError, ValueError, OverflowError, StopIteration):
            raise InputError(f"{self.server} does not answer for {self.model} as TensorFlow Serving does") from None

    def _call(self, url: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                told = error.read().decode("utf-8", "replace")
            try:
                told = json.loads(told)["error"]
            except (ValueError, KeyError, TypeError):
                told = f"status {error.code}"
            raise InputError(f"{self.server} refused {self.model}: {told}") from None
        except (ValueError, RecursionError):
            raise InputError(f"{self.server} does not answer in JSON: it is no REST interface of a server") from None
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"no answer from {self.server}: {getattr(error, 'reason', error)}") from None


def _signatures(described: get_model_metadata_pb2.SignatureDefMap) -> dict[str, Signature]:
    """Those that the model exported; TensorFlow adds one of its own for initialisation."""

    def tensors(infos) -> dict[str, Tensor]:
        return {name: _tensor(info) for name, info in sorted(infos.items())}

    return {
        name: Signature(tensors(signature.inputs), tensors(signature.outputs))
        for name, signature in described.signature_def.items()
        if not name.startswith("__")
    }


def _tensor(info) -> Tensor:
    shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return Tensor(np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), shape)
