// What pages are made of. Each is a component of Preact, or a hook (`use…`).
export { ErrorNote, Note, Page } from './parts/page.js';
export { Copy } from './parts/copy.js';
export { say } from './parts/say.js';
export { Button, Dialog, Field, Tabs } from './parts/controls.js';
export { Bar, Id, Json, LongText, Status, Time, number, seconds } from './parts/values.js';
export { More, Table } from './parts/table.js';
export { useList, useThing } from './parts/loading.js';
export { Plot } from './parts/plot.js';
