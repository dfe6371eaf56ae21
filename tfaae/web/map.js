// The map: test codes as coloured points, drawn once for a plane, and above them what moves.

const RADIUS = 2.2; // of a point, in CSS pixels
const MARGIN = 0.05; // around the outermost points, in widths of the plane
const LINES = 6; // of the grid, about, across the plane

/** Two canvases of the same square. The plane has x to the right and y upwards, in one scale. */
export class CodeMap {
  constructor(points, overlay) {
    this.points = points;
    this.overlay = overlay;
  }

  /** Shows points at [x, y, x, y ...]; those without a colour are drawn faintly, under the others. */
  show(places, colours) {
    const x = range(places.filter((_, at) => at % 2 === 0));
    const y = range(places.filter((_, at) => at % 2 === 1));
    this.centre = { x: (x.low + x.high) / 2, y: (y.low + y.high) / 2 };
    this.span = (1 + 2 * MARGIN) * Math.max(x.high - x.low, y.high - y.low, 1e-6);

    const context = this.clear(this.points);
    this.drawGrid(context);
    const faint = css("--faint");
    const drawAll = (coloured) => colours.forEach((colour, at) => {
      if (Boolean(colour) !== coloured) return;
      context.fillStyle = colour || faint;
      context.beginPath();
      disc(context, this.toPixels({ x: places[2 * at], y: places[2 * at + 1] }), RADIUS);
      context.fill();
    });
    drawAll(false);
    context.globalAlpha = 0.8;
    drawAll(true);
    context.globalAlpha = 1;
  }

  /** Draws where one is, the chosen point, and the line from A to B, over the points. */
  mark({ here, chosen, line }) {
    const context = this.clear(this.overlay);
    if (line) {
      this.stroke(context, () => line.forEach((end, at) => context[at ? "lineTo" : "moveTo"](...this.toPixels(end))), 2);
      line.forEach((end, at) => this.letter(context, "AB"[at], this.toPixels(end)));
    }
    if (chosen) this.stroke(context, () => disc(context, this.toPixels(chosen), 6), 2);
    const [left, top] = this.toPixels(here);
    this.stroke(context, () => {
      disc(context, [left, top], 9);
      for (const [across, up] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(left + 5 * across, top + 5 * up);
        context.lineTo(left + 15 * across, top + 15 * up);
      }
    }, 2);
  }

  /** The place in the plane under a pointer. */
  under(event) {
    const box = this.overlay.getBoundingClientRect();
    return this.fromPixels(event.clientX - box.left, event.clientY - box.top);
  }

  /** How many units of the plane a CSS pixel is. */
  get unit() {
    return this.span / this.overlay.clientWidth;
  }

  toPixels({ x, y }) {
    const half = this.overlay.clientWidth / 2;
    return [half + (x - this.centre.x) / this.unit, half - (y - this.centre.y) / this.unit];
  }

  fromPixels(left, top) {
    const half = this.overlay.clientWidth / 2;
    return { x: this.centre.x + (left - half) * this.unit, y: this.centre.y - (top - half) * this.unit };
  }

  clear(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(canvas.clientWidth * scale); // setting it clears it
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    return context;
  }

  drawGrid(context) {
    const size = this.overlay.clientWidth;
    const step = roundStep(this.span / LINES);
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    context.strokeStyle = css("--line");
    context.fillStyle = css("--muted");
    context.font = "11px system-ui, sans-serif";
    for (const [axis, draw] of [["x", (at) => [at, 0, at, size]], ["y", (at) => [0, at, size, at]]]) {
      const first = Math.ceil((this.centre[axis] - this.span / 2) / step) * step;
      for (let value = first; value < this.centre[axis] + this.span / 2; value += step) {
        const at = this.toPixels({ ...this.centre, [axis]: value })[axis === "x" ? 0 : 1];
        const [left, top, right, bottom] = draw(Math.round(at) + 0.5);
        context.beginPath();
        context.moveTo(left, top);
        context.lineTo(right, bottom);
        context.stroke();
        const label = (Math.abs(value) < step / 2 ? 0 : value).toFixed(digits);
        if (axis === "x") context.fillText(label, at + 3, size - 4);
        else if (at < size - 24) context.fillText(label, 4, at - 3);
      }
    }
  }

  /** A path in the colour of ink on an edge in the colour of paper: seen on any points. */
  stroke(context, path, width) {
    for (const [colour, wide] of [["--paper", width + 3], ["--ink", width]]) {
      context.beginPath();
      path();
      context.strokeStyle = css(colour);
      context.lineWidth = wide;
      context.stroke();
    }
  }

  letter(context, text, [left, top]) {
    context.beginPath();
    disc(context, [left, top], 9);
    context.fillStyle = css("--ink");
    context.fill();
    context.fillStyle = css("--paper");
    context.font = "bold 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, left, top + 0.5);
  }
}

/** A colour of the style sheet, in the theme of the moment. */
export function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The colour of a label: the style sheet's, then hues all around; of an unknown label its own. */
export function colourOf(label, count) {
  if (label < 0) return css("--unknown");
  return css(`--label-${label}`) || `hsl(${Math.round((360 * label) / count)} 65% 50%)`;
}

function disc(context, [left, top], radius) {
  context.moveTo(left + radius, top);
  context.arc(left, top, radius, 0, 2 * Math.PI);
}

function range(values) {
  return values.reduce(({ low, high }, value) => ({ low: Math.min(low, value), high: Math.max(high, value) }),
    { low: Infinity, high: -Infinity });
}

/** The nearest of 1, 2, 5, 10 ... above. */
function roundStep(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= step);
}
