// Draws each plot of #plots into its place, in the colours of the page, as wide as there is room.
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const HEIGHT = 230;
  let drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size >= 1e4) return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
    return Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(value);
  };
  const moment = (seconds) => {
    if (seconds == null) return "–";
    if (seconds < 120) return `${+seconds.toFixed(2)} s`;
    return seconds < 7200 ? `${+(seconds / 60).toFixed(1)} min` : `${+(seconds / 3600).toFixed(2)} h`;
  };

  // Rows upon each other: each line is the sum of its row and those below it.
  const stacked = (lines) => {
    let below = null;
    return lines.map(({ values }) => {
      below = values.map((value, i) => (value ?? 0) + (below ? below[i] : 0));
      return below;
    });
  };

  // The farm's deaths, as dashed lines through the plot.
  const marks = (moments) => ({
    hooks: { draw: (u) => {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.strokeStyle = colour("--bad");
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      for (const at of moments) {
        const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      }
      ctx.restore();
    } },
  });

  const width = (u, labels) => (labels ? Math.max(...labels.map((label) => (label ?? "").length)) * 7 + 22 : 44);

  function draw(place, plot) {
    const last = plot.x[plot.x.length - 1] ?? 0;
    const stack = plot.kind === "stack";
    const rows = stack ? stacked(plot.lines) : plot.lines.map((line) => line.values.map(
      (value) => (plot.log && !(value > 0) ? null : value)));
    // A value that holds for its step is drawn to the step's end.
    const step = plot.x.length > 1 ? plot.x[1] - plot.x[0] : 1;
    const isStep = plot.kind === "steps" || stack;
    const x = isStep ? [...plot.x, last + step] : plot.x;
    const data = [x, ...rows.map((row) => (isStep ? [...row, row[row.length - 1] ?? null] : row))];
    const raw = plot.lines.map((line) => line.values);
    const series = plot.lines.map((line, i) => {
      const own = line.bound ? colour("--muted") : colour(`--c${i % 8}`);
      return {
        label: line.label, stroke: own, width: line.bound ? 1.5 : 1.75, dash: line.bound ? [6, 4] : undefined,
        spanGaps: !isStep, fill: stack ? own + "99" : undefined,
        points: plot.kind === "points" ? { show: true, size: 5, fill: own, stroke: own } : { show: x.length < 3, size: 7 },
        paths: plot.kind === "points" ? () => null : isStep ? uPlot.paths.stepped({ align: 1 }) : undefined,
        value: (u, value, s, at) => (at == null ? "" : number(raw[i][Math.min(at, raw[i].length - 1)])),
      };
    });
    const axis = { stroke: colour("--muted"), font: "12px system-ui, sans-serif",
      grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1, size: 4 } };
    const top = (u, low, high) => [0, plot.top ?? ((high || 1) * 1.08)];
    return new uPlot({
      width: place.clientWidth, height: HEIGHT,
      scales: { x: { time: false },
        y: plot.log ? { distr: 3 } : { range: top } },
      axes: [{ ...axis, values: (u, ticks) => ticks.map(moment), space: 64, size: 32 },
        { ...axis, values: (u, ticks) => ticks.map((tick) => (tick == null ? null : number(tick))), size: width }],
      series: [{ label: "time", value: (u, value) => (value == null ? "" : moment(value)) }, ...series],
      legend: { markers: { fill: (u, i) => u.series[i].stroke() } },
      bands: stack ? rows.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : undefined,
      cursor: { sync: { key: "page" }, drag: { x: true, y: false }, y: false, points: { show: plot.kind !== "stack" } },
      // All plots show the same time; dragging chooses a part of it for all, a double click goes back.
      hooks: { ready: [(u) => u.setScale("x", { min: 0, max: Math.max(plot.end, step) })] },
      plugins: plot.marks.length ? [marks(plot.marks)] : [],
    }, data, place);
  }

  function drawAll() {
    drawn.forEach((u) => u.destroy());
    drawn = [...document.querySelectorAll("[data-plot]")].map((place) => draw(place, plots[place.dataset.plot]));
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("resize", () => drawn.forEach((u) => {
    const room = u.root.parentNode.clientWidth;
    if (room !== u.width) u.setSize({ width: room, height: HEIGHT });
  }));
})();
