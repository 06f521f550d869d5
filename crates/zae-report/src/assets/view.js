// What all charts have in common: the horizontal axis, how much is smoothed, what is zoomed into, which runs are seen.

const data = JSON.parse(document.getElementById("data").textContent);

const view = { axis: "step", smooth: 0.6, zoom: null, hidden: new Set(), charts: [], waiting: false };

// Steps in epochs: between two steps at which an epoch begins there is a straight line. `null` if no epoch's length is known.
const epochsOf = (run) => {
  const known = run.beginnings;
  if (known.length === 0) return null;
  const slopeAfter = (i) => {
    if (i + 1 < known.length) return (known[i + 1][1] - known[i][1]) / (known[i + 1][0] - known[i][0]);
    if (run.steps_per_epoch) return 1 / run.steps_per_epoch;
    return i > 0 ? slopeAfter(i - 1) : NaN;
  };
  if (!Number.isFinite(slopeAfter(known.length - 1))) return null;
  return (step) => {
    let i = known.length - 1;
    while (i > 0 && known[i][0] > step) i--;
    return known[i][1] + (step - known[i][0]) * slopeAfter(i);
  };
};
const epochs = data.runs.map(epochsOf);

for (const curve of data.sections.flatMap((section) => section.charts.flatMap((chart) => chart.curves))) {
  curve.step = sums(curve.s, 1);
  curve.time = sums(curve.t, 1000);
  curve.odd ??= [];
  curve.x = {};
}

// A place of a curve on the present axis.
const place = (curve, step, time) => {
  if (view.axis === "time") return time;
  return view.axis === "step" ? step : epochs[curve.run](step);
};
const places = (curve) => (curve.x[view.axis] ??= curve.step.map((step, i) => place(curve, step, curve.time[i])));

const seen = (curve) => !view.hidden.has(curve.run);

// The interval of all that is seen, the same for all charts.
const whole = () => {
  let [low, high] = [Infinity, -Infinity];
  for (const chart of view.charts) {
    for (const curve of chart.curves.filter(seen)) {
      const xs = places(curve);
      if (xs.length > 0) [low, high] = [Math.min(low, xs[0]), Math.max(high, xs[xs.length - 1])];
    }
  }
  if (!(low <= high)) return [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
};

// Units in which the axis is written.
const axisUnit = ([, high]) => {
  if (view.axis !== "time") return { per: 1, name: view.axis };
  if (high < 180) return { per: 1, name: "s" };
  return high < 3 * 3600 ? { per: 60, name: "min" } : { per: 3600, name: "h" };
};

const redraw = () => {
  if (view.waiting) return;
  view.waiting = true;
  requestAnimationFrame(() => {
    view.waiting = false;
    const interval = view.zoom ?? whole();
    for (const chart of view.charts) chart.draw(interval);
    for (const changed of view.changed) changed();
  });
};
view.changed = [];

const zoomTo = (from, to) => {
  const [first, last] = whole();
  const [low, high] = [Math.max(first, Math.min(from, to)), Math.min(last, Math.max(from, to))];
  if (low === first && high === last) view.zoom = null;
  else if (high - low > 1e-9 * Math.max(1, Math.abs(high))) view.zoom = [low, high];
  redraw();
};
const unzoom = () => {
  view.zoom = null;
  redraw();
};
