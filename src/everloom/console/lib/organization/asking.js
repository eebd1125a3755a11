// A form in a dialog that asks the server for one thing, and says what the server says.
import { html, useState } from '../html.js';
import { Button, Dialog, ErrorNote } from '../parts.js';

/** `send()` does it and may throw; it closes the dialog itself, where it went well. */
export function FormDialog({ title, action, send, onClose, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await send();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <form class="form" onSubmit=${submit} novalidate>
        ${children}
        <${ErrorNote} error=${error} />
        <div class="actions">
          <${Button} kind="primary" type="submit" busy=${busy}>${action}<//>
          <${Button} onClick=${onClose}>Cancel<//>
        </div>
      </form>
    <//>
  `;
}

/** An input of a text, tied to a state of `useState`. */
export const bind = ([value, set]) => ({ value, onInput: (event) => set(event.currentTarget.value) });
