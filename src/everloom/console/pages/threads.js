import { html } from '../lib/html.js';
import { Note, Page } from '../lib/parts.js';

export default function () {
  return html`<${Page} title="Threads and runs"><${Note}>This page is not written yet.<//><//>`;
}
