"""Trains what `save.py` compiled, with NumPy and JAX alone.

    python run.py FOLDER OUT --seconds 200

A few epochs tell how many fit into the seconds; training then starts anew, with schedules as long as that. Leaves
in OUT: weights.npz (float16, `[runs, ...]` each), and run.json with the metrics of every epoch.
"""

import argparse
import fcntl
import json
import pathlib
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)  # seeds and counters are 64-bit


def compile_program(path):
    """A serialized HLO module for JAX's default device: a function from device arrays to device arrays."""
    from jax._src.lib import _jax, xla_client

    module = _jax.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(path.read_bytes()))
    device = jax.devices()[0]
    executable = device.client.compile_and_load(module, xla_client.DeviceList((device,)), xla_client.CompileOptions())
    return lambda arguments: [
        array[0] for array in executable.execute_sharded(arguments).disassemble_into_single_device_arrays()
    ]


def first_values(program, folder, epochs):
    """Every captured array as training starts."""
    found = []
    for spec in program["start"]:
        if "file" in spec:
            with np.load(folder.parent / spec["file"]) as file:
                array = file["arr_0"]
            found.append(np.asarray(epochs, array.dtype) if "epochs" in spec else array)
        elif "zeros" in spec:
            found.append(np.zeros(spec["zeros"], spec["dtype"]))
        elif "like" in spec:
            found.append(None)
        else:
            found.append(np.stack([draw(spec, np.random.default_rng(seed)) for seed in spec["seeds"]]))
    for at, spec in enumerate(program["start"]):
        if "like" in spec:
            found[at] = found[program["stacked"].index(spec["like"])]
    return found


def draw(spec, random):
    """A kernel, as `tfaae.networks.Builder` starts it, from a generator of another kind."""
    shape = spec["shape"][1:]
    if "normal" in spec:  # Keras's RandomNormal
        return (spec["normal"] * random.standard_normal(shape)).astype(np.float32)
    limit = spec["uniform"] * np.sqrt(3)  # Keras's GlorotUniform
    return random.uniform(-limit, limit, shape).astype(np.float32)


def train(program, call, state, epochs, seconds=float("inf"), report=None):
    """Plays epochs on the state in place; returns [[metrics of a run, ...] of an epoch, ...]."""
    rows, began = [], time.time()
    for epoch in range(epochs):
        outputs = call([jax.device_put(np.int32(epoch)), *state])
        for out, at in program["replaces"].items():
            state[at] = outputs[int(out)]
        rows.append([np.asarray(outputs[i]).tolist() for i in range(len(program["names"]))])
        if report and (epoch + 1) % report == 0:
            means = " ".join(f"{name} {np.mean(row):.4g}" for name, row in zip(program["names"], rows[-1], strict=True))
            print(f"epoch {epoch + 1}/{epochs} {time.time() - began:.0f} s {means}", flush=True)
        if not np.isfinite(np.asarray(rows[-1])).all():
            raise SystemExit(f"not finite in epoch {epoch}: {dict(zip(program['names'], rows[-1], strict=True))}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, required=True, help="of training, all epochs")
    parser.add_argument("--until", type=float, default=float("inf"), help="Unix time at which training has ended")
    parser.add_argument("--multiple", type=int, default=20, help="epochs are a multiple of this")
    parser.add_argument("--most", type=int, default=1000, help="epochs")
    given = parser.parse_args()
    program = json.loads((given.folder / "program.json").read_text())
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    call = compile_program(given.folder / "program.hlo")
    device = jax.devices()[0].device_kind
    print(f"{given.folder.name}: {device}, compiled in {time.time() - began:.1f} s", flush=True)
    with open(given.folder.parent / "lock", "w") as lock:  # one program at a time; the next one compiles meanwhile
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = [jax.device_put(array) for array in first_values(program, given.folder, 100)]
        train(program, call, state, 2)
        began = time.time()
        train(program, call, state, 2)
        each = (time.time() - began) / 2
        seconds = min(given.seconds, given.until - time.time() - 5)
        epochs = int(seconds / each) // given.multiple * given.multiple
        epochs = min(given.most, epochs)
        if epochs < 1:
            raise SystemExit(f"{given.folder.name}: {each:.2f} s an epoch; {given.multiple} epochs do not fit")
        print(f"{given.folder.name}: {each:.2f} s an epoch of {program['steps']} steps, {epochs} epochs", flush=True)
        state = [jax.device_put(array) for array in first_values(program, given.folder, epochs)]
        began = time.time()
        rows = train(program, call, state, epochs, report=max(1, epochs // 5))
        seconds = time.time() - began
    at = {stacked: captured for captured, stacked in enumerate(program["stacked"]) if stacked is not None}
    kept = {str(stacked): np.asarray(state[at[stacked]]).astype(np.float16) for stacked in program["keep"]}
    np.savez(given.out / "weights.npz", **kept)
    found = {
        "members": program["members"],
        "overrides": program["overrides"],
        "epochs": epochs,
        "seconds": seconds,
        "steps": program["steps"],
    }
    found |= {"device": device, "jax": jax.__version__, "names": program["names"], "metrics": rows}
    (given.out / "run.json").write_text(json.dumps(found))
    print(f"{given.folder.name}: done, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
