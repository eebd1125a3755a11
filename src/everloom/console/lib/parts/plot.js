// Numbers over time: a drawing of uPlot, and the same numbers as a table.
import { html, useEffect, useRef, useState } from '../html.js';
import uPlot from '../../vendor/uplot.js';
import { number } from './values.js';

const COLOURS = ['--plot-1', '--plot-2', '--plot-3', '--plot-4', '--plot-5', '--plot-6'];
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** The series on one axis of time, as uPlot takes them; null where one has no point. */
function joined(series) {
  const times = [...new Set(series.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => a - b);
  const columns = series.map((one) => {
    const byTime = new Map(one.points);
    return times.map((at) => byTime.get(at) ?? null);
  });
  return [times, ...columns];
}

function draw(box, series, unit) {
  const look = getComputedStyle(document.documentElement);
  const colour = (name) => look.getPropertyValue(name).trim();
  const axis = { stroke: colour('--ink-3'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  const data = joined(series);
  const alone = data[0].length < 2;
  const options = {
    width: box.clientWidth || 600,
    height: 220,
    legend: { live: false },
    cursor: { drag: { x: false, y: false }, y: false },
    scales: { y: { range: (plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
    axes: [axis, { ...axis, size: 64, values: (plot, ticks) => ticks.map(number) }],
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

function Numbers({ title, series, unit }) {
  const [times, ...columns] = joined(series);
  return html`
    <div class="table-box short" tabindex="0" role="region" aria-label=${`${title}: numbers`}>
      <table class="table plain">
        <caption class="unseen">${title}</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            ${series.map((one) => html`<th scope="col" class="numeric">${one.label}${unit ? ` (${unit})` : ''}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${times.map(
            (at, row) => html`
              <tr key=${at}>
                <th scope="row">${MOMENT.format(new Date(at * 1000))}</th>
                ${columns.map((column) => html`<td class="numeric">${number(column[row])}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** `series`: [{label, points: [[unixSeconds, value]]}]. Drawn anew when the window's width or its colours change. */
export function Plot({ title, series, unit }) {
  const box = useRef(null);
  const [open, setOpen] = useState(false);
  const known = JSON.stringify([series, unit]);
  useEffect(() => {
    let plot = draw(box.current, series, unit);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const anew = () => {
      plot.destroy();
      plot = draw(box.current, series, unit);
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
        ${open && html`<${Numbers} title=${title} series=${series} unit=${unit} />`}
      </details>
    </figure>
  `;
}
