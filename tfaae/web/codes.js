// Codes and the plane in which one moves. Nothing here knows the page.

/** The test codes of a model, and the planes through its code space. */
export class CodeSpace {
  /**
   * @param model as `model.json` describes it: a code is `content.size` numbers of content, then the style
   * @param {Float32Array} numbers all test codes, one after the other
   */
  constructor(model, numbers) {
    this.size = model.code_dim;
    this.numbers = numbers;
    this.count = numbers.length / this.size;
    this.contentSize = model.content ? model.content.size : 0;
    this.origin = model.origin;
    this.directions = model.directions.map(({ vector }) => vector);
  }

  /** A copy of a test code. */
  code(point) {
    return this.numbers.slice(point * this.size, (point + 1) * this.size);
  }

  /** How far a code lies from the origin along a direction. */
  along(code, direction) {
    return this.directions[direction].reduce(
      (sum, weight, axis) => sum + weight * (code[this.contentSize + axis] - this.origin[axis]), 0);
  }

  /** A copy of a code, moved along two directions to a place of their plane; all else stays. */
  moved(code, { across, up }, { x, y }) {
    const to = code.slice();
    for (const [direction, place] of [[across, x], [up, y]]) {
      const step = place - this.along(code, direction);
      this.directions[direction].forEach((weight, axis) => { to[this.contentSize + axis] += step * weight; });
    }
    return to;
  }

  /** A copy of a code whose content is one category. */
  withContent(code, category) {
    const to = code.slice();
    to.fill(0, 0, this.contentSize);
    to[category] = 1;
    return to;
  }

  /** The category that a code's content says. */
  content(code) {
    const content = code.subarray(0, this.contentSize);
    return content.indexOf(Math.max(...content));
  }

  /** Test codes in a plane: [x, y, x, y ...]. */
  places({ across, up }) {
    const places = new Float32Array(2 * this.count);
    for (let point = 0; point < this.count; point++) {
      const code = this.numbers.subarray(point * this.size, (point + 1) * this.size);
      places[2 * point] = this.along(code, across);
      places[2 * point + 1] = this.along(code, up);
    }
    return places;
  }
}

/** From one code at t = 0 to another at t = 1, in a straight line. */
export function lerp(from, to, t) {
  return from.map((value, axis) => value + t * (to[axis] - value));
}

/** The point of [x, y, x, y ...] that is nearest to a place, and how far it is. */
export function nearest(places, { x, y }) {
  let point = 0;
  let least = Infinity;
  for (let at = 0; at < places.length / 2; at++) {
    const distance = Math.hypot(places[2 * at] - x, places[2 * at + 1] - y);
    if (distance < least) [point, least] = [at, distance];
  }
  return { point, distance: least };
}
