// Vector stores: what file search looks into.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Button, Dialog, ErrorNote, Field, Page, Status, Table, Time, number, say, useList } from '../lib/parts.js';
import { go, href } from '../lib/router.js';
import { Foot, Uploader, size, useAction, usePoll } from '../lib/work.js';

/** How many files are in which state, in words. */
export function countsOf({ in_progress: going, failed, cancelled, completed, total }) {
  if (!total) return 'no files';
  const parts = [`${number(completed)} of ${number(total)} ready`];
  if (going) parts.push(`${number(going)} being read`);
  if (failed) parts.push(`${number(failed)} failed`);
  if (cancelled) parts.push(`${number(cancelled)} cancelled`);
  return parts.join(', ');
}

export const nameOf = (store) => store.name || 'Without a name';

const COLUMNS = [
  { head: 'Name', cell: (store) => html`<bdi>${nameOf(store)}</bdi>` },
  { head: 'State', cell: (store) => html`<${Status} value=${store.status} />` },
  { head: 'Files', cell: (store) => countsOf(store.file_counts) },
  { head: 'Size', numeric: true, cell: (store) => size(store.usage_bytes) },
  { head: 'Last used', cell: (store) => html`<${Time} at=${store.last_active_at} />` },
];

function NewStore({ onClose }) {
  const [name, setName] = useState('');
  const [days, setDays] = useState('');
  const [files, setFiles] = useState([]);
  const action = useAction();
  const create = (event) => {
    event.preventDefault();
    if (action.busy) return;
    action.run(async () => {
      const expires = days ? { expires_after: { anchor: 'last_active_at', days: Number(days) } } : {};
      const store = await api.post('/vector_stores', { name: name || null, file_ids: files.map((file) => file.id), ...expires });
      say('The vector store is made');
      go(`/vector-stores/${store.id}`);
    });
  };
  return html`
    <${Dialog} title="New vector store" onClose=${onClose}>
      <form class="form" onSubmit=${create}>
        <${Field} label="Name"><input value=${name} maxlength="256" onInput=${(event) => setName(event.currentTarget.value)} /><//>
        <${Field} label="Expires after days without use (optional)">
          <input type="number" min="1" max="365" value=${days} onInput=${(event) => setDays(event.currentTarget.value)} />
        <//>
        <${Uploader} purpose="assistants" label="Add files" onDone=${(made) => setFiles((known) => [...known, ...made])} />
        ${files.length > 0 &&
        html`<ul class="listed" aria-label="Files to go in">${files.map((file) => html`<li key=${file.id}><bdi>${file.filename}</bdi></li>`)}</ul>`}
        <${ErrorNote} error=${action.error} />
        <div class="actions"><${Button} kind="primary" type="submit" busy=${action.busy}>Make it<//></div>
      </form>
    <//>
  `;
}

export default function VectorStores() {
  const list = useList('/vector_stores', { limit: 30, order: 'desc' });
  const [making, setMaking] = useState(false);
  const going = list.rows.length <= 30 && list.rows.some((store) => store.status === 'in_progress');
  usePoll(going, list.reload);
  const shown = list.rows.length > 0 || !(list.loading || list.error);
  return html`
    <${Page}
      title="Vector stores"
      lead="Files cut into passages and found by what they mean: what an assistant’s file search looks into."
      actions=${html`<${Button} kind="primary" onClick=${() => setMaking(true)}>New vector store<//>`}
    >
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${shown &&
      html`<${Table}
        caption="Vector stores"
        columns=${COLUMNS}
        rows=${list.rows}
        open=${(store) => href(`/vector-stores/${store.id}`)}
        empty="No vector stores yet. One is made here, or by a thread that has files attached."
      />`}
      <${Foot} list=${list} polled=${going} />
      ${making && html`<${NewStore} onClose=${() => setMaking(false)} />`}
    <//>
  `;
}
