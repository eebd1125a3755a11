// What is pressed, filled in and opened.
import { html, useEffect, useLayoutEffect, useRef } from '../html.js';

let count = 0;
/** A name for an element that is nobody else's. */
export function useId(prefix) {
  const ref = useRef(null);
  if (ref.current === null) ref.current = `${prefix}-${(count += 1)}`;
  return ref.current;
}

/**
 * A button, or with `href` a link that looks like one. `kind`: primary, danger, quiet or none. While `busy` it keeps
 * its focus and does nothing.
 */
export function Button({ kind, onClick, busy, href, children, type = 'button', ...rest }) {
  const look = kind ? `button button-${kind}` : 'button';
  if (href) return html`<a class=${look} href=${href} ...${rest}>${children}</a>`;
  const press = (event) => {
    if (busy) event.preventDefault();
    else onClick?.(event);
  };
  const held = busy ? { 'aria-disabled': 'true', 'aria-busy': 'true' } : {};
  return html`<button type=${type} class=${look} onClick=${press} ...${held} ...${rest}>${children}</button>`;
}

const CONTROLS = new Set(['input', 'select', 'textarea']);

/** A control with its label, and a hint or an error below, tied to it for those who hear it. */
export function Field({ label, hint, error, children }) {
  const id = useId('field');
  const told = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  const control = [children].flat(2).find((one) => CONTROLS.has(one?.type));
  if (control && told) control.props['aria-describedby'] = told;
  if (control && error) control.props['aria-invalid'] = 'true';
  return html`
    <div class="field">
      <label><span class="field-label">${label}</span>${children}</label>
      ${hint && html`<p class="fine" id=${`${id}-hint`}>${hint}</p>`}
      ${error && html`<p class="field-error" id=${`${id}-error`}>${error}</p>`}
    </div>
  `;
}

/** Tabs: `[{value, label}]`. The panel is the caller's. Arrow keys walk through them. */
export function Tabs({ tabs, value, onChange, label = 'Views' }) {
  const list = useRef(null);
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = tabs.findIndex((tab) => tab.value === value);
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? tabs.length - 1 : step && (at + step + tabs.length) % tabs.length;
    if (to === undefined) return;
    event.preventDefault();
    onChange(tabs[to].value);
    list.current.children[to].focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label=${label} ref=${list} onKeyDown=${walk}>
      ${tabs.map(
        (tab) => html`
          <button
            key=${tab.value}
            type="button"
            role="tab"
            class="tab"
            aria-selected=${String(tab.value === value)}
            tabindex=${tab.value === value ? 0 : -1}
            onClick=${() => onChange(tab.value)}
          >
            ${tab.label}
          </button>
        `,
      )}
    </div>
  `;
}

/** A dialog over the page, open as long as it is drawn. Escape and its cross call `onClose`. */
export function Dialog({ title, onClose, wide, children }) {
  const box = useRef(null);
  const id = useId('dialog');
  useLayoutEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    return () => dialog.close(); // Gives the focus back to where it came from.
  }, []);
  useEffect(() => {
    const dialog = box.current;
    const cancel = (event) => {
      event.preventDefault();
      onClose();
    };
    dialog.addEventListener('cancel', cancel);
    return () => dialog.removeEventListener('cancel', cancel);
  }, [onClose]);
  return html`
    <dialog class=${wide ? 'dialog wide' : 'dialog'} ref=${box} aria-labelledby=${id}>
      <header class="dialog-head">
        <h2 id=${id}>${title}</h2>
        <button type="button" class="copy" aria-label="Close" onClick=${onClose}>
          <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" /></svg>
        </button>
      </header>
      <div class="dialog-body">${children}</div>
    </dialog>
  `;
}
