// How single values are shown.
import { html, useState } from '../html.js';
import { Copy } from './copy.js';

const KINDS = {
  good: ['completed', 'active', 'processed', 'succeeded', 'enabled', 'accepted', 'ready', 'uploaded', 'delivered'],
  bad: ['failed', 'expired', 'error', 'disabled', 'revoked'],
  going: ['queued', 'in_progress', 'running', 'validating', 'validating_files', 'finalizing', 'pending'],
  warning: ['requires_action', 'cancelling', 'incomplete', 'paused'],
};
const kindOf = (value) => Object.keys(KINDS).find((kind) => KINDS[kind].includes(value)) ?? 'still';

/** The state of a thing as the API names it, with a colour for its kind. */
export function Status({ value }) {
  return html`<span class=${`status status-${kindOf(value)}`}>${String(value).replaceAll('_', ' ')}</span>`;
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const YEAR = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });

/** A moment of Unix seconds, in the reader's own words: the time today, the day before that. */
export function Time({ at }) {
  const date = new Date(at * 1000);
  if (at === null || at === undefined || Number.isNaN(date.getTime())) return html`<span class="faint">–</span>`;
  const now = new Date();
  const today = date.toDateString() === now.toDateString();
  const form = today ? CLOCK : date.getFullYear() === now.getFullYear() ? DAY : YEAR;
  return html`<time class="time" datetime=${date.toISOString()} title=${FULL.format(date)}>${form.format(date)}</time>`;
}

/** An id, with a button that copies it; with `href` it leads there. */
export function Id({ value, href }) {
  if (!value) return html`<span class="faint">–</span>`;
  const code = html`<code>${value}</code>`;
  return html`
    <span class="id">${href ? html`<a href=${href}>${code}</a>` : code}<${Copy} small text=${value} label=${`Copy ${value}`} /></span>
  `;
}

const NUMBER = new Intl.NumberFormat();
/** 12345 as the reader writes it. */
export const number = (value) => (value === null || value === undefined ? '–' : NUMBER.format(value));
/** A duration of seconds: 0.42 s, 12.3 s, 4 min 10 s. */
export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (value < 59.95) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** The first `length` UTF-16 units of a text, without half a character at its end. */
export function cut(text, length) {
  const end = /[\uD800-\uDBFF]/.test(text[length - 1] ?? '') ? length - 1 : length;
  return text.slice(0, end);
}

/** A text whatever is in it: as text, cut where it is long, with a button for the rest. `code` keeps its spaces. */
export function LongText({ text, code, length = 4000 }) {
  const [whole, setWhole] = useState(false);
  const all = String(text ?? '');
  const long = all.length > length;
  const shown = long && !whole ? cut(all, length) : all;
  return html`
    <div class="long-text">
      ${code
        ? html`<pre class="code" tabindex="0"><code>${shown}</code></pre>`
        : html`<p class="prose" dir="auto">${shown}</p>`}
      ${long &&
      html`
        <button type="button" class="button button-quiet" aria-expanded=${String(whole)} onClick=${() => setWhole(!whole)}>
          ${whole ? 'Show less' : `Show all ${number(all.length)} characters`}
        </button>
      `}
    </div>
  `;
}

/** A value as JSON, indented. */
export function Json({ value }) {
  return html`<${LongText} code text=${JSON.stringify(value, null, 2) ?? ''} />`;
}

/** How much of `max` is used. `label` names it for those who hear it. */
export function Bar({ value, max, label }) {
  const part = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  const kind = part >= 1 ? 'full' : part >= 0.8 ? 'high' : '';
  return html`
    <div
      class=${`bar ${kind}`}
      role="meter"
      aria-label=${label}
      aria-valuemin="0"
      aria-valuemax=${max}
      aria-valuenow=${Math.min(value, max)}
      aria-valuetext=${`${number(value)} of ${number(max)}`}
    >
      <div class="bar-fill" style=${{ width: `${part * 100}%` }}></div>
    </div>
  `;
}
