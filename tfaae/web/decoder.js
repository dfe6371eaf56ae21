// The one file that knows LiteRT.js. `generator.tflite` takes one code at a time (a free batch is refused).

import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";

// The build that every browser runs and that rounds alike on all of them; WebGPU would give other pixels.
const RUNTIME = "litert/wasm/litert_wasm_compat_internal.js";

/** A function of a code (Float32Array) and, where the decoder reads one, a label, to pixels in [0, 1] (Float32Array). */
export async function loadDecoder() {
  // the runtime reports everything as an error
  window.Module = { printErr: (line) => console[/^(INFO|WARNING):/.test(line) ? "debug" : "error"](line) };
  await loadLiteRt(RUNTIME);
  const model = await loadAndCompile(await fetchBytes("generator.tflite"), { accelerator: "wasm" });

  return async function decode(code, label) {
    const inputs = { codes: new Tensor(code, [1, code.length]) };
    if (label !== null) inputs.labels = new Tensor(Int32Array.of(label), [1]);
    const outputs = await model.run("decode", inputs);
    try {
      return await outputs.images.data();
    } finally {
      // what is not deleted stays in the runtime's memory
      for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete();
    }
  };
}

/** The content of a file beside this page. */
export async function fetchBytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: the server answers ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
