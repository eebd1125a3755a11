// Lists of things.
import { html } from '../html.js';
import { Button } from './controls.js';

/**
 * A table. `columns`: {head, cell(row), numeric}; `open(row)`, if given, is the address that a row leads to: its first
 * cell is the link, and the whole row can be clicked. On a phone each row is a card. Roles are said outright, since
 * browsers forget them when a table is drawn otherwise.
 */
export function Table({ columns, rows, empty = 'Nothing here yet.', open, caption, rowKey }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  const press = (row) => (event) => {
    if (!open || event.target.closest('a, button, input, select, summary') || String(getSelection())) return;
    location.hash = open(row);
  };
  return html`
    <div class="table-box">
      <table class="table" role="table">
        ${caption && html`<caption class="unseen">${caption}</caption>`}
        <thead role="rowgroup">
          <tr role="row">
            ${columns.map((column) => html`<th role="columnheader" scope="col" class=${column.numeric ? 'numeric' : ''}>${column.head}</th>`)}
          </tr>
        </thead>
        <tbody role="rowgroup">
          ${rows.map(
            (row, at) => html`
              <tr role="row" key=${rowKey ? rowKey(row) : (row.id ?? at)} class=${open ? 'opens' : ''} onClick=${press(row)}>
                ${columns.map(
                  (column, i) => html`
                    <td role="cell" class=${column.numeric ? 'numeric' : ''} data-head=${column.head}>
                      <div class="cell">${i === 0 && open ? html`<a href=${open(row)}>${column.cell(row)}</a>` : column.cell(row)}</div>
                    </td>
                  `,
                )}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** The foot of a list of `useList`: whether it is being read, and the button for more of it. */
export function More({ list }) {
  if (list.loading) return html`<p class="loading" role="status">Loading…</p>`;
  if (!list.hasMore) return null;
  return html`<p class="more"><${Button} onClick=${list.more}>Show more<//></p>`;
}
