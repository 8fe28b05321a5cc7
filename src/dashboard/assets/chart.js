// The overview's chart: requests as stacked bars, cost as a line on an axis of its own.
"use strict";
(() => {
  const place = document.getElementById("chart");
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const [day, answered, other, cost, requests] = data.words;
  const { locale } = cfx;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });
  const whole = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" });
  const count = new Intl.NumberFormat(locale, { notation: "compact" });
  const exact = new Intl.NumberFormat(locale);
  const money = new Intl.NumberFormat(locale, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumFractionDigits: 4 });
  const at = (seconds) => new Date(seconds * 1000);
  const all = data.answered.map((number, index) => number + data.other[index]);
  const bars = uPlot.paths.bars({ size: [0.7, 40], radius: 0.15 });

  let chart;
  const draw = () => {
    chart?.destroy();
    const soft = colour("--soft");
    const axis = { stroke: soft, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("--line"), width: 1 };
    chart = new uPlot({
      width: place.clientWidth,
      height: 280,
      tzDate: (seconds) => uPlot.tzDate(at(seconds), "Etc/UTC"),
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { range: (_, low, high) => [low - 43200, high + 43200] },
        y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] },
        usd: { range: (_, low, high) => [0, Math.max(high * 1.1, 0.01)] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 70, values: (_, ticks) => ticks.map((tick) => short.format(at(tick))) },
        { ...axis, grid, label: requests, labelSize: 22, size: 46, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? count.format(tick) : "") },
        { ...axis, side: 1, scale: "usd", grid: { show: false }, label: cost, labelSize: 22, size: 62, values: (_, ticks) => ticks.map((tick) => money.format(tick)) },
      ],
      series: [
        { label: day, value: (_, tick) => tick == null ? "–" : whole.format(at(tick)) },
        { label: other, fill: colour("--vermillion"), stroke: colour("--vermillion"), width: 0, paths: bars, points: { show: false }, value: (_, __, ___, index) => index == null ? "–" : exact.format(data.other[index]) },
        { label: answered, fill: colour("--sky"), stroke: colour("--sky"), width: 0, paths: bars, points: { show: false }, value: (_, number) => number == null ? "–" : exact.format(number) },
        { label: cost, scale: "usd", stroke: colour("--cost-line"), width: 2, points: { show: true, size: 5, fill: colour("--cost-line") }, value: (_, number) => number == null ? "–" : money.format(number) },
      ],
    }, [data.days, all, data.answered, data.cost], place);
  };
  draw();
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    chart.setSize({ width, height: 280 });
  }).observe(place);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);
})();
