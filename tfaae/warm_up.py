"""Requests that TensorFlow Serving plays to a model before it takes others, so that no user waits for the first."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

FILE = Path("assets.extra") / "tf_serving_warmup_requests"  # the place and name are Serving's


def write(folder: Path, model: str, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """One `PredictionLog` record for each of `{signature: {input: array}}`, in a SavedModel's folder."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictLog(request=predict_request(model, signature, inputs))
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def predict_request(
    model: str, signature: str, inputs: Mapping[str, np.ndarray], version: int | None = None
) -> predict_pb2.PredictRequest:
    """A request as the gRPC interface takes it; without a version, the server's newest answers."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request
