// One vector store: its files with what became of each, and a search to try.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Confirm } from '../lib/confirm.js';
import { FileName, fileOf } from '../lib/known-files.js';
import { Button, Dialog, ErrorNote, Field, Id, LongText, Note, Page, Status, Table, Time, say, useList, useThing } from '../lib/parts.js';
import { go, route } from '../lib/router.js';
import { Facts, Foot, Uploader, size, toTitle, useAction, usePoll } from '../lib/work.js';
import { countsOf, nameOf } from './vector-stores.js';

const REASONS = {
  unsupported_file: 'This kind of file cannot be read',
  invalid_file: 'The file is damaged, or not what its name says',
  rate_limit_exceeded: 'The embedding model had too much to do',
  server_error: 'The server could not read it',
};

/** What was read out of a file: what a search looks into, and what not. */
function Content({ store, id, onClose }) {
  const { thing, error, loading } = useThing(`/vector_stores/${store}/files/${id}/content`);
  const text = thing?.data.map((block) => block.text).join('\n') ?? '';
  return html`
    <${Dialog} wide title="What was read" onClose=${onClose}>
      <p class="fine"><${FileName} id=${id} /></p>
      <${ErrorNote} error=${error} />
      ${loading && html`<p class="loading" role="status">Loading…</p>`}
      ${thing && (text ? html`<${LongText} code text=${text} />` : html`<${Note}>No text was found in it.<//>`)}
    <//>
  `;
}

function FileActions({ store, file, onChange }) {
  const [open, setOpen] = useState(null);
  const [name, setName] = useState(file.id);
  const ask = async (what) => {
    setName(await fileOf(file.id).then((found) => found.filename, () => file.id));
    setOpen(what);
  };
  const remove = async () => {
    await api.delete(`/vector_stores/${store}/files/${file.id}`);
    setOpen(null);
    say('The file is taken out');
    toTitle();
    onChange();
  };
  return html`
    <div class="row-actions">
      ${file.status === 'completed' && html`<${Button} kind="quiet" aria-label=${`Text of ${file.id}`} onClick=${() => ask('text')}>Text<//>`}
      <${Button} kind="quiet" aria-label=${`Take out ${file.id}`} onClick=${() => ask('remove')}>Take out<//>
    </div>
    ${open === 'text' && html`<${Content} store=${store} id=${file.id} onClose=${() => setOpen(null)} />`}
    ${open === 'remove' &&
    html`
      <${Confirm} title="Take this file out?" action="Take out" onConfirm=${remove} onClose=${() => setOpen(null)}>
        <p><bdi>${name}</bdi> is no longer found here. The file itself stays.</p>
      <//>
    `}
  `;
}

const columns = (store, onChange) => [
  { head: 'File', cell: (file) => html`<div class="named"><${FileName} id=${file.id} /><span class="fine"><${Id} value=${file.id} /></span></div>` },
  {
    head: 'State',
    cell: (file) => html`
      <${Status} value=${file.status} />
      ${file.last_error &&
      html`<p class="reason"><strong>${REASONS[file.last_error.code] ?? file.last_error.code}.</strong> <span dir="auto">${file.last_error.message}</span></p>`}
    `,
  },
  { head: 'Size', numeric: true, cell: (file) => size(file.usage_bytes) },
  { head: 'Added', cell: (file) => html`<${Time} at=${file.created_at} />` },
  { head: 'Actions', cell: (file) => html`<${FileActions} store=${store} file=${file} onChange=${onChange} />` },
];

function Found({ results }) {
  if (!results.data.length) return html`<p class="empty" role="status">Nothing was found for this.</p>`;
  return html`
    <p class="fine" role="status">${results.data.length} passages, the best first.</p>
    <ol class="passages">
      ${results.data.map(
        (result, i) => html`
          <li class="card" key=${i}>
            <p class="passage-head"><bdi class="file-name">${result.filename}</bdi> <span class="fine">score ${result.score.toFixed(3)}</span></p>
            <${LongText} text=${result.content.map((block) => block.text).join('\n')} length=${700} />
          </li>
        `,
      )}
    </ol>
  `;
}

function Search({ id }) {
  const [text, setText] = useState('');
  const [most, setMost] = useState('5');
  const [results, setResults] = useState(null);
  const action = useAction();
  const search = (event) => {
    event.preventDefault();
    if (action.busy || !text.trim()) return;
    action.run(async () => {
      setResults(await api.post(`/vector_stores/${id}/search`, { query: text.trim(), max_num_results: Number(most) }));
    });
  };
  return html`
    <section class="section" aria-labelledby="try">
      <h2 id="try">Try a search</h2>
      <form class="search-line" role="search" onSubmit=${search}>
        <${Field} label="What an assistant would look for">
          <input type="search" value=${text} maxlength="2000" onInput=${(event) => setText(event.currentTarget.value)} />
        <//>
        <${Field} label="At most">
          <select value=${most} onChange=${(event) => setMost(event.currentTarget.value)}>
            ${['5', '10', '20', '50'].map((count) => html`<option key=${count} value=${count}>${count}</option>`)}
          </select>
        <//>
        <${Button} kind="primary" type="submit" busy=${action.busy}>Search<//>
      </form>
      <${ErrorNote} error=${action.error} />
      ${results && !action.busy && html`<${Found} results=${results} />`}
    </section>
  `;
}

const FILTERS = ['completed', 'in_progress', 'failed', 'cancelled'];

function StoreFiles({ store, list, filter, onChange }) {
  const put = async (files) => {
    await api.post(`/vector_stores/${store.id}/file_batches`, { file_ids: files.map((file) => file.id) });
    onChange();
  };
  const choose = (event) => go(route().path, { filter: event.currentTarget.value }, { replace: true });
  return html`
    <section class="section" aria-labelledby="files">
      <h2 id="files">Files</h2>
      <div class="filters">
        <${Field} label="Show">
          <select value=${filter ?? ''} onChange=${choose}>
            <option value="">All files</option>
            ${FILTERS.map((state) => html`<option key=${state} value=${state}>${state.replaceAll('_', ' ')}</option>`)}
          </select>
        <//>
        <${Uploader} purpose="assistants" label="Add files" onDone=${put} />
      </div>
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !(list.loading || list.error)) &&
      html`<${Table} caption="Files of the store" columns=${columns(store.id, onChange)} rows=${list.rows} empty=${filter ? 'None in this state.' : 'No files in it yet.'} />`}
      <${Foot} list=${list} polled=${store.file_counts.in_progress > 0} />
    </section>
  `;
}

export default function VectorStore({ params, query }) {
  const path = `/vector_stores/${encodeURIComponent(params.id)}`;
  const { thing: store, error, reload } = useThing(path);
  const list = useList(`${path}/files`, { limit: 50, order: 'desc', filter: query.filter });
  const [asking, setAsking] = useState(false);
  const look = () => Promise.all([reload(), list.rows.length <= 50 && list.reload()]);
  usePoll(Boolean(store?.file_counts.in_progress), look);
  const gone = async () => {
    await api.delete(path);
    say('The vector store is deleted');
    go('/vector-stores');
  };
  if (!store) {
    return html`<${Page} title="Vector store">${error ? html`<${ErrorNote} error=${error} retry=${reload} />` : html`<p class="loading" role="status">Loading…</p>`}<//>`;
  }
  return html`
    <${Page}
      title=${nameOf(store)}
      lead=${html`<${Id} value=${store.id} />`}
      actions=${html`<${Button} kind="danger" onClick=${() => setAsking(true)}>Delete<//>`}
    >
      <${ErrorNote} error=${error} retry=${reload} />
      <${Facts}
        facts=${[
          ['State', html`<${Status} value=${store.status} />`],
          ['Files', countsOf(store.file_counts)],
          ['Size', size(store.usage_bytes)],
          ['Last used', html`<${Time} at=${store.last_active_at} />`],
          ['Expires', store.expires_at && html`<${Time} at=${store.expires_at} />`],
        ]}
      />
      <${Search} id=${store.id} />
      <${StoreFiles} store=${store} list=${list} filter=${query.filter} onChange=${look} />
      ${asking &&
      html`
        <${Confirm} title="Delete this vector store?" action="Delete" onConfirm=${gone} onClose=${() => setAsking(false)}>
          <p><bdi>${nameOf(store)}</bdi> goes for good, and assistants that search it find nothing there. Its files stay.</p>
        <//>
      `}
    <//>
  `;
}
