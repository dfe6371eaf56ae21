"""Serving an export: the warm-up file, the client by gRPC and REST, what it refuses, and the server's configs."""

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from google.protobuf import text_format
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.cases import CASES
from tests.serving import Models, grpc_server, rest_server
from tfaae import client, export, signatures, warm_up
from tfaae.cli import main
from tfaae.errors import InputError

SERVING = Path(__file__).parent.parent / "tools" / "serving"
CASE = CASES["semi-supervised-paper"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, folder) of an export of version 4."""
    model, folder = CASE.build(), tmp_path_factory.mktemp("served") / "digits"
    export.save(model, folder, CASE.data(), version=4, formats=())
    return model, folder


@pytest.fixture(scope="module")
def servers(exported):
    models = Models(digits=exported[1])
    with grpc_server(models) as rpc, rest_server(models) as rest:
        yield {"grpc": rpc, "rest": rest}


@pytest.fixture(params=["grpc", "rest"])
def server(servers, request):
    return servers[request.param]


@pytest.fixture
def connection(server):
    return client.connect(server, "digits")


# === What a server reads from disk ===


def test_the_warm_up_file_plays_every_signature(exported):
    model, folder = exported
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(folder / "4" / warm_up.FILE))
    ]
    asked = [log.predict_log.request for log in logs]
    assert {request.model_spec.name for request in asked} == {"digits"}
    assert {request.model_spec.signature_name for request in asked} == set(signatures.signatures(model))
    loaded = Models(digits=folder).find("digits", 4)
    for request in asked:
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        (output,) = loaded.run(request.model_spec.signature_name, inputs).values()
        assert output.shape[0] == 1
        assert np.isfinite(output).all()


def test_the_labels_have_the_names_of_the_data(exported):
    assert (exported[1] / "4" / export.LABELS).read_text().splitlines() == ["a", "b", "c"]


def test_configs_of_the_server_are_what_it_reads():
    config = text_format.Parse((SERVING / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    paths = [Path(model.base_path) for model in config.model_config_list.config]
    assert [path.name for path in paths] == [model.name for model in config.model_config_list.config]
    service = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["serving"]
    mounted = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert all((SERVING / source).exists() for source in mounted)
    assert {str(path.parent) for path in paths} <= set(mounted.values())
    for option in service["command"]:
        for path in re.findall(r"=(/.*)", option):
            assert path in mounted.values()
    assert {int(port.split(":")[-1]) for port in service["ports"]} == {8500, 8501}
    ports = [int(number) for option in service["command"] for number in re.findall(r"port=(\d+)", option)]
    assert sorted(ports) == [8500, 8501]


def test_batches_are_padded_to_sizes_up_to_the_largest():
    text = (SERVING / "batching.config").read_text()
    sizes = [int(size) for size in re.findall(r"^allowed_batch_sizes: (\d+)", text, flags=re.MULTILINE)]
    largest = int(re.search(r"max_batch_size \{ value: (\d+) \}", text)[1])
    assert sizes == sorted(sizes)
    assert sizes[-1] == largest


@pytest.mark.slow
def test_the_command_line_of_tensorflow_runs_an_export(exported, tmp_path):
    """`saved_model_cli run`, in a process of its own."""
    model, folder = exported
    np.save(tmp_path / "images.npy", CASE.images(5))
    command = ["run", "--dir", folder / "4", "--tag_set", "serve", "--signature_def", "encode"]
    command += ["--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", tmp_path]
    subprocess.run([Path(sys.executable).parent / "saved_model_cli", *command], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), model.encode(CASE.images(5)), atol=1e-5)


# === The client ===


def test_every_signature_answers_as_the_model_does(exported, connection):
    model = exported[0]
    known = connection.signatures()
    assert known.keys() == signatures.signatures(model).keys()
    for name, given in signatures.requests(model, CASE.images(4), CASE.labels(4)).items():
        (wanted,) = signatures.signatures(model)[name].function(**given).values()
        (got,) = client.ask(connection, name, given).values()
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_signature_is_described(connection):
    known = connection.signatures()
    assert {name: str(tensor) for name, tensor in known["sample"].inputs.items()} == {
        "count": "int32 []",
        "seed": "int32 [2]",
    }
    assert {name: str(tensor) for name, tensor in known["classify"].inputs.items()} == {
        "images": "float32 [n, 8, 8, 1]"
    }
    assert list(known["classify"].outputs) == ["probabilities"]


IMAGES = CASE.images(3)


@pytest.mark.parametrize(
    ("signature", "inputs", "told"),
    [
        ("encoder", {"images": IMAGES}, "unknown signature 'encoder'; did you mean 'encode'"),
        ("encode", {}, r"images missing; the signature takes images float32 \[n, 8, 8, 1\]"),
        ("encode", {"image": IMAGES}, "unknown input 'image'; did you mean 'images'"),
        ("encode", {"images": IMAGES[0]}, r"expected float32 \[n, 8, 8, 1\] .* got float32 \[8, 8, 1\]"),
        ("encode", {"images": np.zeros((3, 9, 9, 1))}, r"expected float32 .* got float64 \[3, 9, 9, 1\]"),
        ("encode", {"images": IMAGES[:0]}, r"with n above 0, got float32 \[0, 8, 8, 1\]"),
        ("encode", {"images": IMAGES * 255}, r"expected pixels in \[0, 1\], got .* to 2\d\d.*; divide by 255"),
        ("encode", {"images": IMAGES - 1}, r"expected pixels in \[0, 1\], got -"),
        ("encode", {"images": np.where(IMAGES > 0.5, np.nan, IMAGES)}, "expected finite values, .* are NaN"),
        ("encode", {"images": np.full((3, 8, 8, 1), "x")}, r"expected float32 .* got <U1"),
        ("decode", {"codes": np.full((1, 7), 1j)}, "expected float32 .* got complex128"),
        ("sample", {"count": 2.5, "seed": [0, 1]}, r"count: expected int32 \[\], got float64 \[\]"),
        ("sample", {"count": 0, "seed": [0, 1]}, "count: expected 1 to 2147483647, got 0"),
        ("sample", {"count": 4, "seed": [0]}, r"seed: expected int32 \[2\]"),
        ("sample", {"count": 4, "seed": [0, 2**31]}, "seed: expected -2147483648 to 2147483647"),
    ],
)
def test_requests_that_do_not_fit_are_not_sent(servers, signature, inputs, told):
    with pytest.raises(InputError, match=told):
        client.ask(client.connect(servers["grpc"], "digits"), signature, inputs)


def test_rows_that_differ_in_number():
    tensor = client.Tensor(np.dtype("float32"), (None, 2))
    labels = client.Tensor(np.dtype("int32"), (None,))
    signature = client.Signature({"codes": tensor, "labels": labels}, {"images": tensor})
    with pytest.raises(InputError, match=r"inputs differ in their number of rows: \{'codes': 3, 'labels': 2\}"):
        client.checked(signature, {"codes": np.zeros((3, 2)), "labels": np.array([0, 1])})
    with pytest.raises(InputError, match="labels: expected 0 to 2147483647, got -1"):
        client.checked(signature, {"codes": np.zeros((2, 2)), "labels": np.array([0, -1])})


def test_a_model_or_version_that_is_not_there(server):
    for connection in (client.connect(server, "letters"), client.connect(server, "digits", version=5)):
        with pytest.raises(InputError, match=r"127.* refused \w+: Servable not found"):
            connection.signatures()
    assert client.connect(server, "digits", version=4).signatures()


def test_what_the_server_refuses_is_told(connection):
    """The client checks what the server told of itself; the server has the last word."""
    signature = connection.signatures()["encode"]
    with pytest.raises(InputError, match=r"refused digits: .*does not match signature"):
        connection.predict("encode", signature, {})


@pytest.mark.parametrize("address", ["localhost:8500", "grpc://", "ftp://localhost", ""])
def test_addresses_of_another_form(address):
    with pytest.raises(InputError, match="a server is grpc://host:8500 or http://host:8501, got"):
        client.connect(address, "digits")


@pytest.mark.parametrize("address", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_no_server_there(address):
    with pytest.raises(InputError, match=r"no answer from .*127\.0\.0\.1:1"):
        client.connect(address, "digits").signatures()


@pytest.mark.parametrize(("scheme", "other"), [("http", "grpc"), ("grpc", "rest")])
def test_the_port_of_the_other_interface(servers, scheme, other):
    address = f"{scheme}://{servers[other].partition('://')[2]}"
    with pytest.raises(InputError, match=r"no answer from .*127\.0\.0\.1"):
        client.connect(address, "digits").signatures()


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"<html>", "does not answer in JSON"), (b'{"a": 1}', "does not describe"), (b"[]", "does not describe")],
)
def test_another_server_there(body, told):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.handle_request).start()
        with pytest.raises(InputError, match=told):
            client.connect(f"http://127.0.0.1:{other.server_port}", "digits").signatures()


# === The command ===


def tfaae(*arguments: object):
    return CliRunner().invoke(main, ["request", *map(str, arguments)])


def test_pictures_go_and_come(server, tmp_path):
    np.save(tmp_path / "images.npy", CASE.images(5))
    asked = ("digits", "--server", server, "--signature", "reconstruct", f"images={tmp_path / 'images.npy'}")
    result = tfaae(*asked, "--out", tmp_path / "seen.png")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"images [5, 8, 8, 1] in {tmp_path / 'seen.png'}\n"
    with Image.open(tmp_path / "seen.png") as picture:
        assert min(picture.size) > 20


def test_draws_and_classes(servers, exported, tmp_path):
    asked = ("digits", "--server", servers["grpc"])
    result = tfaae(*asked, "--signature", "sample", "count=6", "seed=[3,0]", "--out", tmp_path / "drawn.npy")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(tmp_path / "drawn.npy"), exported[0].sample(6, seed=3), atol=1e-5)
    result = tfaae(*asked, "--signature", "sample", "count=6", "seed=[3,0]", "--out", tmp_path / "drawn.png")
    assert result.exit_code == 0, result.output
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(tmp_path / "grey.jpg")  # resized, and made grey
    result = tfaae(*asked, f"images={tmp_path / 'grey.jpg'}")
    assert result.exit_code == 0, result.output
    wanted = exported[0].classify(np.full((1, 8, 8, 1), 128 / 255, np.float32))
    np.testing.assert_allclose(np.array(result.stdout.split(), float)[None], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["count"], "an input is NAME=VALUE, count=16 say, got 'count'"),
        (["--signature", "sample", "count=many"], "count=many: expected a number, a list, or a .npy, .png"),
        (["--signature", "sampel"], "unknown signature 'sampel'; did you mean 'sample'?"),
        (["--signature", "sample", "counts=3"], "unknown input 'counts'; did you mean 'count'?"),
        (["images=absent.npy"], "absent.npy"),
        (["images=absent.png"], "absent.png cannot be read"),
        (["images=text.npy"], "text.npy is no .npy array of numbers"),
        (["--signature", "decode", "codes=text.png"], "text.png is a picture, but the input takes 2 dimensions"),
        (["images=[[1, 2]]"], "images: expected float32 [n, 8, 8, 1] with n above 0, got int64 [1, 2]"),
        (["images=[[1, 2], [3]]"], "images=[[1, 2], [3]]: expected a number, a list"),
        (["--out", "a.jpg"], "--out takes a .png or a .npy file"),
        (["--signature", "sample", "count=2", "seed=[0,0]"], "the answer is images; say where to with --out"),
        (["--signature", "decode", "codes=[[0,0,0,0,0,0,0]]", "--version", "9"], "Servable not found"),
        (["--signature", "encode", "images=ones.npy", "--out", "a.png"], "the answer is codes [1, 7], no images"),
        (["--server", "localhost"], "a server is grpc://host:8500"),
    ],
)
def test_refused_in_one_line(servers, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.npy").write_text("text")
    np.save("ones.npy", np.ones((1, 8, 8, 1)))
    result = tfaae("digits", "--server", servers["grpc"], *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert told in result.stderr
    assert not list(tmp_path.glob("a.*"))
