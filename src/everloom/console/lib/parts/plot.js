// Numbers over time, or over steps: a drawing of uPlot, and the same numbers as a table.
import { html, useEffect, useRef, useState } from '../html.js';
import uPlot from '../../vendor/uplot.js';
import { number } from './values.js';

const COLOURS = ['--plot-1', '--plot-2', '--plot-3', '--plot-4', '--plot-5', '--plot-6'];
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** How far lines of a grid of steps may stand apart. */
const STEPS = [1, 10, 100, 1000, 10_000, 100_000].flatMap((unit) => [unit, 2 * unit, 5 * unit]);

/** The series on one axis, as uPlot takes them; null where one has no point. */
function joined(series) {
  const times = [...new Set(series.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => a - b);
  const columns = series.map((one) => {
    const byTime = new Map(one.points);
    return times.map((at) => byTime.get(at) ?? null);
  });
  return [times, ...columns];
}

function draw(box, series, unit, steps) {
  const look = getComputedStyle(document.documentElement);
  const colour = (name) => look.getPropertyValue(name).trim();
  const axis = { stroke: colour('--ink-3'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  const whole = steps ? { incrs: STEPS } : {};
  const data = joined(series);
  const alone = data[0].length < 2;
  const options = {
    width: box.clientWidth || 600,
    height: 220,
    legend: { live: false },
    cursor: { drag: { x: false, y: false }, y: false },
    scales: { x: { time: !steps }, y: { range: (plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
    axes: [{ ...axis, ...whole }, { ...axis, size: 64, values: (plot, ticks) => ticks.map(number) }],
    series: [
      {},
      ...series.map((one, i) => ({
        label: unit ? `${one.label} (${unit})` : one.label,
        stroke: colour(COLOURS[i % COLOURS.length]),
        width: 2,
        points: { show: alone },
      })),
    ],
  };
  return new uPlot(options, data, box);
}

function Numbers({ title, series, unit, steps }) {
  const [times, ...columns] = joined(series);
  return html`
    <div class="table-box short" tabindex="0" role="region" aria-label=${`${title}: numbers`}>
      <table class="table plain">
        <caption class="unseen">${title}</caption>
        <thead>
          <tr>
            <th scope="col">${steps ? 'Step' : 'Time'}</th>
            ${series.map((one) => html`<th scope="col" class="numeric">${one.label}${unit ? ` (${unit})` : ''}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${times.map(
            (at, row) => html`
              <tr key=${at}>
                <th scope="row">${steps ? number(at) : MOMENT.format(new Date(at * 1000))}</th>
                ${columns.map((column) => html`<td class="numeric">${number(column[row])}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** `series`: [{label, points: [[unixSeconds, value]]}], or with `steps` [[step, value]]. Drawn anew when the window's width or its colours change. */
export function Plot({ title, series, unit, steps = false }) {
  const box = useRef(null);
  const [open, setOpen] = useState(false);
  const known = JSON.stringify([series, unit, steps]);
  useEffect(() => {
    let plot = draw(box.current, series, unit, steps);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const anew = () => {
      plot.destroy();
      plot = draw(box.current, series, unit, steps);
    };
    const watch = new ResizeObserver(() => {
      const width = box.current?.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: plot.height });
    });
    watch.observe(box.current);
    dark.addEventListener('change', anew);
    return () => {
      watch.disconnect();
      dark.removeEventListener('change', anew);
      plot.destroy();
    };
  }, [known]);
  return html`
    <figure class="plot">
      <figcaption>${title}</figcaption>
      <div class="plot-box" ref=${box} aria-hidden="true"></div>
      <details onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>The numbers</summary>
        ${open && html`<${Numbers} title=${title} series=${series} unit=${unit} steps=${steps} />`}
      </details>
    </figure>
  `;
}
