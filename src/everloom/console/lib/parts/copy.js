// To the clipboard.
import { html, useEffect, useState } from '../html.js';
import { say } from './say.js';

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // Not over plain HTTP from another machine: the older way works there.
  }
  const box = document.createElement('textarea');
  box.value = text;
  box.className = 'unseen';
  const modal = [...document.querySelectorAll('dialog[open]')].pop();
  (modal ?? document.body).append(box);
  const focused = document.activeElement;
  box.select();
  document.execCommand('copy');
  box.remove();
  focused?.focus();
}

/** A button that copies `text`. With `small` it shows a sign alone, and `label` is its name. */
export function Copy({ text, label = 'Copy', small }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const press = async (event) => {
    event.stopPropagation();
    await copy(String(text));
    setDone(true);
    say('Copied');
  };
  return html`
    <button
      type="button"
      class=${small ? 'copy' : 'button button-quiet'}
      aria-label=${small ? label : undefined}
      title=${small ? label : undefined}
      onClick=${press}
    >
      <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
        ${done
          ? html`<path d="M3 8.5l3.2 3.2L13 4.8" />`
          : html`<rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 3V2.5h-8v8H3" />`}
      </svg>
      ${!small && html`<span>${done ? 'Copied' : label}</span>`}
    </button>
  `;
}
