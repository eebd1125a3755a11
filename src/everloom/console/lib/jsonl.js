// Files of JSON, a value a line, as batches and trainings have them.
import { api } from './client.js';
import { fileOf } from './known-files.js';

/** Bytes of a file that is read into the page; a larger one is downloaded instead. */
export const MOST_READ = 4 * 2 ** 20;

/** The values of a text; a line that is none is {broken: line}. */
export function parsed(text) {
  return text
    .split('\n')
    .filter((line) => line.trim())
    .map((line) => {
      try {
        return JSON.parse(line);
      } catch {
        return { broken: line };
      }
    });
}

/** The lines of a file of the server: {lines}, or {tooLarge: bytes}. Errors: ApiError. */
export async function linesOf(id) {
  const file = await fileOf(id);
  if (file.bytes > MOST_READ) return { tooLarge: file.bytes };
  return { lines: parsed(await api.text(`/files/${encodeURIComponent(id)}/content`)) };
}

/** The first line of a file of this machine, or null. */
export async function firstLine(file) {
  const [first] = parsed((await file.slice(0, 2 ** 20).text()).split('\n', 1)[0].replace(/^\uFEFF/, ''));
  return first && !first.broken ? first : null;
}
