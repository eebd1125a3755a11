// The models of the server, and how to get more.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Confirm } from '../lib/confirm.js';
import { CATALOGUE } from '../lib/catalogue.js';
import { session } from '../lib/session.js';
import { Bar, Button, Copy, ErrorNote, Field, LongText, Note, Page, Status, Table, Time, say, useThing } from '../lib/parts.js';
import { size, toTitle } from '../lib/work.js';

const isTuned = (model) => model.id.startsWith('ft:');

function Delete({ model, onGone }) {
  const [asking, setAsking] = useState(false);
  const gone = async () => {
    await api.delete(`/models/${encodeURIComponent(model.id)}`);
    setAsking(false);
    say(`${model.id} is deleted`);
    toTitle();
    onGone();
  };
  return html`
    <div class="row-actions"><${Button} kind="quiet" aria-label=${`Delete ${model.id}`} onClick=${() => setAsking(true)}>Delete<//></div>
    ${asking &&
    html`
      <${Confirm} title="Delete this model?" action="Delete" onConfirm=${gone} onClose=${() => setAsking(false)}>
        <p><code>${model.id}</code> goes for good. The model it lies over stays.</p>
      <//>
    `}
  `;
}

const columns = (onGone) => [
  { head: 'Name', cell: (model) => html`<code>${model.id}</code>` },
  { head: 'From', cell: (model) => (isTuned(model) ? 'Tuned in this project' : html`<bdi>${model.owned_by}</bdi>`) },
  { head: 'Since', cell: (model) => (model.created > 1e9 ? html`<${Time} at=${model.created} />` : html`<span class="faint">–</span>`) },
  { head: 'Actions', cell: (model) => (isTuned(model) ? html`<${Delete} model=${model} onGone=${onGone} />` : null) },
];

export function Command({ text }) {
  return html`<div class="command"><code>${text}</code><${Copy} small text=${text} label=${`Copy ${text}`} /></div>`;
}

/** How far a model of the catalogue is on the server, and what can be done about it. */
function Pull({ entry, onPull }) {
  const { id, status, bytes, received_bytes: received } = entry;
  if (status === 'completed') {
    return html`
      <p class="fine"><${Status} value=${status} /> It is on the server, which answers for it from its next start on.</p>
      ${!entry.usable && html`<${Command} text=${`pip install 'everloom[${entry.extra}]'`} />`}
    `;
  }
  if (status === 'in_progress') {
    return html`
      <${Bar} value=${received} max=${bytes} label=${`${id}: bytes that have come`} />
      <p class="fine">${size(received)} of ${size(bytes)}</p>
    `;
  }
  return html`
    ${entry.error && html`<${Note} kind="bad"><${LongText} text=${entry.error} /><//>`}
    <${Button} onClick=${() => onPull(id)}>${entry.error ? 'Try again' : 'Pull'}<span class="unseen"> ${id}</span> (${size(bytes)})<//>
  `;
}

/** The catalogue as it stands on the server, asked again as long as something comes. */
function usePulls() {
  const { thing, error, reload } = useThing(session.adminKey ? '/organization/models' : null);
  const [failed, setFailed] = useState(null);
  const entries = new Map((thing?.data ?? []).map((entry) => [entry.id, entry]));
  const moves = (thing?.data ?? []).some((entry) => entry.status === 'in_progress');
  useEffect(() => {
    if (!moves) return undefined;
    const later = setTimeout(reload, 1000);
    return () => clearTimeout(later);
  }, [thing]);
  const pull = async (id) => {
    setFailed(null);
    await api.post(`/organization/models/${encodeURIComponent(id)}/pull`, {}).catch(setFailed);
    reload();
  };
  return { entries, error: failed ?? error, pull };
}

function Catalogue() {
  const { entries, error, pull } = usePulls();
  return html`
    <section class="section" aria-labelledby="more-models">
      <h2 id="more-models">More models for this machine</h2>
      <p>
        They come from the server’s package index, by a command where the server runs${session.adminKey ? ', or from here' : ', or from here with an admin key'}.
        Its next start has them.
      </p>
      <${ErrorNote} error=${error} />
      <ul class="columns">
        ${CATALOGUE.map(
          (model) => html`
            <li class="card" key=${model.name}>
              <h3>${model.name}</h3>
              <p>${model.about}</p>
              <p class="fine">Licence: ${model.licence}</p>
              ${entries.has(model.name) && html`<${Pull} entry=${entries.get(model.name)} onPull=${pull} />`}
              <${Command} text=${`everloom models pull ${model.name}`} />
            </li>
          `,
        )}
      </ul>
      <p>What else a server can be given (GGUF files, models of a hub, other servers) says <code>everloom models --help</code>:</p>
      <${Command} text="everloom models list --available" />
    </section>
  `;
}

export default function Models() {
  const { thing, error, loading, reload } = useThing('/models');
  const [text, setText] = useState('');
  const rows = (thing?.data ?? []).filter((model) => `${model.id} ${model.owned_by}`.toLowerCase().includes(text.trim().toLowerCase()));
  return html`
    <${Page} title="Models" lead="What a program may name as its model. Aliases, which the server’s operator sets, lead other names to these.">
      <${ErrorNote} error=${error} retry=${reload} />
      ${thing &&
      html`
        ${thing.data.length > 12 &&
        html`<div class="filters"><${Field} label="Find"><input type="search" value=${text} onInput=${(event) => setText(event.currentTarget.value)} /><//></div>`}
        <${Table} caption="Models" columns=${columns(reload)} rows=${rows} empty=${text ? 'No model of such a name.' : 'This server has no models.'} />
      `}
      ${!thing && loading && html`<p class="loading" role="status">Loading…</p>`}
      <${Catalogue} />
    <//>
  `;
}
