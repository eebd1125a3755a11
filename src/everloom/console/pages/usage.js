import { html } from '../lib/html.js';
import { Note, Page } from '../lib/parts.js';

export default function () {
  return html`<${Page} title="Usage"><${Note}>This page is not written yet.<//><//>`;
}
