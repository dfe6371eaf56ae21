// The page: a state that the address keeps, the controls that change it, and what is drawn of it.

import { CodeSpace, lerp, nearest } from "./codes.js";
import { fetchBytes, loadDecoder } from "./decoder.js";
import { CodeMap, colourOf } from "./map.js";

const STRIP = 9; // images between A and B
const NEAR = 14; // a click takes a point within so many CSS pixels
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const element = (id) => document.getElementById(id);

class Explorer {
  constructor(model, space, sprite, decode) {
    Object.assign(this, { model, space, sprite, decode });
    this.map = new CodeMap(element("points"), element("marker"));
    this.known = [...new Set(model.labels)].sort((first, second) => first - second); // labels that there are
    this.alone = null; // the one label that is coloured, or null
    this.times = [];
  }

  // === State: where one is, and what the address keeps of it ===

  /** The state that a page begins with: at the first test image, A and B two images of different labels. */
  start() {
    const { labels } = this.model;
    const other = labels.findIndex((label) => label !== labels[0]);
    return {
      across: 0, up: 1, x: null, y: null, // null: where the chosen image lies
      point: 0, // the chosen test image: what the plane does not say of a code is as in its own
      content: null, // a label or category; null: the image's own
      a: 0, b: other < 0 ? labels.length - 1 : other,
      t: null, // how far from A to B, or null: at x, y
    };
  }

  /** The state of the address; what it does not say, or says wrongly, is as at the start. */
  read() {
    const state = this.start();
    const points = this.space.count - 1;
    const contents = this.model.content ? this.model.content.names.length - 1 : -1;
    const directions = this.space.directions.length - 1;
    const highest = { across: directions, up: directions, point: points, a: points, b: points, content: contents };
    for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
      const value = text === "" ? NaN : Number(text);
      if (!(key in state) || !Number.isFinite(value)) continue;
      if (key in highest && !(Number.isInteger(value) && value >= 0 && value <= highest[key])) continue;
      state[key] = key === "t" ? Math.min(Math.max(value, 0), 1) : value;
    }
    if (state.across === state.up) [state.across, state.up] = [0, 1];
    this.state = state;
    const { x, y } = this.place(state.t === null ? this.space.code(state.point) : this.code);
    Object.assign(state, { x: state.x ?? x, y: state.y ?? y, content: state.content ?? this.labelOf(state.point) });
  }

  /** Changes the state, draws it, and writes it to the address once things are at rest. */
  change(changes) {
    Object.assign(this.state, changes);
    this.since = performance.now();
    this.refresh();
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.write(), 200); // browsers refuse many writes in a row
  }

  write() {
    const told = Object.entries(this.state).filter(([, value]) => value !== null);
    const text = told.map(([key, value]) => [key, Number.isInteger(value) ? value : value.toPrecision(6)]);
    history.replaceState(null, "", `#${new URLSearchParams(text)}`);
  }

  get code() {
    const { point, content, a, b, t } = this.state;
    const { space } = this;
    if (t !== null) return lerp(space.code(a), space.code(b), t);
    const code = space.moved(space.code(point), this.state, this.state);
    return space.contentSize && content !== null ? space.withContent(code, content) : code;
  }

  /** What the decoder reads beside the code, or null. */
  get label() {
    return this.model.content?.kind === "label" ? this.state.content : null;
  }

  /** The label with which a test image is decoded, or null. */
  labelOf(point) {
    return this.model.content?.kind === "label" ? Math.max(this.model.labels[point], 0) : null;
  }

  place(code) {
    return { x: this.space.along(code, this.state.across), y: this.space.along(code, this.state.up) };
  }

  // === Moves ===

  moveTo(place) {
    const { state, space } = this;
    const kept = state.t !== null && space.contentSize ? { content: space.content(this.code) } : {};
    this.change({ ...place, ...kept, t: null });
  }

  choose(point) {
    this.change({ point, content: this.labelOf(point), t: null, ...this.place(this.space.code(point)) });
  }

  /** Along the line from A to B; the map's place follows. */
  between(t) {
    const { a, b, content } = this.state;
    const code = lerp(this.space.code(a), this.space.code(b), t);
    this.change({ t, ...this.place(code), content: this.space.contentSize ? null : content });
  }

  /** Other directions: the map is another one, and the code stays. */
  turn(changes) {
    const code = this.code;
    Object.assign(this.state, changes);
    this.showMap();
    this.change(this.place(code));
  }

  // === Drawing ===

  showMap() {
    this.places = this.space.places(this.state);
    const { labels } = this.model;
    const palette = new Map(this.known.map((label) => [label, colourOf(label, this.known.length)]));
    const colours = labels.map((label) => (this.alone === null || label === this.alone ? palette.get(label) : null));
    this.map.show(this.places, colours);
  }

  /** Draws the state; what came meanwhile is drawn after it, the newest alone. */
  async refresh() {
    this.stale = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.stale) {
        this.stale = false;
        await this.draw();
      }
    } catch (error) {
      tell(error);
    } finally {
      this.busy = false;
    }
  }

  async draw() {
    const { state, code, since } = this;
    this.mark();
    const before = performance.now();
    const pixels = await this.decode(code, this.label);
    this.times.push(performance.now() - before);
    paint(element("decoded"), pixels, this.model.image_shape);
    performance.measure("answer", { start: since, end: performance.now() });
    this.tell(code);
    for (const [end, id] of [[state.a, "a"], [state.b, "b"]]) this.thumbnail(element(id), end);
    await this.drawPoint();
    await this.drawStrip();
  }

  mark() {
    const { point, t, a, b } = this.state;
    const at = (index) => ({ x: this.places[2 * index], y: this.places[2 * index + 1] });
    this.map.mark({
      here: this.state,
      chosen: at(point),
      line: t === null ? null : [at(a), at(b)],
    });
  }

  async drawPoint() {
    const { point } = this.state;
    if (point === this.shownPoint) return;
    this.shownPoint = point;
    this.thumbnail(element("image"), point);
    const pixels = await this.decode(this.space.code(point), this.labelOf(point));
    paint(element("reconstruction"), pixels, this.model.image_shape);
    element("image-caption").textContent = `test image ${point}${this.named(point)}`;
  }

  async drawStrip() {
    const { a, b } = this.state;
    const key = `${a} ${b} ${this.label}`;
    if (key === this.shownStrip) return;
    this.shownStrip = key;
    const [from, to] = [this.space.code(a), this.space.code(b)];
    for (const [at, canvas] of [...element("strip").children].entries()) {
      const pixels = await this.decode(lerp(from, to, at / (STRIP - 1)), this.label);
      paint(canvas, pixels, this.model.image_shape);
    }
  }

  thumbnail(canvas, point) {
    const [height, width] = this.model.image_shape;
    const columns = this.sprite.naturalWidth / width;
    Object.assign(canvas, { width, height });
    const [left, top] = [(point % columns) * width, Math.floor(point / columns) * height];
    canvas.getContext("2d").drawImage(this.sprite, left, top, width, height, 0, 0, width, height);
  }

  /** In words, for those who look and those who listen. */
  tell(code) {
    const { x, y, across, up, a, b, t, content } = this.state;
    const names = this.model.directions.map(({ name }) => name);
    const near = nearest(this.places, { x, y });
    const told = t === null ? "" : `${Math.round(100 * t)} % of the way from A (${a}) to B (${b}); `;
    element("where").textContent = `${told}${names[across]} ${x.toFixed(2)}, ${names[up]} ${y.toFixed(2)}; `
      + `nearest: test image ${near.point}${this.named(near.point)}`;
    for (const button of element("contents").children) {
      const shown = content ?? this.space.content(code);
      button.setAttribute("aria-pressed", String(Number(button.value) === shown));
    }
    element("t").value = t ?? 0;
    for (const end of ["a", "b"]) {
      const index = this.state[end];
      element(`set-${end}`).querySelector("b").textContent = `${end.toUpperCase()}: image ${index}${this.named(index)}`;
    }
    const sorted = [...this.times.slice(-100)].sort((first, second) => first - second);
    element("speed").textContent = `Decoded in this browser by LiteRT, `
      + `${sorted[Math.floor(sorted.length / 2)].toFixed(1)} ms an image; ${this.space.count} test images of `
      + `${this.model.data}. Nothing leaves this machine.`;
  }

  named(point) {
    const label = this.model.labels[point];
    return label < 0 ? "" : ` (${this.model.classes[label] ?? label})`;
  }

  // === Controls ===

  listen() {
    const marker = element("marker");
    let pressed = null;
    marker.addEventListener("pointerdown", (event) => {
      marker.setPointerCapture(event.pointerId);
      pressed = { left: event.clientX, top: event.clientY, moved: false };
    });
    marker.addEventListener("pointermove", (event) => {
      if (!pressed) return;
      pressed.moved ||= Math.hypot(event.clientX - pressed.left, event.clientY - pressed.top) > 3;
      if (pressed.moved) this.moveTo(this.map.under(event));
    });
    marker.addEventListener("pointerup", (event) => {
      const place = this.map.under(event);
      const near = nearest(this.places, place);
      if (pressed && !pressed.moved && near.distance < NEAR * this.map.unit) this.choose(near.point);
      else if (pressed) this.moveTo(place);
      pressed = null;
    });
    marker.addEventListener("pointercancel", () => { pressed = null; });
    marker.addEventListener("keydown", (event) => this.press(event));

    element("t").addEventListener("input", (event) => this.between(Number(event.target.value)));
    for (const end of ["a", "b"]) {
      element(`set-${end}`).addEventListener("click", () => this.change({ [end]: this.state.point, t: null }));
    }
    for (const axis of ["across", "up"]) {
      element(axis).addEventListener("change", (event) => this.turnAxis(axis, Number(event.target.value)));
    }
    window.addEventListener("hashchange", () => this.arrive());
    const redraw = () => { this.showMap(); this.mark(); };
    window.addEventListener("resize", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.fillLabels(); redraw(); });
  }

  press(event) {
    const { x, y } = this.state;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in KEYS) {
      const step = this.map.span / (event.shiftKey ? 10 : 50);
      const [right, up] = KEYS[event.key];
      this.moveTo({ x: x + step * right, y: y + step * up });
    } else if (event.key === "Enter") {
      this.choose(nearest(this.places, { x, y }).point);
    } else if (event.key === "Home") {
      this.choose(this.state.point);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Two directions are never the same: the other takes the one that this had. */
  turnAxis(axis, direction) {
    const other = axis === "across" ? "up" : "across";
    const swapped = this.state[other] === direction ? { [other]: this.state[axis] } : {};
    this.turn({ [axis]: direction, ...swapped });
    for (const name of ["across", "up"]) element(name).value = this.state[name];
  }

  /** Fills what depends on the model, once. */
  fill() {
    const { model } = this;
    document.title = `${model.name} · latent explorer`;
    element("name").textContent = model.name;
    element("about").textContent = `${model.model} on ${model.data}, codes of ${model.code_dim} numbers`;
    if (model.content) {
      element("content").hidden = false;
      element("content-legend").textContent = model.content.kind === "label" ? "Label" : "Category";
      model.content.names.forEach((name, at) => element("contents").append(
        chip(name, at, () => this.change({ content: at, ...(model.content.kind === "label" ? {} : { t: null }) }))));
    }
    element("axes").hidden = model.directions.length <= 2;
    for (const axis of ["across", "up"]) {
      model.directions.forEach(({ name, share }, at) => element(axis).append(
        new Option(`${name} (${Math.round(100 * share)} %)`, at)));
    }
    for (let at = 0; at < STRIP; at++) element("strip").append(document.createElement("canvas"));
    this.fillLabels();
  }

  fillLabels() {
    element("colours").hidden = this.known.length < 2;
    element("labels").replaceChildren(...this.known.map((label) => {
      const button = chip(label < 0 ? "unknown" : this.model.classes[label] ?? label, label, () => this.see(label));
      const swatch = document.createElement("i");
      swatch.style.background = colourOf(label, this.known.length);
      button.prepend(swatch);
      button.setAttribute("aria-pressed", String(label === this.alone));
      return button;
    }));
  }

  /** One label in colour and the others faint, or all again. */
  see(label) {
    this.alone = this.alone === label ? null : label;
    for (const button of element("labels").children) {
      button.setAttribute("aria-pressed", String(Number(button.value) === this.alone));
    }
    this.showMap();
    this.mark();
  }

  /** At the state of the address. */
  arrive() {
    this.read();
    for (const axis of ["across", "up"]) element(axis).value = this.state[axis];
    this.showMap();
    this.change({});
  }
}

function chip(text, value, act) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value });
  button.append(String(text));
  button.addEventListener("click", act);
  return button;
}

/** Pixels [h, w, c] in [0, 1] on a canvas of that size. */
function paint(canvas, pixels, [height, width, channels]) {
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * at + channel] = Math.round(255 * pixels[channels * at + (channel % channels)]);
    }
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function tell(error) {
  element("problem").hidden = false;
  element("problem").textContent = `This does not work: ${error.message ?? error}`;
}

async function begin() {
  const sprite = new Image();
  sprite.src = "sprite.png";
  const [description, numbers, decode] = await Promise.all(
    [fetchBytes("model.json"), fetchBytes("codes.f32"), loadDecoder(), sprite.decode()]);
  const model = JSON.parse(new TextDecoder().decode(description));
  const explorer = new Explorer(model, new CodeSpace(model, new Float32Array(numbers.buffer)), sprite, decode);
  element("problem").hidden = true;
  document.querySelector("main").hidden = false;
  await decode(explorer.space.code(0), explorer.labelOf(0)); // the first takes far longer
  explorer.fill();
  explorer.listen();
  explorer.arrive();
}

begin().catch(tell);
