// The frame of a page, and what it says: notes and errors.
import { html, useEffect } from '../html.js';
import { href } from '../router.js';
import { LongText } from './values.js';

/** Characters of an error that are shown at first: some hold the whole page of a proxy, or what a model was asked. */
const OF_ERROR = 1200;

/**
 * A page: its heading, a sentence under it, what can be done on the whole of it, and the rest. `back`: {href, label} of
 * the page that it belongs to.
 */
export function Page({ title, lead, actions, back, wide, children }) {
  useEffect(() => {
    document.title = `${title} · Everloom`;
  }, [title]);
  return html`
    <div class=${wide ? 'page wide' : 'page'}>
      <header class="page-head">
        <div class="page-title">
          ${back && html`<p class="back"><a href=${back.href}>${back.label}</a></p>`}
          <h1 id="title" tabindex="-1">${title}</h1>
          ${lead && html`<p class="lead">${lead}</p>`}
        </div>
        ${actions && html`<div class="actions">${actions}</div>`}
      </header>
      ${children}
    </div>
  `;
}

/** A remark. `kind`: info (as it is), good, warning or bad. */
export function Note({ kind = 'info', children }) {
  return html`<div class=${`note note-${kind}`} role=${kind === 'bad' ? 'alert' : 'note'}>${children}</div>`;
}

/** What an error says, its request's id for the log, and what can be done about it. Nothing where there is none. */
export function ErrorNote({ error, retry }) {
  if (!error) return null;
  const told = String(error.message || error);
  const wantsKey = error.code === 'no_admin_key' || error.status === 401;
  return html`
    <${Note} kind="bad">
      ${told.length > OF_ERROR ? html`<${LongText} text=${told} length=${OF_ERROR} />` : html`<p dir="auto">${told}</p>`}
      ${error.param && html`<p class="fine">Parameter: <code>${error.param}</code></p>`}
      ${error.requestId && html`<p class="fine">Request: <code>${error.requestId}</code></p>`}
      ${wantsKey && html`<p><a href=${href('/key')}>Enter a key</a></p>`}
      ${retry && html`<p><button type="button" class="button button-quiet" onClick=${retry}>Try again</button></p>`}
    <//>
  `;
}
