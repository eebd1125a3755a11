// What is shown once, and never again: a key, the link of an invite.
import { html } from '../html.js';
import { Button, Copy, Dialog, Note } from '../parts.js';

/** A dialog with a secret that has just been made. `what`: 'key', 'link'. */
export function ShownOnce({ title, what, value, children, onClose }) {
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <${Note} kind="warning"><p>This ${what} is shown this once. Copy it now.</p><//>
      <p class="secret"><code>${value}</code></p>
      ${children}
      <div class="actions">
        <${Copy} text=${value} label=${`Copy the ${what}`} />
        <${Button} onClick=${onClose}>Done<//>
      </div>
    <//>
  `;
}
