// Small charts as SVG. Colours are in the style sheet, by class.

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const TOP = 8;
const BOTTOM = 20; // for the times below

function shape(name, className, attributes) {
  const made = document.createElementNS(NAMESPACE, name);
  made.setAttribute("class", className);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function words(text, className, x, y) {
  const made = shape("text", className, { x, y });
  made.textContent = text;
  return made;
}

/** The least of 1, 2, 5, 10, 20, 50 ... that is not below a value. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= value);
}

function begin(svg, highest, span) {
  const width = Math.max(200, svg.clientWidth);
  const most = roundUp(highest);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  for (const share of [0, 0.5, 1]) {
    const y = yOf(share);
    svg.append(shape("line", "grid", { x1: 0, x2: width, y1: y, y2: y }));
    if (share > 0) svg.append(words(String(most * share), "scale", 2, y + 11));
  }
  svg.append(words(`${span} ago`, "time", 0, HEIGHT - 5));
  svg.append(words("now", "time end", width, HEIGHT - 5));
  return { width, most };
}

const yOf = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);

/** Counts in slots of time, one on top of the other. `series` are pairs of a class and counts. */
export function drawStacks(svg, series, span, label) {
  const slots = series[0][1].length;
  const sums = Array.from({ length: slots }, (_, slot) =>
    series.reduce((sum, [, counts]) => sum + counts[slot], 0),
  );
  const { width, most } = begin(svg, Math.max(...sums), span);
  const step = width / slots;
  const below = new Array(slots).fill(0);
  for (const [className, counts] of series) {
    let path = "";
    counts.forEach((value, slot) => {
      if (value === 0) return;
      const [low, high] = [yOf(below[slot] / most), yOf((below[slot] + value) / most)];
      const [left, right] = [slot * step, (slot + 1) * step - Math.min(1, step / 4)];
      path += `M${left.toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}H${right.toFixed(1)}V${low.toFixed(1)}Z`;
      below[slot] += value;
    });
    svg.append(shape("path", `area ${className}`, { d: path }));
  }
  svg.setAttribute("aria-label", label);
}

/** Values over time, as lines with gaps where null is. `series` are pairs of a class and values. */
export function drawLines(svg, series, span, label) {
  const highest = Math.max(1, ...series.flatMap(([, values]) => values.map((value) => value ?? 0)));
  const { width, most } = begin(svg, highest, span);
  for (const [className, values] of series) {
    svg.append(shape("path", `line ${className}`, { d: lineOf(values, width, (v) => yOf(v / most)) }));
  }
  svg.setAttribute("aria-label", label);
}

function lineOf(values, width, yOfValue) {
  const step = width / Math.max(1, values.length - 1);
  let path = "";
  let isDrawn = false;
  values.forEach((value, slot) => {
    if (value !== null) {
      const [x, y] = [(slot * step).toFixed(1), yOfValue(value).toFixed(1)];
      // A value without a neighbour is a dot, which a line of no length is with round caps.
      path += isDrawn ? `L${x} ${y}` : `M${x} ${y}h0`;
    }
    isDrawn = value !== null;
  });
  return path;
}

/** Use from 0 to 1 over time, in the cell of a table. */
export function drawUse(svg, values) {
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 120 24");
  svg.replaceChildren(
    shape("line", "grid", { x1: 0, x2: 120, y1: 22.5, y2: 22.5 }),
    shape("line", "grid", { x1: 0, x2: 120, y1: 1.5, y2: 1.5 }),
    shape("path", "line flight", { d: lineOf(values, 119, (value) => 22.5 - 21 * value) }),
  );
}

/** Parts of a whole from the left: triples of a class, a start and an end, from 0 to 1. */
export function drawParts(svg, parts) {
  svg.setAttribute("class", "parts");
  svg.setAttribute("viewBox", "0 0 100 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(
    shape("rect", "back", { x: 0, y: 0, width: 100, height: 8 }),
    ...parts.filter(([, , to]) => to > 0).map(([className, from, to]) => {
      const width = Math.max(0.5, 100 * (to - from));
      return shape("rect", `area ${className}`, { x: Math.min(99.5, 100 * from), y: 0, width, height: 8 });
    }),
  );
}
