// Files as conversations show them: by name, as pictures, to download. What is known of one is asked for once.
import { html, useEffect, useRef, useState } from './html.js';
import { api } from './client.js';
import { session } from './session.js';
import { Button, Dialog, ErrorNote, LongText } from './parts.js';

const known = new Map();
session.subscribe(() => known.clear());

/** The file object, asked for once. Errors: ApiError, and it is asked for again the next time. */
export function fileOf(id) {
  if (!known.has(id)) {
    const asked = api.get(`/files/${encodeURIComponent(id)}`);
    known.set(id, asked);
    asked.catch(() => known.get(id) === asked && known.delete(id));
  }
  return known.get(id);
}

/** Remember a file that has just been made. */
export const keep = (file) => known.set(file.id, Promise.resolve(file));

export function useFile(id) {
  const [found, setFound] = useState({ id: null, file: null, error: null });
  useEffect(() => {
    let here = true;
    if (!id) return undefined;
    fileOf(id).then(
      (file) => here && setFound({ id, file, error: null }),
      (error) => here && setFound({ id, file: null, error }),
    );
    return () => (here = false);
  }, [id]);
  return found.id === id ? found : { id, file: null, error: null };
}

/** A file's name, or its id until that is known. */
export function FileName({ id }) {
  const { file } = useFile(id);
  return html`<bdi class="file-name">${file ? file.filename : id}</bdi>`;
}

/** Save bytes as a file, under the last part of its name. */
export function save(blob, filename) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = String(filename).split(/[\\/]/).pop() || 'file';
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A button that downloads a file. */
export function Download({ id }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const press = async () => {
    setBusy(true);
    setError(null);
    try {
      const file = await fileOf(id);
      save(await api.blob(`/files/${encodeURIComponent(id)}/content`), file.filename);
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  return html`
    <span class="file">
      <${Button} busy=${busy} onClick=${press}>
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2v8m-3-3l3 3 3-3M3 13.5h10" /></svg>
        <span>Download <${FileName} id=${id} /></span>
      <//>
      ${error && html`<${ErrorNote} error=${error} />`}
    </span>
  `;
}

const MOST = 20 * 2 ** 20;

/** A file's bytes as an address that an <img> takes; given back when nobody shows it any more. */
function useBytes(id, file) {
  const [source, setSource] = useState({ url: null, error: null });
  useEffect(() => {
    if (!file || file.bytes > MOST) return undefined;
    const asked = new AbortController();
    let url = null;
    api.blob(`/files/${encodeURIComponent(id)}/content`, { signal: asked.signal }).then(
      (blob) => {
        url = URL.createObjectURL(blob);
        setSource({ url, error: null });
      },
      (error) => asked.signal.aborted || setSource({ url: null, error }),
    );
    return () => {
      asked.abort();
      if (url) URL.revokeObjectURL(url);
    };
  }, [id, file]);
  return source;
}

/** An image that may be none: where it cannot be drawn, a sentence says so. */
function Drawn({ url, name, children }) {
  const [broken, setBroken] = useState(false);
  const [open, setOpen] = useState(false);
  if (broken) return html`<p class="picture-missing">The picture <bdi>${name}</bdi> cannot be shown. ${children}</p>`;
  const image = html`<img src=${url} alt=${`Picture ${name}`} onError=${() => setBroken(true)} />`;
  return html`
    <button type="button" class="picture" aria-label=${`Enlarge the picture ${name}`} onClick=${() => setOpen(true)}>${image}</button>
    ${open && html`<${Dialog} wide title=${name} onClose=${() => setOpen(false)}><div class="picture-whole">${image}</div>${children}<//>`}
  `;
}

/** The picture that a file holds. */
export function Picture({ id }) {
  const { file, error } = useFile(id);
  const source = useBytes(id, file);
  const name = file?.filename ?? id;
  if (error ?? source.error) return html`<p class="picture-missing">The picture <bdi>${name}</bdi> is not there any more.</p>`;
  if (file && file.bytes > MOST) return html`<p class="picture-missing">A large picture: <${Download} id=${id} /></p>`;
  if (!source.url) return html`<p class="picture-missing" aria-busy="true">Loading the picture…</p>`;
  return html`<${Drawn} key=${id} url=${source.url} name=${name}><${Download} id=${id} /><//>`;
}

/** A picture by its address. Ours may be shown; others are not fetched, since the page asks nobody but this server. */
export function PictureAt({ url }) {
  if (/^data:image\/(png|jpeg|gif|webp);base64,/i.test(url)) return html`<${Drawn} url=${url} name="in the message" />`;
  return html`<div class="picture-missing"><span>Picture elsewhere, not fetched:</span> <${LongText} code text=${url} length=${300} /></div>`;
}

/** A control that files are chosen with: a button to those who see, an input to all others. */
export function ChooseFiles({ onChoose, label, disabled, accept }) {
  const input = useRef(null);
  const chosen = (event) => {
    onChoose([...event.currentTarget.files]);
    input.current.value = '';
  };
  return html`
    <label class=${disabled ? 'choose button disabled' : 'choose button'}>
      <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M13 7.5l-5 5a3 3 0 0 1-4.3-4.3l5.5-5.4a2 2 0 0 1 2.8 2.9L6.6 11a1 1 0 0 1-1.4-1.4l4.6-4.6" /></svg>
      <span>${label}</span>
      <input class="unseen" type="file" multiple accept=${accept} ref=${input} disabled=${disabled} onChange=${chosen} />
    </label>
  `;
}
