// Charts of values over time, as lines or stacked bars. A null value is unknown, and leaves a gap.
//
// Screen readers get a summary and the table below the drawing.

import { fill, h, svg } from "../dom.js";
import { compact, int } from "../format.js";
import { table } from "./table.js";

/** @typedef {{name: string, values: (number | null)[]}} Series */
/**
 * @typedef {{label: string, times: number[], step_ms: number, series: Series[], kind?: "lines" | "bars",
 *   height?: number, format?: (value: number) => string, timeLabel?: (time: number) => string,
 *   decimals?: boolean}} ChartOptions `times` are Unix ms, one for each value; `step_ms` is how long each lasts;
 *   `decimals` allows values that are not whole numbers
 */

const MARGIN = { top: 8, right: 8, bottom: 20, left: 44 };
const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];

/** @param {number} index */
export const colour = (index) => `var(${COLOURS[index % COLOURS.length]})`;

/** @param {ChartOptions} first */
export function chart(first) {
  let options = first;
  const drawing = svg("svg", { role: "img", tabindex: "0" });
  const tip = h("div", { class: "chart-tip", hidden: true });
  const plot = h("div", { class: "chart-plot", style: { "--chart-height": `${(first.height ?? 176) / 16}rem` } }, drawing, tip);
  const legend = h("ul", { class: "chart-legend" });
  const figures = h("details", null, h("summary", null, "Data table"));
  const element = h("figure", { class: "chart" }, plot, legend, figures);
  let at = -1;

  const draw = () => {
    const { series, label, kind } = options;
    const width = drawing.clientWidth || 600;
    const height = drawing.clientHeight || 176;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("aria-label", summary(options));
    const scale = scaleOf(options, width, height);
    fill(drawing, grid(scale, width, height, options),
      kind === "bars" ? bars(options, scale) : lines(options, scale),
      cursor(scale, height, at));
    fill(legend, series.length > 1 && series.map((one, index) =>
      h("li", { style: { "--colour": colour(index) } }, one.name)));
    if (figures.open) showFigures();
    showTip(scale, width);
    element.setAttribute("aria-label", label);
  };

  /** @param {Scale} scale @param {number} width */
  const showTip = (scale, width) => {
    const time = options.times[at];
    tip.hidden = time === undefined;
    if (time === undefined) return;
    const x = scale.x(at) + scale.step / 2;
    tip.style.insetInlineStart = x > width / 2 ? "auto" : `${x + 10}px`;
    tip.style.insetInlineEnd = x > width / 2 ? `${width - x + 10}px` : "auto";
    fill(tip, h("strong", null, timeText(options, time)),
      options.series.map((one) => h("div", null, `${one.name}: ${value(options, one.values[at])}`)));
  };

  const showFigures = () => {
    const { times, series, label } = options;
    const shown = times.map((time, index) => ({ time, index })).filter(({ index }) =>
      series.some((one) => one.values[index])).reverse();
    figures.querySelector(".table-frame")?.remove();
    figures.append(table({
      caption: `${label}, data table`,
      columns: [
        { label: "Time (UTC)", cell: (row) => timeText(options, row.time), kind: "nowrap" },
        ...series.map((one) => ({
          label: one.name, kind: /** @type {const} */ ("number"),
          cell: (/** @type {{index: number}} */ row) => value(options, one.values[row.index]),
        })),
      ],
      rows: shown.slice(0, 400),
    }));
  };
  figures.addEventListener("toggle", () => figures.open && showFigures());

  const point = (/** @type {number} */ to) => {
    at = to < 0 || to >= options.times.length ? -1 : to;
    draw();
  };
  drawing.addEventListener("pointermove", (event) => {
    const width = drawing.clientWidth;
    point(scaleOf(options, width, drawing.clientHeight).at(event.offsetX));
  });
  drawing.addEventListener("pointerleave", () => point(-1));
  drawing.addEventListener("blur", () => point(-1));
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    point(at < 0 ? options.times.length - 1 : Math.max(0, Math.min(options.times.length - 1, at + step)));
  });
  new ResizeObserver(draw).observe(plot);

  return Object.assign(element, {
    /** Replaces the figures. @param {Partial<ChartOptions>} changed */
    update(changed) {
      options = { ...options, ...changed };
      draw();
    },
  });
}

/** @typedef {{x: (index: number) => number, y: (value: number) => number, at: (x: number) => number, step: number, top: number}} Scale */

/** @param {ChartOptions} options @param {number} width @param {number} height @returns {Scale} */
function scaleOf({ times, series, kind, decimals = false }, width, height) {
  const totals = times.map((_, index) => {
    const values = series.map((one) => one.values[index] ?? 0);
    return kind === "bars" ? values.reduce((sum, one) => sum + one, 0) : Math.max(0, ...values);
  });
  const top = nice(totals.reduce((most, one) => Math.max(most, one), 0), decimals);
  const [plotWidth, plotHeight] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const step = plotWidth / Math.max(1, times.length);
  return {
    top,
    step,
    x: (index) => MARGIN.left + index * step,
    y: (of) => MARGIN.top + plotHeight * (1 - of / top),
    at: (x) => Math.floor((x - MARGIN.left) / step),
  };
}

/** The top of the scale: a round number, at least `value`. @param {number} value @param {boolean} decimals */
function nice(value, decimals) {
  if (value <= 4 && !decimals) return 4;
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (([1, 2, 4, 5].find((times) => times * power >= value) ?? 10)) * power;
}

const digits = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** `0.0125` @param {number} value */
const precise = (value) => digits.format(value);

/** @param {Scale} scale @param {number} width @param {number} height @param {ChartOptions} options */
function grid(scale, width, height, options) {
  const rows = [0, 0.25, 0.5, 0.75, 1].map((part) => scale.top * part).filter((of) => options.decimals || Number.isInteger(of));
  const room = Math.max(2, Math.floor((width - MARGIN.left) / 90));
  const every = Math.max(1, Math.ceil(options.times.length / room));
  return [
    rows.map((of) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: scale.y(of), y2: scale.y(of) }),
      svg("text", { x: MARGIN.left - 6, y: scale.y(of) + 4, "text-anchor": "end" }, options.decimals ? precise(of) : compact(of)),
    ]),
    options.times.map((time, index) => index % every === 0 &&
      svg("text", { x: scale.x(index) + (options.kind === "bars" ? scale.step / 2 : 0), y: height - 4, "text-anchor": index === 0 && options.kind !== "bars" ? "start" : "middle" },
        shortTime(time, options.step_ms))),
  ];
}

/** @param {ChartOptions} options @param {Scale} scale */
function lines({ series, times }, scale) {
  const bottom = scale.y(0);
  return series.map((one, index) => {
    const runs = runsOf(one.values);
    const points = (/** @type {number[]} */ run) =>
      run.map((of) => `${(scale.x(of) + scale.step / 2).toFixed(1)} ${scale.y(one.values[of] ?? 0).toFixed(1)}`).join("L");
    return runs.map((run) => {
      const [from, to] = [run[0] ?? 0, run[run.length - 1] ?? 0];
      const path = `M${points(run)}${run.length === 1 ? "h1" : ""}`;
      const edge = (/** @type {number} */ of) => (scale.x(of) + scale.step / 2).toFixed(1);
      return [
        series.length === 1 && times.length > 1 &&
          svg("path", { class: "area", d: `${path}L${edge(to)} ${bottom}L${edge(from)} ${bottom}Z`, fill: colour(index) }),
        svg("path", { class: "line", d: path, stroke: colour(index) }),
      ];
    });
  });
}

/** Runs of indexes without a gap. @param {(number | null)[]} values */
function runsOf(values) {
  /** @type {number[][]} */
  const runs = [];
  values.forEach((of, index) => {
    if (of === null) return;
    if (index > 0 && values[index - 1] !== null && runs.length) runs[runs.length - 1]?.push(index);
    else runs.push([index]);
  });
  return runs;
}

/** @param {ChartOptions} options @param {Scale} scale */
function bars({ series, times }, scale) {
  const width = Math.max(1, Math.min(scale.step - 1, 0.82 * scale.step));
  return times.map((_, at) => {
    let below = 0;
    return series.map((one, index) => {
      const of = one.values[at] ?? 0;
      if (of <= 0) return false;
      const [from, to] = [scale.y(below), scale.y(below + of)];
      below += of;
      return svg("rect", {
        x: scale.x(at) + (scale.step - width) / 2, y: to, width, height: Math.max(0.5, from - to), fill: colour(index),
      });
    });
  });
}

/** @param {Scale} scale @param {number} height @param {number} at */
function cursor(scale, height, at) {
  if (at < 0) return null;
  const x = scale.x(at) + scale.step / 2;
  return svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom });
}

/** @param {ChartOptions} options @param {number | null | undefined} of */
const value = (options, of) => (of === null || of === undefined ? "unknown" : (options.format ?? int)(of));

/** @param {ChartOptions} options @param {number} time */
const timeText = (options, time) => options.timeLabel?.(time) ??
  (options.step_ms >= 86_400_000 ? iso(time).slice(0, 10) : iso(time).slice(0, 16).replace("T", " "));

/** @param {number} time */
const iso = (time) => new Date(time).toISOString();

/** @param {number} time @param {number} step_ms */
const shortTime = (time, step_ms) => (step_ms >= 86_400_000 ? iso(time).slice(5, 10) : iso(time).slice(11, 16));

/** @param {ChartOptions} options */
function summary(options) {
  const sums = options.series.map((one) => {
    const known = one.values.filter((of) => of !== null);
    const most = known.reduce((all, of) => Math.max(all, of), 0);
    return `${one.name} at most ${value(options, most)}`;
  });
  return `${options.label}: ${sums.join(", ")}. Use the arrow keys to read the values.`;
}
