// Numbers: as texts, on axes, smoothed.

const grouped = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 2 });

// Five significant digits.
const short = (value) => {
  const size = Math.abs(value);
  if (value === 0 || !Number.isFinite(value)) return String(value);
  if (size >= 1e-4 && size < 1e6) return String(Number(value.toPrecision(5)));
  return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
};

// Sums of differences.
const sums = (differences, unit) => {
  let sum = 0;
  return differences.map((difference) => (sum += difference) / unit);
};

// An exponential moving average without the bias towards its start, as TensorBoard's: what is not there is left out.
const smoothed = (values, weight) => {
  let last = 0;
  let count = 0;
  return values.map((value) => {
    if (value === null) return null;
    last = last * weight + value * (1 - weight);
    count += 1;
    return last / (1 - weight ** count);
  });
};

// Round numbers within an interval, about as many as wanted.
const ticks = (low, high, wanted) => {
  const rough = (high - low) / Math.max(wanted, 1);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((factor) => factor * unit >= rough * 0.7) ?? 10);
  const all = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6 && all.length < 50; i++) all.push(i * step);
  return { all, step };
};

// Powers of ten, and what is between them if they are few.
const logTicks = (low, high, wanted) => {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.max(1, Math.ceil((to - from) / wanted));
  const factors = to - from <= 1 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : to - from <= 3 ? [1, 2, 5] : [1];
  const all = [];
  for (let power = from; power <= to; power += every) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999999 && value <= high * 1.000001) all.push(value);
    }
  }
  return all.length >= 2 ? { all, step: 0 } : ticks(low, high, wanted);
};

const exponential = (value, digits) => value.toExponential(digits).replace(/\.?0+e/, "e").replace("e+", "e");

// The numbers of an axis, with no more digits than tell each from its neighbours. A step of 0 is a logarithmic scale.
const tickTexts = ({ all, step }) => {
  const largest = Math.max(...all.map(Math.abs));
  const text = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (step === 0) return size >= 1e5 || size < 1e-3 ? exponential(value, 0) : String(Number(value.toPrecision(3)));
    if (largest >= 1e6 || largest < 1e-3 || step < largest * 1e-6) {
      return exponential(value, Math.min(8, Math.max(0, Math.floor(Math.log10(size)) - Math.floor(Math.log10(step) + 1e-6))));
    }
    return value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-6)));
  };
  return all.map(text);
};

// Steps, epochs or a time on an axis.
const countTexts = ({ all, step }) => {
  const largest = Math.max(...all.map(Math.abs));
  const [unit, name] = largest >= 1e6 ? [1e6, "M"] : largest >= 1e4 ? [1e3, "k"] : [1, ""];
  const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-6));
  return all.map((value) => (value === 0 ? "0" : (value / unit).toFixed(digits) + name));
};

// Where in a list a number is nearest, among those that are there.
const nearest = (xs, ys, x) => {
  let best = -1;
  for (let i = 0; i < xs.length; i++) {
    if (ys[i] !== null && (best < 0 || Math.abs(xs[i] - x) < Math.abs(xs[best] - x))) best = i;
  }
  return best;
};
