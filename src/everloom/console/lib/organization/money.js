// Amounts of money. The API has US cents in limits and US dollars in costs; a reader has dollars.

const FORM = { style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol' };
const DOLLARS = new Intl.NumberFormat(undefined, FORM);
const SMALL = new Intl.NumberFormat(undefined, { ...FORM, maximumSignificantDigits: 2 });

/** US dollars as the reader writes them; what is less than a cent keeps two digits. */
export const dollars = (value) => (value !== 0 && Math.abs(value) < 0.01 ? SMALL : DOLLARS).format(value);

/** US cents, in dollars. */
export const cents = (value) => dollars(value / 100);

/** US cents out of a field of dollars; null where it holds no amount of a cent or more. */
export function readCents(text) {
  const value = Number(String(text).trim().replace(/^\$/, '').replace(/,/g, ''));
  return String(text).trim() && Number.isFinite(value) && Math.round(value * 100) >= 1 ? Math.round(value * 100) : null;
}
