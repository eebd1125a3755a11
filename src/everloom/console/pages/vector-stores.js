import { html } from '../lib/html.js';
import { Note, Page } from '../lib/parts.js';

export default function () {
  return html`<${Page} title="Vector stores"><${Note}>This page is not written yet.<//><//>`;
}
