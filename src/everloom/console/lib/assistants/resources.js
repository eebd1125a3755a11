// What an assistant's tools may reach: a vector store for file search, files for the code interpreter.
import { html, useState } from '../html.js';
import { api } from '../client.js';
import { ErrorNote, Field, say, useList } from '../parts.js';
import { ChooseFiles, FileName, keep } from '../known-files.js';

/** Upload one file for assistants. */
export async function upload(file, purpose = 'assistants', how = {}) {
  const form = new FormData();
  form.append('purpose', purpose);
  form.append('file', file);
  const made = await api.upload('/files', form, how);
  keep(made);
  return made;
}

function useUploads(after) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const choose = async (files) => {
    setBusy(true);
    setError(null);
    try {
      const made = [];
      for (const file of files) made.push(await upload(file));
      await after(made);
      say(`${made.length} uploaded`);
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  return { busy, error, choose };
}

const reaching = (draft, name, value) => ({ ...draft, tool_resources: { ...draft.tool_resources, [name]: value } });

/** The vector store that is searched; files uploaded here come into it, or into a new one. */
export function SearchStores({ draft, onChange }) {
  const list = useList('/vector_stores', { limit: 100 });
  const chosen = draft.tool_resources.file_search?.vector_store_ids?.[0] ?? '';
  const choose = (id) => onChange(reaching(draft, 'file_search', { vector_store_ids: id ? [id] : [] }));
  const uploads = useUploads(async (files) => {
    const ids = files.map((file) => file.id);
    if (chosen) {
      await api.post(`/vector_stores/${chosen}/file_batches`, { file_ids: ids });
    } else {
      const made = await api.post('/vector_stores', { name: `Files of ${draft.name || 'an assistant'}`, file_ids: ids });
      choose(made.id);
    }
    list.reload();
  });
  const label = (store) => `${store.name || store.id} (${store.file_counts.total} ${store.file_counts.total === 1 ? 'file' : 'files'})`;
  return html`
    <${Field} label="Vector store">
      <select value=${chosen} onChange=${(event) => choose(event.currentTarget.value)}>
        <option value="">None</option>
        ${chosen && !list.rows.some((store) => store.id === chosen) && html`<option value=${chosen}>${chosen}</option>`}
        ${list.rows.map((store) => html`<option key=${store.id} value=${store.id}>${label(store)}</option>`)}
      </select>
    <//>
    <${ChooseFiles} label=${uploads.busy ? 'Uploading…' : chosen ? 'Add files to it' : 'Upload files to search'} disabled=${uploads.busy} onChoose=${uploads.choose} />
    <${ErrorNote} error=${uploads.error ?? list.error} />
  `;
}

/** The files that code finds under /mnt/data. */
export function CodeFiles({ draft, onChange }) {
  const ids = draft.tool_resources.code_interpreter?.file_ids ?? [];
  const change = (file_ids) => onChange(reaching(draft, 'code_interpreter', { file_ids }));
  const uploads = useUploads((files) => change([...ids, ...files.map((file) => file.id)]));
  return html`
    ${ids.length > 0 &&
    html`
      <ul class="chips" aria-label="Files for code">
        ${ids.map(
          (id) => html`
            <li class="chip" key=${id}>
              <${FileName} id=${id} />
              <button type="button" class="copy" aria-label=${`Remove the file ${id}`} onClick=${() => change(ids.filter((one) => one !== id))}>
                <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" /></svg>
              </button>
            </li>
          `,
        )}
      </ul>
    `}
    <${ChooseFiles} label=${uploads.busy ? 'Uploading…' : 'Upload files for code'} disabled=${uploads.busy} onChoose=${uploads.choose} />
    <${ErrorNote} error=${uploads.error} />
  `;
}
