// The page: its charts and controls.

const controls = document.getElementById("controls");
const place_of_charts = document.getElementById("charts");

const choice = () => {
  const known = epochs.every((epoch) => epoch !== null);
  const options = [["step", "Step", true], ["epoch", "Epoch", known], ["time", "Time", true]];
  const labels = options.map(([value, text, there]) => {
    const input = html("input", { type: "radio", name: "axis", value, checked: value === view.axis, disabled: !there });
    input.addEventListener("change", () => {
      view.axis = value;
      unzoom();
    });
    return html("label", there ? {} : { title: "no epoch has ended yet" }, input, text);
  });
  return html("fieldset", { "aria-label": "Horizontal axis" }, html("div", { class: "choice" }, ...labels));
};

const smoothing = () => {
  const input = html("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.smooth });
  const output = html("output", {}, view.smooth.toFixed(2));
  input.addEventListener("input", () => {
    view.smooth = Number(input.value);
    output.textContent = view.smooth.toFixed(2);
    redraw();
  });
  const title = "A moving average over steps. Evaluations are means already, and stay as they are.";
  return html("label", { title }, "Smoothing", input, output);
};

const reset = () => {
  const button = html("button", { type: "button", hidden: true }, "Show all");
  button.addEventListener("click", unzoom);
  view.changed.push(() => (button.hidden = view.zoom === null));
  return button;
};

const filter = () => {
  const input = html("input", { type: "search", placeholder: "Filter", "aria-label": "Filter charts by name" });
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const { element, curves } of view.charts) {
      element.hidden = !curves.some(({ name }) => name.toLowerCase().includes(wanted));
    }
    redraw();
  });
  return input;
};

const toggle = (box) => {
  const run = Number(box.dataset.toggle);
  view.hidden[box.checked ? "delete" : "add"](run);
  box.closest(".run").classList.toggle("off", !box.checked);
  for (const element of document.querySelectorAll(`:not(path)[data-run="${run}"]`)) {
    // The first cell of a row that others share a heading with cannot go.
    const row = element.closest("table:not(.pairs) tr");
    if (row) row.classList.toggle("off", !box.checked);
    else element.hidden = !box.checked;
  }
  redraw();
};

const start = () => {
  for (const { title, open, charts } of data.sections) {
    const own = charts.map((chart) => new Chart(chart));
    view.charts.push(...own);
    const grid = html("div", { class: "charts" }, ...own.map(({ element }) => element));
    if (title === "") {
      place_of_charts.append(grid);
      continue;
    }
    const group = html("details", { class: "group", open }, html("summary", {}, html("h3", { style: "display:inline" }, title)), grid);
    group.addEventListener("toggle", redraw);
    place_of_charts.append(group);
  }
  if (view.charts.length === 0) {
    place_of_charts.append(html("p", { class: "muted" }, "The log has no numbers yet."));
    return;
  }
  controls.append(choice(), smoothing(), ...(view.charts.length > 8 ? [filter()] : []), reset());
  const several = data.runs.length > 1;
  for (const box of document.querySelectorAll("[data-toggle]")) {
    // A browser that goes back to the page has kept them.
    box.checked = true;
    box.addEventListener("change", () => toggle(box));
  }
  if (several) {
    for (const box of document.querySelectorAll("[data-differs]")) {
      const rows = box.closest("details").querySelectorAll("tbody tr:not(.differs)");
      const show = () => rows.forEach((row) => (row.hidden = box.checked));
      box.addEventListener("change", show);
      show();
    }
  }
  new ResizeObserver(redraw).observe(place_of_charts);
  redraw();
};

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
for (const time of document.querySelectorAll("time[data-ms]")) {
  const date = new Date(Number(time.dataset.ms));
  time.dateTime = date.toISOString();
  time.textContent = dates.format(date);
}
start();
