// Where the next message is written: its text, its files, and what each of them is for.
import { html, useRef, useState } from '../html.js';
import { Button, say } from '../parts.js';
import { ChooseFiles } from '../known-files.js';
import { upload } from '../assistants/resources.js';

const USES = {
  picture: { label: 'as a picture' },
  search: { label: 'to search', tools: [{ type: 'file_search' }] },
  code: { label: 'for code', tools: [{ type: 'code_interpreter' }] },
  both: { label: 'to search and for code', tools: [{ type: 'file_search' }, { type: 'code_interpreter' }] },
};

const isPicture = (file) => /^image\/(png|jpeg|gif|webp)$/.test(file.type);

/** What a file is likely meant for, by the tools that the assistant holds. */
function usual(file, tools) {
  if (isPicture(file)) return 'picture';
  const types = tools.map((tool) => tool.type);
  return types.includes('code_interpreter') && !types.includes('file_search') ? 'code' : 'search';
}

/** The body of a message: a text alone where there is nothing else. */
export function messageOf(text, files) {
  const ready = files.filter((one) => one.id);
  const pictures = ready.filter((one) => one.use === 'picture');
  const attachments = ready.filter((one) => one.use !== 'picture').map((one) => ({ file_id: one.id, tools: USES[one.use].tools }));
  const parts = pictures.map((one) => ({ type: 'image_file', image_file: { file_id: one.id } }));
  const content = parts.length ? [...(text ? [{ type: 'text', text }] : []), ...parts] : text;
  return { role: 'user', content, ...(attachments.length && { attachments }) };
}

/** Files beside the next message, uploaded as soon as they are chosen: {files, add(list), change, remove, clear}. */
export function useAttached(tools) {
  const [files, setFiles] = useState([]);
  const count = useRef(0);
  const change = (key, more) => setFiles((all) => all.map((one) => (one.key === key ? { ...one, ...more } : one)));
  const add = (list) => {
    for (const file of list) {
      const key = (count.current += 1);
      setFiles((all) => [...all, { key, name: file.name, picture: isPicture(file), use: usual(file, tools) }]);
      upload(file, isPicture(file) ? 'vision' : 'assistants').then(
        (made) => {
          change(key, { id: made.id });
          say(`${file.name} is uploaded`);
        },
        (error) => change(key, { error }),
      );
    }
  };
  return {
    files,
    add,
    change,
    remove: (key) => setFiles((all) => all.filter((one) => one.key !== key)),
    clear: () => setFiles([]),
  };
}

function Attached({ file, onUse, onRemove }) {
  const uses = Object.entries(USES).filter(([use]) => use !== 'picture' || file.picture);
  return html`
    <li class=${file.error ? 'chip chip-bad' : 'chip'}>
      <bdi class="file-name">${file.name}</bdi>
      ${file.error
        ? html`<span dir="auto">${file.error.message}</span>`
        : html`
            <select aria-label=${`What ${file.name} is for`} value=${file.use} onChange=${(event) => onUse(event.currentTarget.value)}>
              ${uses.map(([use, { label }]) => html`<option key=${use} value=${use}>${label}</option>`)}
            </select>
          `}
      ${!file.id && !file.error && html`<span class="faint">uploading…</span>`}
      <button type="button" class="copy" aria-label=${`Remove ${file.name}`} onClick=${onRemove}>
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" /></svg>
      </button>
    </li>
  `;
}

/**
 * The field, its files, Send and Stop. Enter sends, Shift+Enter begins a line. `why` says why nothing can be sent now.
 */
export function Composer({ text, onText, attached, busy, why, onSend, onStop }) {
  const field = useRef(null);
  const waits = attached.files.some((one) => !one.id && !one.error);
  const empty = !text.trim() && !attached.files.some((one) => one.id);
  const send = (event) => {
    event.preventDefault();
    if (busy || waits || empty || why) return;
    onSend();
    field.current?.focus();
  };
  const typed = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) send(event);
  };
  const dropped = (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    attached.add([...event.dataTransfer.files]);
  };
  return html`
    <form class="composer" onSubmit=${send} onDragOver=${(event) => event.preventDefault()} onDrop=${dropped}>
      ${attached.files.length > 0 &&
      html`
        <ul class="chips" aria-label="Files of the message">
          ${attached.files.map(
            (file) => html`
              <${Attached}
                key=${file.key}
                file=${file}
                onUse=${(use) => attached.change(file.key, { use })}
                onRemove=${() => attached.remove(file.key)}
              />
            `,
          )}
        </ul>
      `}
      <textarea
        ref=${field}
        dir="auto"
        rows="2"
        aria-label="Your message"
        aria-describedby="composer-why"
        placeholder="Write a message"
        value=${text}
        onInput=${(event) => onText(event.currentTarget.value)}
        onKeyDown=${typed}
      ></textarea>
      <div class="composer-foot">
        <${ChooseFiles} label="Attach" onChoose=${attached.add} />
        <p class=${why ? 'fine' : 'fine hint'} id="composer-why">${why || 'Enter sends, Shift+Enter begins a line.'}</p>
        ${busy
          ? html`<${Button} onClick=${onStop}>Stop<//>`
          : html`<${Button} kind="primary" type="submit" aria-disabled=${waits || empty || why ? 'true' : undefined}>Send<//>`}
      </div>
    </form>
  `;
}
