// What the pages of files, vector stores, batches and trainings share.
import { html, useEffect, useRef, useState } from './html.js';
import { api } from './client.js';
import { ChooseFiles, keep } from './known-files.js';
import { ErrorNote, Field, More, Note, number, say } from './parts.js';

const EVERY_MS = 1500;

/** Call `look` again and again while `active`; each time once the one before it is done, and not while nobody looks. */
export function usePoll(active, look) {
  const latest = useRef(look);
  latest.current = look;
  useEffect(() => {
    if (!active) return undefined;
    let timer = 0;
    let here = true;
    const next = () => {
      timer = setTimeout(async () => {
        if (!document.hidden) await Promise.resolve(latest.current()).catch(() => {});
        if (here) next();
      }, EVERY_MS);
    };
    next();
    return () => {
      here = false;
      clearTimeout(timer);
    };
  }, [active]);
}

/** The foot of a list that is read again while things go on: it says nothing of that. */
export const Foot = ({ list, polled }) => (polled && list.loading && list.rows.length ? null : html`<${More} list=${list} />`);

/** Something that a button does: {busy, error, run(work)}; `run` gives true where it went well. */
export function useAction() {
  const [state, setState] = useState({ busy: false, error: null });
  const run = async (work) => {
    setState({ busy: true, error: null });
    try {
      await work();
      setState({ busy: false, error: null });
      return true;
    } catch (error) {
      setState({ busy: false, error });
      return false;
    }
  };
  return { ...state, run };
}

const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'];
/** A count of bytes in a unit that people read. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return '–';
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(value < 10 ? 1 : 0) : number(value)} ${UNITS[unit]}`;
}

/** Upload a file of this machine: the file object. Errors: ApiError. */
export async function upload(file, purpose) {
  const form = new FormData();
  form.append('purpose', purpose);
  form.append('file', file, file.name);
  const made = await api.upload('/files', form);
  keep(made);
  return made;
}

/**
 * A button that uploads what is chosen, one after the other, and says how it goes. `onDone(files)` is called with those
 * that are there, and may go on with them; `first(file)`, if given, looks at each before it is sent.
 */
export function Uploader({ purpose, label, accept, onDone, first }) {
  const [at, setAt] = useState(null);
  const [faults, setFaults] = useState([]);
  const choose = async (files) => {
    const made = [];
    const wrong = [];
    setFaults([]);
    for (const [i, file] of files.entries()) {
      setAt({ name: file.name, place: i + 1, of: files.length });
      try {
        await first?.(file);
        made.push(await upload(file, purpose));
      } catch (error) {
        wrong.push({ name: file.name, error });
      }
    }
    setFaults(wrong);
    try {
      if (made.length) await onDone(made);
      if (made.length) say(made.length === 1 ? `${made[0].filename} is uploaded` : `${made.length} files are uploaded`);
    } catch (error) {
      setFaults([...wrong, { name: made.length === 1 ? made[0].filename : 'The uploaded files', error }]);
    }
    setAt(null);
  };
  return html`
    <div class="uploader">
      <${ChooseFiles} label=${label} accept=${accept} disabled=${at !== null} onChoose=${choose} />
      ${at && html`<p class="fine" role="status">Uploading ${at.of > 1 ? `${at.place} of ${at.of}: ` : ''}<bdi>${at.name}</bdi>…</p>`}
      ${faults.map(
        (fault, i) => html`
          <${Note} kind="bad" key=${i}><p><bdi>${fault.name}</bdi>: <span dir="auto">${fault.error.message}</span></p><//>
        `,
      )}
    </div>
  `;
}

/** Facts of a thing: [[name, value, long]]; those without a value are left out, `long` ones have room for two. */
export function Facts({ facts }) {
  return html`
    <dl class="facts">
      ${facts
        .filter(([, value]) => value || value === 0)
        .map(([name, value, long]) => html`<div key=${name} class=${long ? 'long' : ''}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
}

/** Which of the project's files is meant: those of one purpose, newest first, or one that is uploaded now. */
export function FileField({ label, hint, list, value, onChange, optional }) {
  return html`
    <${Field} label=${label} hint=${hint}>
      <select value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
        <option value="">${optional ? 'None' : list.loading ? 'Loading…' : list.rows.length ? 'Choose a file' : 'No such file yet'}</option>
        ${list.rows.map((file) => html`<option key=${file.id} value=${file.id}>${file.filename} · ${size(file.bytes)}</option>`)}
      </select>
    <//>
    <${ErrorNote} error=${list.error} retry=${list.reload} />
  `;
}

/** The heading has the focus again: what had it is gone, once the dialog that asked has closed. */
export const toTitle = () => requestAnimationFrame(() => document.getElementById('title')?.focus());
