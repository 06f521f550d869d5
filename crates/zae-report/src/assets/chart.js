// One chart.

// The name of SVG, without saying it: this page has no address in it.
const namespace = (() => {
  const template = document.createElement("template");
  template.innerHTML = "<svg></svg>";
  return template.content.firstChild.namespaceURI;
})();

const set = (element, attributes, inside) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inside);
  return element;
};
const html = (name, attributes = {}, ...inside) => set(document.createElement(name), attributes, inside);
const svg = (name, attributes = {}, ...inside) => set(document.createElementNS(namespace, name), attributes, inside);

const rounded = (pixels) => Math.round(pixels * 10) / 10;
const narrow = matchMedia("(max-width: 36rem)");
// So many curves are told of in detail.
const MOST_DETAILED = 4;

class Chart {
  constructor({ title, curves }) {
    Object.assign(this, { title, curves, log: false, cursor: null });
    this.sets = [...new Set(curves.map((curve) => curve.set))];
    this.button = html("button", { type: "button", "aria-pressed": "false", title: "logarithmic scale" }, "log");
    this.button.addEventListener("click", () => {
      this.log = !this.log;
      this.button.setAttribute("aria-pressed", this.log);
      redraw();
    });
    const keys = "Arrow keys read values, plus and minus zoom, 0 shows all.";
    this.plot = svg("svg", { class: "plot", tabindex: 0, role: "group", "aria-label": `${title}. ${keys}` });
    this.readout = html("div", { class: "readout", role: "status", hidden: true });
    this.element = html(
      "figure", { class: "chart", "data-chart": title },
      html("figcaption", {}, html("h3", {}, title), this.button), this.legend(), this.plot, this.readout,
    );
    this.listen();
  }

  // With one run, colours tell data apart; with several, runs.
  colour(curve) {
    return `c${(data.runs.length > 1 ? curve.run : this.sets.indexOf(curve.set)) % 8}`;
  }

  // Evaluations have dots; those of further data are dashed.
  dashed(name) {
    return this.sets.indexOf(name) > 1;
  }

  legend() {
    const several = data.runs.length > 1;
    const items = this.sets.filter((name) => name !== "").map((name) => {
      const curves = this.curves.filter((curve) => curve.set === name);
      const line = svg(
        "svg", { width: 22, height: 8, class: several ? "ink" : this.colour(curves[0]), "aria-hidden": "true" },
        svg("path", { d: "M2,4H20", class: `curve${this.dashed(name) ? " dashed" : ""}` }),
      );
      if (!curves[0].steps) line.append(svg("path", { d: "M11,4h0", class: "dots" }));
      return html("span", {}, line, name);
    });
    const thinned = this.curves.find((curve) => curve.lo);
    if (thinned) items.push(html("span", {}, `mean and extremes of ${grouped(Math.round(thinned.points / thinned.s.length))} each`));
    const odd = this.curves.reduce((sum, curve) => sum + curve.odd_count, 0);
    if (odd > 0) items.push(html("span", {}, `${grouped(odd)} not finite`));
    return html("div", { class: "legend" }, ...items);
  }

  // The interval of what is seen of the curves: what was put together with its extremes, the rest as it is.
  range(shown, [from, to]) {
    let [low, high] = [Infinity, -Infinity];
    const add = (value) => {
      if (value === null || value === undefined || (this.log && value <= 0)) return;
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    };
    for (const { curve, xs } of shown) {
      // A line may cross what has no point within.
      xs.forEach((x, i) => {
        if ((xs[i + 1] ?? x) < from || (xs[i - 1] ?? x) > to) return;
        add(curve.y[i]);
        add(curve.lo?.[i]);
        add(curve.hi?.[i]);
      });
    }
    if (!(low <= high)) return null;
    if (this.log) return low < high ? [low / (high / low) ** 0.04, high * (high / low) ** 0.04] : [low / 2, high * 2];
    const margin = low < high ? (high - low) * 0.05 : Math.abs(low) * 0.1 || 1;
    return [low - margin, high + margin];
  }

  draw(interval) {
    const width = this.plot.clientWidth;
    if (width === 0 || this.element.closest("details:not([open])")) return;
    const height = narrow.matches ? 190 : 220;
    this.plot.replaceChildren();
    set(this.plot, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
    this.plot.style.height = `${height}px`;
    const shown = this.curves.filter(seen).map((curve) => ({
      curve, xs: places(curve), smooth: curve.steps && view.smooth > 0 ? smoothed(curve.y, view.smooth) : null,
    }));
    const range = this.range(shown, interval);
    this.drawn = null;
    this.readout.hidden = true;
    if (!range) {
      const what = this.log ? "nothing above 0 to show" : "nothing to show";
      this.plot.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, what));
      return;
    }
    const y = this.scaleY(range, height);
    const left = Math.max(28, ...y.texts.map((text) => text.length * 6.4 + 8));
    const x = { from: left, to: width - 8, low: interval[0], high: interval[1] };
    x.at = (value) => x.from + ((value - x.low) / (x.high - x.low)) * (x.to - x.from);
    x.back = (pixels) => x.low + ((pixels - x.from) / (x.to - x.from)) * (x.high - x.low);
    this.drawn = { shown, x, y, width, height };
    this.axes();
    const clip = `clip-${view.charts.indexOf(this)}`;
    const inside = svg("g", { "clip-path": `url(#${clip})` });
    this.plot.append(
      svg("clipPath", { id: clip }, svg("rect", { x: x.from - 4, y: 0, width: x.to - x.from + 8, height: y.from + 4 })), inside,
    );
    for (const one of shown) inside.append(...this.lines(one));
    if (this.cursor !== null) this.read(this.cursor);
  }

  scaleY([low, high], height) {
    const [from, to] = [height - 22, 8];
    const of = this.log ? Math.log : (value) => value;
    const at = (value) => from + ((of(value) - of(low)) / (of(high) - of(low))) * (to - from);
    const marks = (this.log ? logTicks : ticks)(low, high, 5);
    return { from, to, at, all: marks.all, texts: tickTexts(marks) };
  }

  axes() {
    const { x, y, height } = this.drawn;
    y.all.forEach((value, i) => {
      const at = Math.round(y.at(value)) + 0.5;
      this.plot.append(
        svg("path", { class: "grid", d: `M${x.from},${at}H${x.to}` }),
        svg("text", { x: x.from - 6, y: at + 3.5, "text-anchor": "end" }, y.texts[i]),
      );
    });
    const unit = axisUnit([x.low, x.high]);
    const name = unit.name;
    const end = x.to - name.length * 6.2 - 8;
    const marks = ticks(x.low / unit.per, x.high / unit.per, Math.max(2, (x.to - x.from) / 70));
    const texts = countTexts(marks);
    marks.all.forEach((value, i) => {
      const at = x.at(value * unit.per);
      if (at + texts[i].length * 3.2 > end) return;
      this.plot.append(svg("text", { x: at, y: height - 6, "text-anchor": "middle" }, texts[i]));
    });
    this.plot.append(svg("text", { x: x.to, y: height - 6, "text-anchor": "end" }, name));
  }

  // A path through points, interrupted where there are none, and how many it has.
  path(xs, ys) {
    const { x, y } = this.drawn;
    let [d, points, open] = ["", 0, false];
    xs.forEach((value, i) => {
      if (ys[i] === null || (this.log && ys[i] <= 0)) {
        open = false;
        return;
      }
      d += `${open ? "L" : "M"}${rounded(x.at(value))},${rounded(y.at(ys[i]))}`;
      // So that a single point is seen too.
      if (!open) d += "h0";
      open = true;
      points += 1;
    });
    return { d, "data-points": points };
  }

  lines({ curve, xs, smooth }) {
    const { x, y } = this.drawn;
    const of = (name) => ({ class: `${name} ${this.colour(curve)}`, "data-curve": curve.name, "data-run": curve.run });
    const parts = [];
    if (curve.lo) parts.push(svg("path", { ...of("band"), ...this.band(curve, xs) }));
    if (smooth) parts.push(svg("path", { ...of("raw"), ...this.path(xs, curve.y) }));
    const dash = this.dashed(curve.set) ? " dashed" : "";
    parts.push(svg("path", { ...of(`curve${dash}`), ...this.path(xs, smooth ?? curve.y) }));
    if (!curve.steps && xs.length <= 80) {
      const dots = xs.map((value, i) => [value, curve.y[i]]).filter(([, value]) => value !== null && !(this.log && value <= 0));
      const d = dots.map(([at, value]) => `M${rounded(x.at(at))},${rounded(y.at(value))}h0`).join("");
      parts.push(svg("path", { ...of("dots"), d, "data-points": dots.length }));
    }
    for (const [step, ms, what] of curve.odd) {
      const at = rounded(x.at(place(curve, step, ms / 1000)));
      const d = what === "−∞" ? `M${at - 4},${y.from - 7}h8l-4,7z` : `M${at - 4},${y.to + 7}h8l-4,-7z`;
      const text = `${curve.name} is ${what} at step ${grouped(step)}`;
      parts.push(svg("path", { ...of("odd"), d }, svg("title", {}, text)));
    }
    return parts;
  }

  // From the lowest to the highest of what was put together.
  band(curve, xs) {
    const { x, y } = this.drawn;
    let [d, points, up, down] = ["", 0, [], []];
    const close = () => {
      if (up.length > 0) d += `M${up.join("L")}L${down.reverse().join("L")}Z`;
      [up, down] = [[], []];
    };
    xs.forEach((value, i) => {
      let low = curve.lo[i];
      const high = curve.hi[i];
      if (low === null || high === null || (this.log && high <= 0)) return close();
      if (this.log && low <= 0) low = Number.MIN_VALUE;
      const at = rounded(x.at(value));
      up.push(`${at},${rounded(y.at(high))}`);
      down.push(`${at},${rounded(Math.min(y.at(low), y.from + 20))}`);
      points += 1;
    });
    close();
    return { d, "data-points": points };
  }

  // Shows what the curves are at a place, which is moved to the nearest point. A curve that has ended there says nothing.
  read(wanted) {
    const { shown, x } = this.drawn;
    const found = shown.map((one) => ({ ...one, i: nearest(one.xs, one.curve.y, wanted) })).filter(({ xs, i }) => {
      if (i < 0) return false;
      const gap = Math.max(xs[i + 1] - xs[i] || 0, xs[i] - xs[i - 1] || 0);
      return Math.abs(xs[i] - wanted) <= Math.max(gap / 2, (x.high - x.low) * 0.03);
    });
    this.forget();
    if (found.length === 0) return;
    const off = ({ xs, i }) => Math.abs(xs[i] - wanted);
    const first = found.reduce((a, b) => (off(b) < off(a) ? b : a));
    this.cursor = first.xs[first.i];
    const unit = axisUnit([x.low, x.high]);
    const where = (value) => (view.axis === "time" ? `${short(value / unit.per)} ${unit.name}` : `${view.axis} ${grouped(value)}`);
    const rows = found.map(({ curve, xs, i, smooth }) => {
      const name = [data.runs.length > 1 ? data.runs[curve.run].name : "", curve.set].filter((part) => part !== "").join(" ");
      const value = html("b", {}, short((smooth ?? curve.y)[i]));
      const row = html("p", {}, html("i", { class: `swatch ${this.colour(curve)}` }), html("span", {}, name), value);
      const beside = [];
      if (smooth) beside.push(`raw ${short(curve.y[i])}`);
      if (curve.lo) beside.push(`${short(curve.lo[i])} to ${short(curve.hi[i])}`);
      if (Math.abs(xs[i] - this.cursor) > (x.high - x.low) / 200) beside.push(`at ${where(xs[i])}`);
      if (beside.length > 0 && found.length <= MOST_DETAILED) row.append(html("small", {}, beside.join(", ")));
      return row;
    });
    this.readout.replaceChildren(html("p", { class: "muted" }, where(this.cursor)), ...rows);
    this.show(found.length);
  }

  // A few rows beside the cursor, on the side that has more room; more of them below the chart, which they would cover.
  show(rows) {
    const { x, y, width, height } = this.drawn;
    const at = x.at(this.cursor);
    this.plot.append(svg("path", { class: "cursor", d: `M${rounded(at)},${y.to}V${y.from}` }));
    this.readout.hidden = false;
    const box = this.plot.getBoundingClientRect();
    const outer = this.element.getBoundingClientRect();
    const own = this.readout.offsetWidth;
    const beside = box.left - outer.left + (at < width / 2 ? at + 12 : at - 12 - own);
    this.readout.style.left = `${Math.max(4, Math.min(beside, outer.width - own - 6))}px`;
    this.readout.style.top = `${box.top - outer.top + (rows <= MOST_DETAILED ? 6 : height + 4)}px`;
  }

  forget() {
    this.cursor = null;
    this.readout.hidden = true;
    this.plot.querySelector(".cursor")?.remove();
  }

  listen() {
    const { plot } = this;
    let begun = null;
    const pixels = (event) => {
      const { from, to } = this.drawn.x;
      return Math.max(from, Math.min(to, event.clientX - plot.getBoundingClientRect().left));
    };
    const selection = () => plot.querySelector(".zoom");
    const end = () => {
      begun = null;
      selection()?.remove();
    };
    plot.addEventListener("pointerdown", (event) => {
      if (!this.drawn || event.button !== 0) return;
      begun = pixels(event);
      if (event.isTrusted) plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", (event) => {
      if (!this.drawn) return;
      const at = pixels(event);
      if (begun !== null && Math.abs(at - begun) > 4) {
        this.forget();
        selection()?.remove();
        const { y } = this.drawn;
        const own = { x: Math.min(at, begun), y: y.to, width: Math.abs(at - begun), height: y.from - y.to };
        plot.append(svg("rect", { class: "zoom", ...own }));
        return;
      }
      this.read(this.drawn.x.back(at));
    });
    plot.addEventListener("pointerup", (event) => {
      const from = begun;
      end();
      if (from === null || !this.drawn || Math.abs(pixels(event) - from) <= 8) return;
      const { back } = this.drawn.x;
      zoomTo(back(from), back(pixels(event)));
    });
    plot.addEventListener("pointercancel", end);
    plot.addEventListener("pointerleave", () => begun === null && this.forget());
    plot.addEventListener("blur", () => this.forget());
    plot.addEventListener("dblclick", unzoom);
    plot.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (!this.drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    const { x } = this.drawn;
    const centre = this.cursor ?? (x.low + x.high) / 2;
    const around = (part) => zoomTo(centre - (centre - x.low) * part, centre + (x.high - centre) * part);
    const actions = {
      ArrowLeft: () => this.walk(-1), ArrowRight: () => this.walk(1), "+": () => around(0.5), "=": () => around(0.5),
      "-": () => view.zoom && around(2), 0: unzoom, Escape: () => this.forget(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  // To the next point of any curve.
  walk(direction) {
    const { shown, x } = this.drawn;
    const all = shown.flatMap(({ xs, curve }) => xs.filter((at, i) => curve.y[i] !== null && at >= x.low && at <= x.high));
    const from = this.cursor ?? (direction > 0 ? -Infinity : Infinity);
    const beyond = all.filter((at) => (at - from) * direction > 0);
    if (beyond.length === 0) return;
    this.read(beyond.reduce((a, b) => ((b - a) * direction < 0 ? b : a)));
  }
}
