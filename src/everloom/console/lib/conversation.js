// Messages of a thread: texts with their citations, pictures, attachments.
import { html, useMemo, useState } from './html.js';
import { Button, Dialog, Id, LongText, Status, Time, number } from './parts.js';
import { cut } from './parts/values.js';
import { formatted } from './formatted.js';
import { Download, FileName, Picture, PictureAt } from './known-files.js';

const LENGTH = 4000;

/**
 * A text in pieces, [{text}] and [{annotation, number}]: annotations count characters, and JavaScript does not. One
 * that does not fit its text, or lies over another, is passed over.
 */
export function pieces(value, annotations = []) {
  if (!annotations.length) return [{ text: value }];
  const characters = Array.from(value);
  const files = [];
  const out = [];
  let from = 0;
  for (const annotation of [...annotations].filter(Boolean).sort((a, b) => a.start_index - b.start_index)) {
    const { start_index: start, end_index: end } = annotation;
    if (!(start >= from && end > start && end <= characters.length)) continue;
    const id = annotation.file_citation?.file_id ?? annotation.file_path?.file_id;
    if (!files.includes(id)) files.push(id);
    if (start > from) out.push({ text: characters.slice(from, start).join('') });
    out.push({ annotation, number: files.indexOf(id) + 1 });
    from = end;
  }
  out.push({ text: characters.slice(from).join('') });
  return out;
}

function Cited({ annotation, onClose }) {
  const { file_id: id, quote } = annotation.file_citation;
  return html`
    <${Dialog} title="Citation" onClose=${onClose}>
      <p><strong><${FileName} id=${id} /></strong></p>
      <p><${Id} value=${id} /></p>
      ${quote && html`<blockquote><${LongText} text=${quote} /></blockquote>`}
      <p class="fine">In the text it is marked <bdi>${annotation.text}</bdi></p>
      <${Download} id=${id} />
    <//>
  `;
}

function Mark({ annotation, number: shown }) {
  const [open, setOpen] = useState(false);
  if (annotation.type === 'file_path') return html`<${Download} id=${annotation.file_path.file_id} />`;
  return html`
    <button type="button" class="cite" aria-label=${`Citation ${shown}`} onClick=${() => setOpen(true)}>${shown}</button>
    ${open && html`<${Cited} annotation=${annotation} onClose=${() => setOpen(false)} />`}
  `;
}

/** The files that a text cites, by the numbers of its marks. */
function Sources({ parts }) {
  const byNumber = new Map();
  for (const { annotation, number: shown } of parts) {
    if (annotation?.type === 'file_citation') byNumber.set(shown, annotation.file_citation.file_id);
  }
  if (!byNumber.size) return null;
  return html`
    <ol class="sources" aria-label="Sources">
      ${[...byNumber].map(([shown, id]) => html`<li key=${id}><span class="source-number">${shown}</span> <${FileName} id=${id} /></li>`)}
    </ol>
  `;
}

/** A text part: cut where it is long, its marks as numbers that open what they cite. `plain`: as it is. */
export function Text({ value, annotations, live, plain }) {
  const [whole, setWhole] = useState(false);
  const long = value.length > LENGTH;
  const shown = long && !whole ? cut(value, LENGTH) : value;
  const parts = useMemo(() => pieces(shown, annotations), [shown, annotations]);
  const drawn = useMemo(() => parts.map((part) => (part.annotation || plain ? part.text : formatted(part.text))), [parts, plain]);
  return html`
    <div class="text">
      <div class=${live ? 'prose live' : 'prose'} dir="auto">
        ${parts.map((part, i) => (part.annotation ? html`<${Mark} ...${part} />` : drawn[i]))}
      </div>
      ${long &&
      html`
        <${Button} kind="quiet" aria-expanded=${String(whole)} onClick=${() => setWhole(!whole)}>
          ${whole ? 'Show less' : `Show all ${number(value.length)} characters`}
        <//>
      `}
      <${Sources} parts=${parts} />
    </div>
  `;
}

function Part({ part, live, plain }) {
  if (part.type === 'text') {
    return html`<${Text} value=${part.text.value} annotations=${part.text.annotations} live=${live} plain=${plain} />`;
  }
  if (part.type === 'image_file') return html`<${Picture} id=${part.image_file.file_id} />`;
  if (part.type === 'image_url') return html`<${PictureAt} url=${part.image_url.url} />`;
  if (part.type === 'refusal') return html`<p class="prose refusal" dir="auto">${part.refusal}</p>`;
  return html`<p class="fine">A part of the type “${part.type}”, which this console does not know.</p>`;
}

const TOOLS = { file_search: 'search', code_interpreter: 'code' };

function Attachments({ list }) {
  if (!list?.length) return null;
  return html`
    <ul class="attachments" aria-label="Attached files">
      ${list.map(
        (one) => html`
          <li key=${one.file_id} class="chip">
            <${FileName} id=${one.file_id} />
            <span class="faint">${(one.tools ?? []).map((tool) => TOOLS[tool.type] ?? tool.type).join(', ')}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

/** A message. `name` is what its assistant is called, `live` that it is being written, `runHref(message)` its run's page. */
export function Message({ message, name = 'Assistant', live, runHref }) {
  const from = message.role === 'user' ? 'You' : name;
  const parts = (message.content ?? []).filter(Boolean);
  return html`
    <li class=${`message message-${message.role}`}>
      <div class="message-head">
        <strong><bdi>${from}</bdi></strong>
        <span class="fine"><${Time} at=${message.created_at} /></span>
        ${message.status === 'incomplete' && html`<${Status} value="incomplete" />`}
        ${runHref && message.run_id && html`<a class="fine" href=${runHref(message)}>Its run</a>`}
      </div>
      <div class="message-body">
        ${parts.map((part, i) => html`<${Part} key=${i} part=${part} plain=${message.role === 'user'} live=${live && i === parts.length - 1} />`)}
        ${live && !parts.length && html`<p class="prose live" aria-label="Writing"></p>`}
        <${Attachments} list=${message.attachments} />
        ${message.incomplete_details && html`<p class="fine">Broken off: ${message.incomplete_details.reason.replaceAll('_', ' ')}</p>`}
      </div>
    </li>
  `;
}
