// The little of Markdown that models write most: fenced code, `code`, **strong** and headings, as elements of their own.
// All else stays the text that it is; nothing of a text ever becomes markup.
import { html } from './html.js';

const FENCE = /^```[^\n`]*\n([\s\S]*?)(?:\n```[ \t]*(?:\n|$)|(?![\s\S]))/m;
const INLINE = /`([^`\n]{1,500})`|\*\*(?=\S)([^*\n]{1,500}?)\*\*|^#{1,6} ([^\n]{1,300})$/m;

function inline(text) {
  const out = [];
  let rest = text;
  for (;;) {
    const found = rest.match(INLINE);
    if (!found) break;
    if (found.index) out.push(rest.slice(0, found.index));
    const [whole, code, strong, heading] = found;
    out.push(code !== undefined ? html`<code class="inline">${code}</code>` : html`<strong>${strong ?? heading}</strong>`);
    rest = rest.slice(found.index + whole.length);
  }
  out.push(rest);
  return out;
}

/** A text as what is drawn of it. */
export function formatted(text) {
  const out = [];
  let rest = text;
  for (;;) {
    const found = rest.match(FENCE);
    if (!found) break;
    out.push(...inline(rest.slice(0, found.index)), html`<pre class="code" tabindex="0"><code>${found[1]}</code></pre>`);
    rest = rest.slice(found.index + found[0].length);
  }
  return [...out, ...inline(rest)];
}
